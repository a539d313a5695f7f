"""Compute scorecards from rows and references, and references from scorecards."""

from __future__ import annotations

from importlib.metadata import version
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pytest_mipro.evaluate import mean_score
from pytest_mipro.fingerprint import metric_key
from pytest_mipro.records import Artifact, ExampleCost, ExampleResult, Scorecard, Usage
from pytest_mipro.reference import Reference
from pytest_mipro.session.results import ScoredProgram
from pytest_mipro.task import clusters_of, example_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import dspy

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.fingerprint import Fingerprint
    from pytest_mipro.records import Failure, Row
    from pytest_mipro.session.results import TaskResult
    from pytest_mipro.task import Task


def scored_program(
    program: dspy.Module, card: Scorecard, rows_by_example: Sequence[ExampleRows]
) -> ScoredProgram:
    """Return ``program`` with its scorecard and its result on each held-out example."""
    return ScoredProgram(program, card, tuple(map(_example_result, rows_by_example)))


def card_of(task: Task, rows_by_example: Sequence[ExampleRows], usage: Usage) -> Scorecard:
    """Return the scorecard of a program with these rows on the held-out examples."""
    rows = list(chain.from_iterable(rows_by_example))
    return Scorecard(
        examples=_names(task),
        scores=tuple(map(mean_score, rows_by_example)),
        usage=usage,
        failures=_failures(rows),
        rollouts=task.repeat,
        clusters=_clusters(task),
        latency=_latency(rows),
        costs=_costs_if_any(map(_cost, rows_by_example)),
    )


def completed_program(
    program: dspy.Module,
    reference: Reference,
    role: Literal["baseline", "compiled"],
    task: Task,
    rows: Mapping[str, ExampleRows],
) -> ScoredProgram:
    """Return ``program`` with its accepted scores, which ``rows`` by example replace."""
    card = _completed_card(reference, role, task, rows)
    scores = zip(card.examples, card.scores, strict=True)
    results = (
        _example_result(rows[name]) if name in rows else ExampleResult(score)
        for name, score in scores
    )
    return ScoredProgram(program, card, tuple(results))


def accepted_card(reference: Reference, test: Sequence[dspy.Example]) -> Scorecard:
    """Return the accepted scores, those of ``test`` first and in its order."""
    present = [example_digest(example) for example in test]
    order = dict.fromkeys([*present, *sorted(reference.compiled)])
    names = tuple(name for name in order if name in reference.compiled)
    scores = tuple(reference.compiled[name] for name in names)
    costs = _costs_if_any(reference.cost_of("compiled", name) for name in names)
    return Scorecard(names, scores, reference.usage["compiled"], costs=costs)


def reference_of(task: Task, fingerprint: Fingerprint, test: str, result: TaskResult) -> Reference:
    """Return ``result`` as the reference of ``test``."""
    baseline, compiled = result.baseline.card, result.compiled.card
    return Reference(
        test=test,
        key=fingerprint.key,
        parts=dict(fingerprint.parts),
        where=dict(fingerprint.where),
        metric=metric_key(task.metric, task.version),
        baseline=dict(zip(baseline.examples, baseline.scores, strict=True)),
        compiled=dict(zip(compiled.examples, compiled.scores, strict=True)),
        usage={
            "compile": result.artifact.usage,
            "baseline": baseline.usage,
            "compiled": compiled.usage,
        },
        versions={name: version(name) for name in ("dspy", "pytest-mipro")},
        state=result.artifact.state,
        tokens={"baseline": _tokens(baseline), "compiled": _tokens(compiled)},
        usd={"baseline": _usd(baseline), "compiled": _usd(compiled)},
    )


def artifact_of(reference: Reference, task: Task) -> Artifact:
    """Return the accepted artifact, without its search, which the reference does not have."""
    return Artifact(
        key=reference.key,
        task=task.test,
        parts=reference.parts,
        where=reference.where,
        state=reference.state,
        usage=reference.usage["compile"],
        seconds=0.0,
        created="",
        optimizer=task.optimizer.name,
    )


def _completed_card(
    reference: Reference,
    role: Literal["baseline", "compiled"],
    task: Task,
    rows_by_name: Mapping[str, ExampleRows],
) -> Scorecard:
    names = _names(task)
    accepted = reference.baseline if role == "baseline" else reference.compiled
    scores = {**accepted, **{name: mean_score(rows) for name, rows in rows_by_name.items()}}
    is_new = len(rows_by_name) == len(names)
    rows = list(chain.from_iterable(rows_by_name.values()))
    new_usage = Usage.total(row.usage for row in rows)
    return Scorecard(
        examples=names,
        scores=tuple(scores[name] for name in names),
        usage=new_usage if is_new else new_usage + reference.usage[role],
        failures=_failures(rows),
        # The reference does not have the number of rollouts behind an accepted score.
        rollouts=task.repeat if is_new else 1,
        clusters=_clusters(task),
        latency=_latency(rows) if is_new else None,
        costs=_costs_if_any(
            _cost(rows_by_name[name]) if name in rows_by_name else reference.cost_of(role, name)
            for name in names
        ),
    )


def _names(task: Task) -> tuple[str, ...]:
    """Return the identities of the held-out examples."""
    return tuple(example_digest(example) for example in task.dataset.test)


def _example_result(rows: ExampleRows) -> ExampleResult:
    return ExampleResult(
        score=mean_score(rows),
        predictions=tuple(row.prediction for row in rows),
        failures=_failures(rows),
    )


def _failures(rows: Iterable[Row]) -> tuple[Failure, ...]:
    return tuple(row.failure for row in rows if row.failure is not None)


def _clusters(task: Task) -> tuple[str, ...]:
    return () if task.cluster is None else clusters_of(task.dataset.test, task.cluster)


def _cost(rows: ExampleRows) -> ExampleCost | None:
    """Return the mean cost of the rollouts, or None if one is unknown."""
    usages = [row.spent for row in rows if row.spent is not None]
    return ExampleCost.of(usages) if len(usages) == len(rows) else None


def _costs_if_any(costs: Iterable[ExampleCost | None]) -> tuple[ExampleCost | None, ...]:
    """Return the costs, or an empty tuple if all are unknown."""
    costs = tuple(costs)
    return costs if any(costs) else ()


def _tokens(card: Scorecard) -> dict[str, float]:
    return {name: cost.tokens for name, cost in card.known_costs.items()}


def _usd(card: Scorecard) -> dict[str, float]:
    costs = card.known_costs.items()
    return {name: cost.usd for name, cost in costs if cost.usd is not None}


def _latency(rows: Sequence[Row]) -> float | None:
    """Return the mean seconds of the rows that have a measurement, if any."""
    seconds = [row.seconds for row in rows if row.seconds is not None]
    return fmean(seconds) if seconds else None
