"""The record of a task's outcome, from which all reports are rendered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro import gate
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import prompts
from pytest_mipro.records import MetricScores, Report
from pytest_mipro.session.held_out_examples import held_out_examples

if TYPE_CHECKING:
    from pytest_mipro.records import PairedComparison, Prompt, Scorecard, Usage, Verdict
    from pytest_mipro.session.interim import InterimResults
    from pytest_mipro.session.results import ReferenceState
    from pytest_mipro.task import Task

_ALPHA = 0.05
"""The level of the comparison that reports show."""


def task_report(  # ruff: ignore[too-many-arguments] - the parts of a report
    task: Task,
    results: InterimResults,
    state: ReferenceState,
    *,
    verdicts: tuple[Verdict, ...],
    test_usage: Usage,
    store: str,
) -> Report:
    """Return the record of an outcome.

    Args:
        task: What the test declared.
        results: Both programs with their scores.
        state: The reference of the test.
        verdicts: The verdicts so far.
        test_usage: The usage of the test's own calls.
        store: The name of the store; empty if none was needed.
    """
    result = results.latest
    baseline, compiled, artifact = result.baseline, result.compiled, result.artifact
    accepted = None if state.reference is None else state.reference.comparable_card
    answers = (baseline.answers, compiled.answers)
    return Report(
        task=task.name,
        test=task.test,
        key=artifact.key,
        origin=result.origin,
        reasons=result.reasons,
        baseline=baseline.card,
        compiled=compiled.card,
        comparison=compared(results, baseline.card, compiled.card),
        prompts_before=prompts(baseline.program),
        prompts_after=prompts(compiled.program),
        usage=result.usage + state.usage + test_usage,
        seconds=result.seconds,
        store=store,
        verdicts=verdicts,
        acceptance=state.acceptance,
        stale=state.stale,
        cut=artifact.cut,
        model=task.lm.model,
        shared=result.shared,
        resumed=result.resumed,
        held_out=held_out_examples(results.examples, *answers, accepted),
        search=artifact.search,
        accepted=accepted,
        prompts_accepted=_prompts_accepted(state),
        metric=task.metric_name,
        further=tuple(_metric_scores(results, state, name) for name in task.further_metrics),
        optimizer=artifact.optimizer,
        compile_usage=artifact.usage,
        compile_seconds=artifact.seconds,
    )


def compared(results: InterimResults, baseline: Scorecard, compiled: Scorecard) -> PairedComparison:
    """Return the comparison of two scorecards of the latest analysis, without a margin."""
    analysis = results.analysis(_ALPHA)
    compare = gate.compare if analysis is None else partial(gate.compare_at, analysis)
    comparison = compare(baseline.scores, compiled.scores, clusters=compiled.clusters)
    return replace(comparison, rollouts=compiled.rollouts)


def _metric_scores(results: InterimResults, state: ReferenceState, metric: str) -> MetricScores:
    result, reference = results.latest, state.reference
    accepted = None if reference is None else reference.further.get(metric)
    baseline, compiled = result.baseline.by_metric(metric), result.compiled.by_metric(metric)
    comparison = compared(results, baseline, compiled)
    return MetricScores(metric, baseline, compiled, comparison, accepted)


def _prompts_accepted(state: ReferenceState) -> tuple[Prompt, ...]:
    if state.reference is None or state.acceptance is not None:
        return ()
    try:
        return prompts(state.reference.program)
    except ReferenceFileError:
        return state.stored_prompts  # The code has other predictors now.
