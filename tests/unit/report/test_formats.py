from __future__ import annotations

import pytest
import summaries

from pytest_mipro.report.formats import FORMATS


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_renders_any_summary(suffix: str) -> None:
    """A format has what it requires, and names the tasks of good, bad and hostile sessions."""
    report_format = FORMATS[suffix]
    report_format.require()
    for summary in (
        summaries.summary(),
        summaries.summary(summaries.REGRESSED),
        summaries.hostile("<b>\u202e\x1b[31m"),
    ):
        text = report_format.render(summary)
        assert "\x1b" not in text
        assert all(task.task in text for task in summary.tasks if task.task.isalnum())
