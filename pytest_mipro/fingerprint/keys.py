"""The keys: everything that can change an artifact, a row or a prompt."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

# It registers how models and adapters are described.
import pytest_mipro.fingerprint.models  # ruff: ignore[unused-import]
from pytest_mipro.canonical import digest, plain
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint.changes import FIELDS, INSTRUCTION, SIGNATURE, TEACHER, Fingerprint
from pytest_mipro.fingerprint.code_walker import CodeWalker
from pytest_mipro.fingerprint.programs import of_predictors, of_program
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dspy

    from pytest_mipro.canonical import JSON
    from pytest_mipro.task import Metric, Task

ALGORITHM = 3
"""Raised whenever the engine would choose differently for the same inputs."""


def of_task(task: Task, extra: Mapping[str, object] | None = None) -> Fingerprint:
    """
    Return the compile fingerprint: everything that can change the artifact.

    Args:
        task: The task.
        extra: Further parts by name, such as what plugins add.

    Raises:
        FingerprintError: Something decides the result but has no content to
            hash, and the task declares no ``version``.

    """
    trail = CodeWalker(lenient=task.version is not None)
    trail.declare(task.metric, "metric")
    parts = {
        **_program_parts(task.program, trail),
        **({} if task.teacher is None else _teacher_parts(task.teacher, trail)),
        "model": trail.describe(task.lm, "model"),
        "prompt model": trail.describe(task.prompt_lm, "prompt model"),
        "teacher model": trail.describe(task.teacher_lm, "teacher model"),
        "adapter": trail.describe(task.adapter, "adapter"),
        **{f"option {name}": value for name, value in vars(task.options).items()},
        **_row_parts("train", task.dataset.train),
        **_row_parts("val", task.dataset.val),
        "DSPy version": version("dspy"),
        "Optuna version": version("optuna"),
        "algorithm version": ALGORITHM,
        "declared version": task.version,
        **{name: _added(name, value) for name, value in (extra or {}).items()},
        **trail.parts,
    }
    where = {**trail.where, **_places(parts, trail.where)}
    return Fingerprint({name: digest(part) for name, part in parts.items()}, where)


def _added(name: str, value: object) -> JSON:
    try:
        return plain(value)
    except FingerprintError as error:
        message = f"the part {name!r} that pytest_mipro_fingerprint adds to the key: {error}"
        raise FingerprintError(message) from error


def of_evaluation(
    program: dspy.Module,
    metric: Metric,
    lm: dspy.BaseLM,
    row_adapter: dspy.Adapter | None,
    declared: str | None = None,
) -> str:
    """
    Return the digest of what all rows of one task share: code, metric, model, adapter.

    Raises:
        FingerprintError: As ``of_task``.

    """
    answers = of_answers(program, lm, row_adapter, declared)
    return digest([answers, of_metric(metric, declared)])


def of_metric(metric: Metric, declared: str | None = None) -> str:
    """
    Return the digest of what turns an answer into a score.

    Raises:
        FingerprintError: As ``of_task``.

    """
    trail = CodeWalker(lenient=declared is not None)
    trail.declare(metric, "metric")
    return digest([trail.parts, declared])


def of_answers(
    program: dspy.Module,
    lm: dspy.BaseLM,
    row_adapter: dspy.Adapter | None,
    declared: str | None = None,
) -> str:
    """
    Return the digest of what all predictions of one task share, whatever the metric.

    Raises:
        FingerprintError: As ``of_task``.

    """
    trail = CodeWalker(lenient=declared is not None)
    described = {
        "modules": of_program(program, trail),
        "model": trail.describe(lm, "model"),
        "adapter": trail.describe(row_adapter, "adapter"),
        "version": declared,
        "dspy": version("dspy"),
    }
    return digest({**described, "code": trail.parts})


def of_prompts(program: dspy.Module) -> str:
    """Return the digest of everything a search can change in ``program``, and its fields."""
    trail = CodeWalker(lenient=True)
    return digest([of_predictors(program, trail), trail.parts])


def model(lm: dspy.BaseLM) -> dict[str, JSON]:
    """Describe which model answers and how it samples; never a credential."""
    return _described(lm, "model")


def adapter(value: dspy.Adapter | None) -> dict[str, JSON] | None:
    """Describe the adapter: its class and public attributes."""
    return None if value is None else _described(value, "adapter")


def _described(value: dspy.BaseLM | dspy.Adapter, label: str) -> dict[str, JSON]:
    trail = CodeWalker(lenient=True)
    described = trail.describe(value, label)
    assert isinstance(described, dict)
    return {**described, "code": trail.parts} if trail.parts else described


def _row_parts(split: str, rows: Sequence[dspy.Example]) -> dict[str, JSON]:
    return {f"{split} row {identity(row)[:12]}": index for index, row in enumerate(rows)}


def _teacher_parts(teacher: dspy.Module, trail: CodeWalker) -> dict[str, JSON]:
    return {f"{TEACHER}{name}": part for name, part in _program_parts(teacher, trail).items()}


def _program_parts(program: dspy.Module, trail: CodeWalker) -> dict[str, JSON]:
    parts: dict[str, JSON] = {"modules": of_program(program, trail)}
    for name, predictor in of_predictors(program, trail).items():
        for part, content in predictor.items():
            parts[f"{part} of {name}"] = content
    return parts


def _places(parts: Mapping[str, Any], where: Mapping[str, str]) -> dict[str, str]:
    """Return where the signatures are that predictors have their instructions and fields from."""
    signatures = [
        (where[name], *part)
        for name, part in parts.items()
        if name.startswith(SIGNATURE) and name in where
    ]
    places: dict[str, str] = {}
    for name, fields in parts.items():
        owner = TEACHER if name.startswith(TEACHER) else ""
        if not name.startswith(f"{owner}{FIELDS}"):
            continue
        instruction = f"{owner}{INSTRUCTION}{name.removeprefix(owner + FIELDS)}"
        # DSPy adds fields to what it is given, such as the reasoning.
        near = [each for each in signatures if all(field in fields for field in each[2])]
        same = [place for place, text, _ in near if text == parts[instruction]]
        if same:
            places[instruction] = places[name] = same[0]
        elif len(near) == 1:
            places[name] = near[0][0]
    return places
