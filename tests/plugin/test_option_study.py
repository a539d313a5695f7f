"""``mipro_study``: a database that searches are written to, for those who look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
import pytest

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("optuna")


def test_a_search_is_a_study(project: Project) -> None:
    """The file is under the rootdir, and the instructions are in it."""
    project.run("--mipro", "-o", "mipro_study=sqlite:///study.db").assert_outcomes(passed=1)
    storage = optuna.storages.RDBStorage(f"sqlite:///{project.path / 'study.db'}")
    (study,) = storage.get_all_studies()
    assert study.study_name.startswith("test_adder.py::test_adder ")
    trials = storage.get_all_trials(study._study_id)
    assert all("add instruction" in trial.user_attrs for trial in trials)
    storage.remove_session()
    storage.engine.dispose()


def test_a_mistyped_database_changes_no_verdict(project: Project) -> None:
    """A warning says so, without the password."""
    reports = ("--mipro-report", "r.json", "--junitxml=r.xml")
    result = project.run("--mipro", "-o", "mipro_study=postgresql:/me:canary@host/db", *reports)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*its search is not in a study of mipro_study=postgresql:…*"])
    assert "canary" not in result.stdout.str() + result.stderr.str()
    for name in ("r.json", "r.xml"):
        assert "canary" not in (project.path / name).read_text(encoding="utf-8")
