from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
import pytest

from pytest_mipro.session import dump_state

if TYPE_CHECKING:
    from pathlib import Path

    from sessions import Checkout, FirstRun


def studies(url: str) -> list[str]:
    """Return the names of the studies in a database."""
    storage = optuna.storages.RDBStorage(url)
    names = [study.study_name for study in storage.get_all_studies()]
    storage.remove_session()
    storage.engine.dispose()
    return names


def test_a_compile_writes_a_study(checkout: Checkout, tmp_path: Path) -> None:
    """It is named after the test and its key; a later run, which searches nothing, writes none."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    report = checkout.report(study=url)
    assert studies(url) == [f"test_sums.py::test_adder {report.key[:8]}"]
    (tmp_path / "study.db").unlink()
    checkout.outcome(study=url)
    assert not (tmp_path / "study.db").exists()
    assert not [text for text in checkout.recorder.warnings if "study" in text]


@pytest.mark.parametrize(
    "url, shown, reason",
    [
        (
            "postgresql://me:hunter2@127.0.0.1:1/db",
            "postgresql://127.0.0.1:1/db",
            "Connection refused",
        ),
        ("sqlite:////nosuch/study.db", "sqlite:////nosuch/study.db", "unable to open"),
        ("mysql+nosuch://me:hunter2@host/db", "mysql+nosuch://host/db", "NoSuchModuleError"),
    ],
    ids=["server", "file", "kind"],
)
def test_a_study_that_cannot_be_written(
    checkout: Checkout, first_run: FirstRun, url: str, shown: str, reason: str
) -> None:
    """A warning names the database without its password, and the result is the same."""
    outcome = checkout.outcome(study=url)
    assert dump_state(outcome.compiled.program) == dump_state(first_run.outcome.compiled.program)
    (advice,) = [text for text in checkout.recorder.warnings if "study" in text]
    assert f"mipro_study={shown}: " in advice
    assert reason in advice
    assert "make sure that the database can be reached" in advice
    assert "hunter2" not in advice
