"""Write a search into an Optuna study, which ``optuna-dashboard`` and other tools open.

The study is a copy for people: nothing reads it back, and the search is over when it is written.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pytest_mipro.optimize.mipro.pipeline import PipelineResult
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Candidate

_POSTGRESQL = "postgresql://"
_CONNECT_TIMEOUT = 10
"""Seconds after which a server that does not answer is given up."""


def write_study(result: PipelineResult, url: str, name: str) -> None:
    """Write each candidate of a search as a trial, in place of an earlier study of that name.

    A candidate that was measured on a part of the rows is a pruned trial.

    Args:
        result: The result of the search.
        url: SQLAlchemy URL of the database, in which Optuna makes its tables.
        name: The name of the study.

    Raises:
        Exception: Optuna, SQLAlchemy or a driver cannot write it; their errors have no common type.
    """
    distributions = _distributions(result.search.space)
    trials = [
        _trial(result, distributions, candidate, scores)
        for candidate, scores in result.search.scores.items()
    ]
    with _quiet(), _opened(url) as storage:
        if name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_user_attr("validation rows", result.full)
        if result.cut is not None:
            study.set_user_attr("cut", result.cut.limit)
        study.add_trials(trials)


def _distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the options of each choice, which are numbered as in an artifact."""
    choices = (*space.instructions, *space.demos)
    return {
        name: optuna.distributions.CategoricalDistribution(range(len(options)))
        for name, options in zip(_names(space), choices, strict=True)
    }


def _names(space: Space) -> list[str]:
    """Return the names of the choices, in the order of ``Space.sizes``."""
    paths = [path for path, _ in space.student.named_predictors()]
    return [f"{path} {choice}" for choice in ("instruction", "demos") for path in paths]


def _trial(
    result: PipelineResult,
    distributions: dict[str, optuna.distributions.BaseDistribution],
    candidate: Candidate,
    scores: Sequence[float],
) -> optuna.trial.FrozenTrial:
    states = optuna.trial.TrialState
    choices = (*candidate.instructions, *candidate.demos)
    return optuna.trial.create_trial(
        state=states.COMPLETE if len(scores) == result.full else states.PRUNED,
        params=dict(zip(distributions, choices, strict=True)),
        distributions=distributions,
        value=fmean(scores),
        user_attrs={
            "rows": len(scores),
            "program": _program_of(result, candidate),
            **_prompts_of(result.search.space, candidate),
        },
    )


def _program_of(result: PipelineResult, candidate: Candidate) -> str:
    names = {result.search.winner: "compiled", result.search.space.baseline: "baseline"}
    is_unchanged = result.search.winner == result.search.space.baseline
    return "baseline, compiled" if is_unchanged and candidate in names else names.get(candidate, "")


def _prompts_of(space: Space, candidate: Candidate) -> dict[str, Any]:
    """Return the text of each instruction, and the number of demos in each set."""
    names = _names(space)
    half = len(names) // 2
    instructions = zip(names[:half], space.instructions, candidate.instructions, strict=True)
    demos = zip(names[half:], space.demos, candidate.demos, strict=True)
    return {
        **{name: texts[index] for name, texts, index in instructions},
        **{name: len(demo_sets[index]) for name, demo_sets, index in demos},
    }


@contextmanager
def _opened(url: str) -> Generator[optuna.storages.RDBStorage]:
    arguments: dict[str, Any] = {}
    if url.startswith("postgresql"):
        # SQLAlchemy's driver depends on its version; the extra of this package installs this one.
        url = url.replace(_POSTGRESQL, "postgresql+psycopg://", 1)
        if "connect_timeout=" not in url:
            arguments["connect_args"] = {"connect_timeout": _CONNECT_TIMEOUT}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def _quiet() -> Generator[None]:
    """Keep Optuna's news of a study off stderr; its verbosity is a setting of the user."""
    logger = logging.getLogger(optuna.storages.RDBStorage.__module__)
    logger.addFilter(_deny)
    try:
        yield
    finally:
        logger.removeFilter(_deny)


def _deny(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO
