from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from compiles import calls_of, compiled, small_optimizer
from scripted import scripted_lm

if TYPE_CHECKING:
    from pytest_mipro.records import Progress


@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_logs_each_step(verbose: bool, caplog: pytest.LogCaptureFixture) -> None:
    """With ``verbose`` the progress is logged; without it nothing is."""
    with caplog.at_level("INFO", logger="pytest_mipro"):
        compiled(small_optimizer(scripted_lm(), verbose=verbose))
    assert any("search" in record.getMessage() for record in caplog.records) is verbose


def test_reports_phases_calls_rows_and_scores() -> None:
    """Reports have the phase, growing numbers of calls and rows, and the best score so far."""
    reports: list[Progress] = []
    lm = scripted_lm()
    compiled(small_optimizer(lm, on_progress=reports.append))
    phases = list(dict.fromkeys(report.phase for report in reports))
    assert phases == ["bootstrap", "propose", "search"]
    calls = [report.usage.calls for report in reports]
    assert calls == sorted(calls)
    assert 0 < calls[-1] <= calls_of(lm)
    rows = [report.done for report in reports if report.phase == "search"]
    assert rows == sorted(rows)
    assert rows[0] == 0
    assert reports[-1].done == reports[-1].total
    assert reports[-1].best is not None
