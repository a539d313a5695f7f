"""Compute scorecards from rows and references, and references from scorecards."""

from __future__ import annotations

from importlib.metadata import version
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_mipro.evaluate import mean_score
from pytest_mipro.fingerprint import adapter_name, by_text, metric_key, rendering_key
from pytest_mipro.records import Artifact, ExampleCost, ExampleResult, Scorecard, Usage
from pytest_mipro.reference import FurtherScores, Reference
from pytest_mipro.session.context import further_metric_keys
from pytest_mipro.session.results import ScoredProgram
from pytest_mipro.task import clusters_of, example_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import dspy

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.fingerprint import Fingerprint
    from pytest_mipro.records import Failure, Row
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.results import TaskResult
    from pytest_mipro.task import Task

Role: TypeAlias = Literal["baseline", "compiled"]


def scored_program(
    program: dspy.Module, card: Scorecard, rows_by_example: Sequence[ExampleRows]
) -> ScoredProgram:
    """Return ``program`` with its scorecard and its result on each held-out example."""
    return ScoredProgram(program, card, tuple(map(_example_result, rows_by_example)))


def further_cards(
    task: Task, scores_by_metric: Mapping[str, Sequence[float]]
) -> dict[str, Scorecard]:
    """Return the scorecards of a program by further metrics, by name.

    They have no usage, which is that of the answers and on the scorecard by the optimized metric.
    """
    return {
        name: Scorecard(
            _names(task), tuple(scores), Usage(), rollouts=task.repeat, clusters=_clusters(task)
        )
        for name, scores in scores_by_metric.items()
    }


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
    role: Role,
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


def completed_further_cards(
    reference: Reference,
    role: Role,
    task: Task,
    scores_by_metric: Mapping[str, Mapping[str, float]],
) -> dict[str, Scorecard]:
    """Return scorecards by further metrics: accepted scores, which those by example replace."""
    scores = {
        name: {**_accepted_by(reference, name, role), **scores_by_metric.get(name, {})}
        for name in task.further_metrics
    }
    return further_cards(
        task,
        {
            name: [of_metric[example] for example in _names(task)]
            for name, of_metric in scores.items()
        },
    )


def accepted_further_cards(reference: Reference, task: Task) -> dict[str, Scorecard]:
    """Return the accepted scores by the task's further metrics, by name."""
    names = _in_order_of(task.dataset.test, reference.compiled)
    return {
        metric: Scorecard(names, tuple(further.compiled[name] for name in names), Usage())
        for metric, further in reference.further.items()
        if metric in task.further_metrics
    }


def unchanged_further_cards(context: TaskContext) -> dict[str, Scorecard]:
    """Return the accepted scores by those further metrics that did not change since, by name."""
    assert context.reference is not None
    cards = accepted_further_cards(context.reference, context.task)
    return {name: cards[name] for name in cards if name not in context.new_further_metrics}


def accepted_card(reference: Reference, test: Sequence[dspy.Example]) -> Scorecard:
    """Return the accepted scores, those of ``test`` first and in its order."""
    names = _in_order_of(test, reference.compiled)
    scores = tuple(reference.compiled[name] for name in names)
    costs = _costs_if_any(reference.cost_of("compiled", name) for name in names)
    return Scorecard(names, scores, reference.usage["compiled"], costs=costs)


def _accepted_by(reference: Reference, metric: str, role: Role) -> Mapping[str, float]:
    """Return the accepted scores of a program by a further metric; empty if there are none."""
    further = reference.further.get(metric)
    if further is None:
        return {}
    return further.baseline if role == "baseline" else further.compiled


def _in_order_of(test: Sequence[dspy.Example], names: Collection[str]) -> tuple[str, ...]:
    """Return names of examples, those of ``test`` first and in its order."""
    present = [example_digest(example) for example in test]
    order = dict.fromkeys([*present, *sorted(names)])
    return tuple(name for name in order if name in names)


def reference_of(task: Task, fingerprint: Fingerprint, test: str, result: TaskResult) -> Reference:
    """Return ``result`` as the reference of ``test``."""
    baseline, compiled = result.baseline.card, result.compiled.card
    return Reference(
        test=test,
        key=fingerprint.key,
        parts=by_text(fingerprint.parts),
        metric=metric_key(task.metric, task.version),
        baseline=_scores_by_example(baseline),
        compiled=_scores_by_example(compiled),
        usage={
            "compile": result.artifact.usage,
            "baseline": baseline.usage,
            "compiled": compiled.usage,
        },
        model=task.lm.model,
        adapter=adapter_name(task.adapter),
        rendering=rendering_key(result.compiled.program, task.adapter),
        versions={name: version(name) for name in ("dspy", "pytest-mipro")},
        state=result.artifact.state,
        tokens={"baseline": _tokens(baseline), "compiled": _tokens(compiled)},
        usd={"baseline": _usd(baseline), "compiled": _usd(compiled)},
        further={
            name: FurtherScores(
                key,
                _scores_by_example(result.baseline.further[name]),
                _scores_by_example(result.compiled.further[name]),
            )
            for name, key in further_metric_keys(task).items()
        },
    )


def artifact_of(reference: Reference, task: Task) -> Artifact:
    """Return the accepted artifact, without its search, which the reference does not have."""
    return Artifact(
        key=reference.key,
        task=task.test,
        parts=reference.parts,
        state=reference.state,
        usage=reference.usage["compile"],
        seconds=0.0,
        created="",
        optimizer=task.optimizer.name,
    )


def _completed_card(
    reference: Reference,
    role: Role,
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


def _scores_by_example(card: Scorecard) -> dict[str, float]:
    return dict(zip(card.examples, card.scores, strict=True))


def _names(task: Task) -> tuple[str, ...]:
    """Return the identities of the held-out examples."""
    return tuple(example_digest(example) for example in task.dataset.test)


def _example_result(rows: ExampleRows) -> ExampleResult:
    return ExampleResult(
        score=mean_score(rows),
        predictions=tuple(row.prediction for row in rows),
        failures=_failures(rows),
        feedback=tuple(row.feedback for row in rows) if any(row.feedback for row in rows) else (),
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
