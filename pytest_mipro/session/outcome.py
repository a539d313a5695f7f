"""The outcome of a task: what the ``mipro`` fixture gives a test to judge."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

from pytest_mipro import gate
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import prompts, prompts_key
from pytest_mipro.records import (
    MetricScores,
    PairedComparison,
    Prompt,
    Report,
    Verdict,
)
from pytest_mipro.session.held_fail import HeldFail
from pytest_mipro.session.held_out_examples import held_out_examples
from pytest_mipro.session.program_calls import counted_calls
from pytest_mipro.session.results import check_metric_name
from pytest_mipro.session.truth import must_be_called, no_truth_value
from pytest_mipro.spending import Account
from pytest_mipro.task import ALL_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_mipro.records import Scorecard
    from pytest_mipro.session.results import (
        AnchorState,
        ReferenceProgram,
        ReferenceState,
        ScoredProgram,
        TaskResult,
    )
    from pytest_mipro.task import Task

_FEWER_DEMOS = (
    "ask for fewer demos (max_bootstrapped_demos, max_labeled_demos), or allow a larger ratio"
)


class Outcome:
    """Both programs of a task with their scores, and the verdicts about them.

    While a test has it, calling a program of it asks the task's model, and is counted.

    Attributes:
        task: What the test declared.
        baseline: The program before compiling, scored on the held-out split.
        compiled: The program after compiling, scored on the same examples.
        reference: The accepted program and its scores; None without a reference.
    """

    def __init__(  # ruff: ignore[too-many-arguments] - the parts of an outcome
        self,
        task: Task,
        result: TaskResult,
        state: ReferenceState,
        look: gate.LookCount,
        *,
        store_name: str,
        tolerant: bool,
        holds_fails: bool = False,
        warn: Callable[[str], None],
        account: Account | None = None,
    ) -> None:
        """Wrap the result of a session.

        Args:
            task: What the test declared.
            result: Both programs with their scores.
            state: The reference of the test.
            look: How often the held-out examples were looked at.
            store_name: The name of the store in reports; empty if none was needed.
            tolerant: Whether an inconclusive ``no_regression`` passes.
            holds_fails: Whether asserts hold on a FAIL until the end of the session.
            warn: Warns about the running test.
            account: What the calls of the test are charged to; None for one of its own.
        """
        self.task = task
        self.baseline = result.baseline
        self.compiled = result.compiled
        self.reference = state.reference
        self._result = result
        self._state = state
        self._look = look
        self._store_name = store_name
        self._tolerant = tolerant
        self._holds_fails = holds_fails
        self._warn = warn
        self._account = account or Account()
        self._verdicts: list[Verdict] = []

    @cached_property
    def comparison(self) -> PairedComparison:
        """The comparison of compiled and baseline without a margin."""
        return _compared(self.baseline.card, self.compiled.card)

    @must_be_called
    def beats_baseline(
        self, *, margin: float = 0.0, alpha: float = 0.05, metric: str | None = None
    ) -> Verdict:
        """Judge whether the compiled program is better on held-out examples.

        Args:
            margin: How much better it has to be, as a difference of mean scores.
            alpha: Accepted chance of a PASS for a program that is not, and of a
                FAIL for one that is.
            metric: The name of the metric that decides; None takes the optimized one.

        Returns:
            A verdict that is truthy only on PASS.

        Raises:
            DeclarationError: An argument cannot be used.
        """
        __tracebackhide__ = True
        name = self._metric_name(metric)
        verdict = self._judged(
            partial(
                gate.beats_baseline,
                _card(self.baseline, name),
                _card(self.compiled, name),
                margin=margin,
                unchanged=self._is_unchanged,
            ),
            alpha,
        )
        return self._recorded(verdict, name, alpha, needs_test=not self._is_unchanged)

    @must_be_called
    def no_regression(
        self, *, tolerance: float = 0.0, alpha: float = 0.05, metric: str | None = None
    ) -> Verdict:
        """Judge whether the compiled program is as good as the accepted reference.

        It is also held against the anchor, if that is another accepted program.

        Args:
            tolerance: Loss of mean score that is accepted.
            alpha: Accepted chance of a PASS for a program that lost more, and
                of a FAIL for one that did not.
            metric: The name of the metric that decides; None takes the optimized one. With
                ``"all"`` it is a PASS if it is one by each metric, at ``alpha`` each.

        Returns:
            A verdict that is truthy on PASS, and on INCONCLUSIVE unless
            ``mipro_inconclusive = fail``. Without a reference it is FAIL.

        Raises:
            DeclarationError: An argument cannot be used.
            ReferenceFileError: The reference has no scores to compare with.
        """
        __tracebackhide__ = True
        name = ALL_METRICS if metric == ALL_METRICS else self._metric_name(metric)
        if self.reference is None:
            gate.check_no_regression(tolerance, alpha)
            verdict = gate.no_reference(self._state.location.command)
        elif name == ALL_METRICS:
            verdict = self._no_regression_by_all(self.reference, tolerance, alpha)
        else:
            verdict = self._regression(self.reference, name, tolerance=tolerance, alpha=alpha)
        verdict = self._recorded(self._state.explained(verdict), name, alpha)
        # The word first: to ask a held FAIL for its truth is to assert on it.
        if verdict.word == "INCONCLUSIVE" and verdict:
            self._warn(f"{self.task.name}: {gate.question(verdict)}: {verdict!r}")
        return verdict

    def _no_regression_by_all(
        self, reference: ReferenceProgram, tolerance: float, alpha: float
    ) -> Verdict:
        __tracebackhide__ = True
        names = (self.task.metric_name, *self.task.further_metrics)
        judge = partial(self._regression, reference, tolerance=tolerance)
        return gate.by_all_metrics({name: partial(judge, name) for name in names}, alpha)

    def _metric_name(self, metric: str | None) -> str:
        """Return the name of the metric that decides, which may be empty."""
        __tracebackhide__ = True
        if metric is None:
            return self.task.metric_name
        check_metric_name(metric, self.task.metric_name, self.task.further_metrics)
        return metric

    def _recorded(
        self, verdict: Verdict, metric: str, alpha: float, *, needs_test: bool = True
    ) -> Verdict:
        """Return ``verdict`` with what the end of the session needs, and keep it for the report.

        Args:
            verdict: The verdict of this test.
            metric: The name of its metric.
            alpha: Its level of significance.
            needs_test: Whether it could be a FAIL by accident.
        """
        p_fail = gate.fail_p_value(verdict, self._tests_of(verdict, metric)) if needs_test else None
        verdict = replace(verdict, metric=metric, alpha=alpha, p_fail=p_fail)
        if self._holds_fails and verdict.word == "FAIL" and p_fail is not None:
            verdict = HeldFail.of(verdict)
        self._verdicts.append(verdict)
        return verdict

    def _tests_of(self, verdict: Verdict, metric: str) -> int:
        """Return how many tests of a verdict can make it FAIL."""
        metrics = 1 + len(self.task.further_metrics) if metric == ALL_METRICS else 1
        has_anchor = verdict.kind == gate.NO_REGRESSION.key and self._anchor_by(metric) is not None
        return metrics * (2 if has_anchor else 1)

    @must_be_called
    def decide_at_once(self) -> None:
        """Let asserts fail on the FAILs from now on, whatever the session decides in the end."""
        self._holds_fails = False

    @must_be_called
    def costs_no_more(
        self,
        *,
        ratio: float = 1.2,
        than: Literal["baseline", "reference"] = "baseline",
        unit: Literal["tokens", "usd"] | None = None,
        alpha: float = 0.05,
    ) -> Verdict:
        """Judge whether an answer of the compiled program costs little more than before.

        The cost is that of the program's own calls for the held-out examples,
        without the calls of the metric. An example is left out if its cost is
        unknown, because a cache answered without a usage or the provider does
        not report one.

        Args:
            ratio: How many times as much is allowed.
            than: What it is compared with: the baseline, or the reference.
            unit: What is counted; None takes US dollars where all are known,
                and tokens where not.
            alpha: Accepted chance of a PASS for a program that costs more, and
                of a FAIL for one that does not.

        Returns:
            A verdict that is truthy only on PASS. Without a reference to
            compare with it is FAIL.

        Raises:
            ReferenceFileError: The reference cannot be compared with.
        """
        __tracebackhide__ = True
        gate.check_comparator(than)
        if than == "reference" and self.reference is None:
            gate.check_costs_no_more(ratio, unit, alpha)
            verdict = gate.no_reference(self._state.location.command, gate.COSTS_NO_MORE)
        else:
            comparator, unchanged = self._cost_comparator(than), self._is_same_as(than)
            verdict = self._judged(
                partial(
                    gate.costs_no_more,
                    comparator,
                    self.compiled.card,
                    ratio=ratio,
                    unit=unit,
                    unchanged=unchanged,
                ),
                alpha,
            )
        if than == "reference":
            verdict = self._state.explained(verdict)
        return self._recorded(verdict, "", alpha)

    def _regression(
        self, reference: ReferenceProgram, name: str, *, tolerance: float, alpha: float
    ) -> Verdict:
        """Return the verdict against the reference and the anchor, each FAIL with half of alpha.

        There is an anchor for the optimized metric alone.
        """
        __tracebackhide__ = True
        gate.check_no_regression(tolerance, alpha)
        basis, card = self._basis(reference, name), _card(self.compiled, name)
        state, anchor = self._anchor_by(name), None
        if state is not None:
            anchor = gate.judge_against_anchor(
                state.scores_for(card.examples), card, tolerance=tolerance, alpha=alpha / 2
            )
        tolerated = self._tolerant and not (anchor is not None and anchor.is_low)
        unchanged = self._is_accepted(reference)
        verdict = self._judged(
            partial(
                gate.no_regression,
                basis,
                card,
                tolerance=tolerance,
                tolerated=tolerated,
                unchanged=unchanged,
            ),
            alpha,
            failing=alpha if anchor is None else alpha / 2,
        )
        return verdict if anchor is None else anchor.applied_to(verdict)

    def _anchor_by(self, metric: str) -> AnchorState | None:
        return None if metric in self.task.further_metrics else self._state.anchor

    def _judged(
        self, judge: Callable[..., Verdict], alpha: float, failing: float | None = None
    ) -> Verdict:
        """Return a verdict whose PASS has the level of this look, with the look in its sentence."""
        __tracebackhide__ = True
        passing = gate.spent_alpha(alpha, self._look.number) if self.task.alpha_spending else alpha
        levels = gate.Levels(alpha, passing, alpha if failing is None else failing)
        return gate.with_look(gate.judge_at(levels, judge), self._look, levels)

    def _cost_comparator(self, than: Literal["baseline", "reference"]) -> gate.CostComparator:
        __tracebackhide__ = True
        if than == "baseline" or self.reference is None:
            return gate.CostComparator("baseline", self.baseline.card, gate.RESCORE, _FEWER_DEMOS)
        basis = self._basis(self.reference, self.task.metric_name)
        return gate.CostComparator(
            "reference",
            basis.scorecard,
            f"accept anew with: {basis.command} --mipro-rescore",
            f"undo what changed, or accept it with: {basis.command}",
            basis.note,
        )

    def _basis(self, reference: ReferenceProgram, metric: str) -> gate.AcceptedScores:
        __tracebackhide__ = True
        is_further = metric in self.task.further_metrics
        location = self._state.location
        card = reference.further_card(metric) if is_further else reference.card
        examples = self.compiled.card.examples
        if set(examples).isdisjoint(card.examples):
            message = (
                f"none of the {len(examples)} held-out examples is in the reference "
                f"{location.show(location.scores)}, so nothing can be compared; "
                f"accept anew with: {location.command}"
            )
            raise ReferenceFileError(message)
        return gate.AcceptedScores(card, location.command, self._note(reference, metric))

    def _note(self, reference: ReferenceProgram, metric: str) -> str:
        """Return where the accepted scores come from, if not from an earlier acceptance."""
        if metric in reference.rescored:
            return "the metric changed since the reference was accepted, so it was scored again"
        return "" if self._state.acceptance is None else "the reference was accepted now"

    @property
    def _is_unchanged(self) -> bool:
        """Whether the compiled program has the prompts of the baseline."""
        return prompts_key(self.baseline.program) == prompts_key(self.compiled.program)

    def _is_same_as(self, than: Literal["baseline", "reference"]) -> bool:
        """Whether the compiled program and its model are those that it is compared with."""
        if than == "baseline" or self.reference is None:
            return self._is_unchanged
        return self._is_accepted(self.reference)

    def _is_accepted(self, reference: ReferenceProgram) -> bool:
        """Whether nothing of the task, its model and its program changed since the acceptance."""
        if self._state.stale:
            return False
        return prompts_key(reference.program) == prompts_key(self.compiled.program)

    def __repr__(self) -> str:
        """Return a text short enough for a failing assert."""
        return f"<Outcome of {self.task.name}>"

    def __bool__(self) -> bool:
        """Raise DeclarationError: an outcome has verdicts, and is none."""
        __tracebackhide__ = True
        raise no_truth_value(
            "the outcome of a task", "assert a verdict, as in `mipro.beats_baseline()`"
        )

    @must_be_called
    @contextmanager
    def counted_calls(self) -> Generator[None]:
        """Run the block, the body of a test, in which calling a program asks the task's model."""
        with counted_calls(self.task, self._account):
            yield

    @must_be_called
    def report(self) -> Report:
        """Return the outcome with the verdicts so far, as a record."""
        result, state = self._result, self._state
        accepted = None if self.reference is None else self.reference.comparable_card
        return Report(
            task=self.task.name,
            test=self.task.test,
            key=result.artifact.key,
            origin=result.origin,
            reasons=result.reasons,
            baseline=self.baseline.card,
            compiled=self.compiled.card,
            comparison=self.comparison,
            prompts_before=prompts(self.baseline.program),
            prompts_after=prompts(self.compiled.program),
            usage=result.usage + state.usage + self._account.usage,
            seconds=result.seconds,
            store=self._store_name,
            verdicts=tuple(
                verdict.plain() if isinstance(verdict, HeldFail) else verdict
                for verdict in self._verdicts
            ),
            acceptance=state.acceptance,
            stale=state.stale,
            cut=result.artifact.cut,
            model=self.task.lm.model,
            shared=result.shared,
            resumed=result.resumed,
            held_out=held_out_examples(
                self.task.dataset.test, self.baseline.answers, self.compiled.answers, accepted
            ),
            search=result.artifact.search,
            accepted=accepted,
            prompts_accepted=self._prompts_accepted(),
            metric=self.task.metric_name,
            further=tuple(map(self._metric_scores, self.task.further_metrics)),
            optimizer=result.artifact.optimizer,
            compile_usage=result.artifact.usage,
            compile_seconds=result.artifact.seconds,
        )

    def _metric_scores(self, metric: str) -> MetricScores:
        accepted = None if self.reference is None else self.reference.further.get(metric)
        baseline, compiled = _card(self.baseline, metric), _card(self.compiled, metric)
        return MetricScores(metric, baseline, compiled, _compared(baseline, compiled), accepted)

    def _prompts_accepted(self) -> tuple[Prompt, ...]:
        if self.reference is None or self._state.acceptance is not None:
            return ()
        try:
            return prompts(self.reference.program)
        except ReferenceFileError:
            return ()  # The program has other predictors; the report's ``stale`` has the changes.


def _card(program: ScoredProgram, metric: str) -> Scorecard:
    return program.further.get(metric, program.card)


def _compared(baseline: Scorecard, compiled: Scorecard) -> PairedComparison:
    comparison = gate.compare(baseline.scores, compiled.scores, clusters=compiled.clusters)
    return replace(comparison, rollouts=compiled.rollouts)
