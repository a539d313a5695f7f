from __future__ import annotations

import io
import json
import shutil
from statistics import fmean
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from compiles import MORE, TwoStep, average_lm, compiled, small_optimizer
from optuna_dashboard import wsgi

from pytest_mipro.optimize.mipro.study import write_study

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.optimize.mipro.pipeline import PipelineResult

pytestmark = pytest.mark.uses("optuna")

PATHS = ["think", "inner.solve.predict"]
NAME = "test_sums.py::test_adder 0123abcd"


@pytest.fixture(scope="module")
def result() -> PipelineResult:
    """Return the result of a search over the prompts of two predictors."""
    optimizer = small_optimizer(average_lm(), num_candidates=3)
    compiled(optimizer, TwoStep(), **MORE | {"num_trials": 3})
    assert optimizer.result is not None
    return optimizer.result


@pytest.fixture(scope="module")
def database(result: PipelineResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database that the search was written to; Optuna takes long to make one."""
    path = tmp_path_factory.mktemp("study") / "study.db"
    write_study(result, url_of(path), NAME)
    return path


def url_of(path: Path) -> str:
    """Return the URL of a database file."""
    return f"sqlite:///{path}"


class Dashboard:
    """optuna-dashboard on a database, as a browser asks it."""

    def __init__(self, url: str) -> None:
        self._storage = optuna.storages.RDBStorage(url)
        self._app = wsgi(self._storage)

    def get(self, path: str) -> Any:
        """Return the JSON data at a path."""
        environment: dict[str, Any] = {"PATH_INFO": path, "wsgi.errors": io.StringIO()}
        setup_testing_defaults(environment)
        statuses: list[str] = []
        parts = self._app(environment, lambda status, *_: statuses.append(status))
        assert statuses == ["200 OK"]
        return json.loads(b"".join(parts))

    def close(self) -> None:
        """Close the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def shown(url: str) -> list[dict[str, Any]]:
    """Return the studies that optuna-dashboard shows, with their trials."""
    dashboard = Dashboard(url)
    studies = dashboard.get("/api/studies")["study_summaries"]
    details = [dashboard.get(f"/api/studies/{study['study_id']}") for study in studies]
    dashboard.close()
    return details


def attributes(trial: dict[str, Any]) -> dict[str, Any]:
    """Return the user attributes of a trial."""
    return {entry["key"]: entry["value"] for entry in trial["user_attrs"]}


def test_the_dashboard_shows_a_search(result: PipelineResult, database: Path) -> None:
    """Each candidate is a trial with its choices, its score, its rows and its instructions."""
    (study,) = shown(url_of(database))
    assert study["name"] == NAME
    assert study["directions"] == ["maximize"]
    trials = study["trials"]
    assert [trial["values"] for trial in trials] == [
        [fmean(scores)] for scores in result.search.scores.values()
    ]
    complete = [len(scores) == result.full for scores in result.search.scores.values()]
    assert [trial["state"] == "Complete" for trial in trials] == complete
    assert {False, True} == {*complete}
    names = [f"{path} {choice}" for choice in ("instruction", "demos") for path in PATHS]
    for trial, candidate in zip(trials, result.search.scores, strict=True):
        choices = [*candidate.instructions, *candidate.demos]
        assert [int(choice["param_internal_value"]) for choice in trial["params"]] == choices
        assert [choice["name"] for choice in trial["params"]] == names
    (best,) = study["best_trials"]
    instructions = result.search.space.instructions[0]
    shown_text = attributes(best)["think instruction"]
    assert shown_text.strip('"') in instructions or json.loads(shown_text) in instructions


def test_programs_are_named(result: PipelineResult, database: Path) -> None:
    """The trials of the baseline and of the compiled program say so."""
    study = optuna.load_study(study_name=NAME, storage=url_of(database))
    programs = {trial.user_attrs["program"]: trial for trial in study.trials}
    assert study.user_attrs == {"validation rows": result.full}
    assert {"baseline", "compiled"} <= programs.keys()
    assert programs["compiled"].user_attrs["rows"] == result.full
    assert set(programs["baseline"].params.values()) == {0}
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]


def test_a_search_takes_the_place_of_its_study(
    result: PipelineResult, database: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A task that is compiled again has one study; nothing is printed."""
    copied = tmp_path / "study.db"
    shutil.copy(database, copied)
    url = url_of(copied)
    for name in ("another", NAME):
        write_study(result, url, name)
    studies = shown(url)
    assert sorted(study["name"] for study in studies) == sorted([NAME, "another"])
    assert len({len(study["trials"]) for study in studies}) == 1
    assert not capfd.readouterr().err


def test_a_study_on_a_server(
    result: PipelineResult, postgresql_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A URL without a driver is enough; instructions may be long; nothing is printed."""
    write_study(result, postgresql_url, NAME)
    assert not capfd.readouterr().err
    (study,) = shown(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))
    assert len(study["trials"]) == len(result.search.scores)
