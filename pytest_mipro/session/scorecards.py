"""
What rows come to: scorecards, and the references they are accepted as.

Pure functions from rows and records to records; what is not known yet is the
session's to find out.
"""

from __future__ import annotations

from importlib.metadata import version
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pytest_mipro import fingerprint
from pytest_mipro.evaluate import mean_score
from pytest_mipro.records import Artifact, ExampleCost, ExampleResult, Scorecard, Usage
from pytest_mipro.reference import Reference
from pytest_mipro.session.outcome import ScoredProgram
from pytest_mipro.task import clusters_of, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import dspy

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.records import Row
    from pytest_mipro.session.outcome import TaskResult
    from pytest_mipro.task import Task


def scored(
    program: dspy.Module, task: Task, found: Sequence[ExampleRows], usage: Usage
) -> ScoredProgram:
    """Return ``program`` with what was found for each held-out example."""
    return ScoredProgram(program, card_of(task, found, usage), tuple(map(_answer, found)))


def card_of(task: Task, found: Sequence[ExampleRows], usage: Usage) -> Scorecard:
    """Return the scorecard of what was found for each held-out example."""
    rows = list(chain.from_iterable(found))
    return Scorecard(
        examples=tuple(identity(example) for example in task.dataset.test),
        scores=tuple(map(mean_score, found)),
        usage=usage,
        failures=tuple(row.failure for row in rows if row.failure is not None),
        rollouts=task.repeat,
        clusters=_clusters(task),
        latency=_latency(rows),
        costs=_known(map(_bill, found)),
    )


def completed(
    program: dspy.Module,
    reference: Reference,
    which: Literal["baseline", "compiled"],
    task: Task,
    found: Mapping[str, ExampleRows],
) -> ScoredProgram:
    """Return ``program`` with its accepted scores, but for the examples in ``found``."""
    card = _completed_card(reference, which, task, found)
    scores = zip(card.examples, card.scores, strict=True)
    answers = (
        _answer(found[each]) if each in found else ExampleResult(score) for each, score in scores
    )
    return ScoredProgram(program, card, tuple(answers))


def accepted_card(reference: Reference, test: Sequence[dspy.Example]) -> Scorecard:
    """Return the accepted scores, those of ``test`` first and in its order."""
    present = [identity(example) for example in test]
    order = dict.fromkeys([*present, *sorted(reference.compiled)])
    known = [each for each in order if each in reference.compiled]
    scores = tuple(reference.compiled[each] for each in known)
    costs = _known(reference.bill("compiled", each) for each in known)
    return Scorecard(tuple(known), scores, reference.usage["compiled"], costs=costs)


def reference_of(
    task: Task, found: fingerprint.Fingerprint, test: str, judged: TaskResult
) -> Reference:
    """Return what was judged as the reference of ``test``."""
    before, after = judged.baseline.card, judged.compiled.card
    return Reference(
        test=test,
        key=found.key,
        parts=dict(found.parts),
        where=dict(found.where),
        metric=fingerprint.of_metric(task.metric, task.version),
        baseline=dict(zip(before.examples, before.scores, strict=True)),
        compiled=dict(zip(after.examples, after.scores, strict=True)),
        usage={
            "compile": judged.artifact.usage,
            "baseline": before.usage,
            "compiled": after.usage,
        },
        versions={name: version(name) for name in ("dspy", "pytest-mipro")},
        state=judged.artifact.state,
        tokens={"baseline": _tokens(before), "compiled": _tokens(after)},
        usd={"baseline": _usd(before), "compiled": _usd(after)},
    )


def artifact_of(reference: Reference, task: Task) -> Artifact:
    """Return the artifact that was accepted; how it came about is not known any more."""
    return Artifact(
        key=reference.key,
        task=task.test,
        parts=reference.parts,
        where=reference.where,
        state=reference.state,
        usage=reference.usage["compile"],
        seconds=0.0,
        created="",
    )


def _completed_card(
    reference: Reference,
    which: Literal["baseline", "compiled"],
    task: Task,
    found: Mapping[str, ExampleRows],
) -> Scorecard:
    """Return the accepted scores of the held-out examples, and those of ``found``."""
    accepted = reference.baseline if which == "baseline" else reference.compiled
    scores = {**accepted, **{each: mean_score(rows) for each, rows in found.items()}}
    examples = tuple(identity(example) for example in task.dataset.test)
    is_new = len(found) == len(examples)
    rows = list(chain.from_iterable(found.values()))
    costs = (
        _bill(found[each]) if each in found else reference.bill(which, each) for each in examples
    )
    return Scorecard(
        examples=examples,
        scores=tuple(scores[each] for each in examples),
        usage=Usage.total(row.usage for row in rows)
        + (Usage() if is_new else reference.usage[which]),
        failures=tuple(row.failure for row in rows if row.failure is not None),
        # Of how many answers an accepted score is the mean, the reference does not say.
        rollouts=task.repeat if is_new else 1,
        clusters=_clusters(task),
        latency=_latency(rows) if is_new else None,
        costs=_known(costs),
    )


def _answer(rows: ExampleRows) -> ExampleResult:
    return ExampleResult(
        score=mean_score(rows),
        predictions=tuple(row.prediction for row in rows),
        failures=tuple(row.failure for row in rows if row.failure is not None),
    )


def _clusters(task: Task) -> tuple[str, ...]:
    return () if task.cluster is None else clusters_of(task.dataset, task.cluster)


def _bill(rows: ExampleRows) -> ExampleCost | None:
    spent = [row.spent for row in rows if row.spent is not None]
    return ExampleCost.of(spent) if len(spent) == len(rows) else None


def _known(costs: Iterable[ExampleCost | None]) -> tuple[ExampleCost | None, ...]:
    """Return the costs; nothing if none is known."""
    every = tuple(costs)
    return every if any(every) else ()


def _tokens(card: Scorecard) -> dict[str, float]:
    return {example: bill.tokens for example, bill in card.known_costs.items()}


def _usd(card: Scorecard) -> dict[str, float]:
    costs = card.known_costs.items()
    return {example: bill.usd for example, bill in costs if bill.usd is not None}


def _latency(rows: Sequence[Row]) -> float | None:
    """Return the mean seconds of answers, of those that were measured."""
    measured = [row.seconds for row in rows if row.seconds is not None]
    return fmean(measured) if measured else None
