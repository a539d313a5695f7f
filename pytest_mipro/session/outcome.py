"""The outcome of a task: what the ``mipro`` fixture gives a test to judge."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from pytest_mipro import gate
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import prompts_key
from pytest_mipro.session.deferred_fail import DeferredFail
from pytest_mipro.session.interim import (
    AnchorQuestion,
    Question,
    decided,
    decided_with_anchor,
)
from pytest_mipro.session.program_calls import counted_calls
from pytest_mipro.session.results import check_metric_name
from pytest_mipro.session.task_report import compared, task_report
from pytest_mipro.session.truth import must_be_called, no_truth_value
from pytest_mipro.spending import Account
from pytest_mipro.task import ALL_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_mipro.gate import InterimAnalysis
    from pytest_mipro.records import PairedComparison, Report, Verdict
    from pytest_mipro.session.interim import InterimResults
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
        reference: The accepted program and its scores; None without a reference.
    """

    def __init__(  # ruff: ignore[too-many-arguments] - the parts of an outcome
        self,
        task: Task,
        results: InterimResults,
        state: ReferenceState,
        look: Callable[[], gate.LookCount],
        *,
        store_name: str,
        tolerant: bool,
        defers_fails: bool = False,
        warn: Callable[[str], None],
        account: Account | None = None,
    ) -> None:
        """Wrap the result of a session.

        Args:
            task: What the test declared.
            results: Both programs with their scores, at each analysis of a sequential task.
            state: The reference of the test.
            look: Returns how often the held-out examples were looked at, up to the scores so far.
            store_name: The name of the store in reports; empty if none was needed.
            tolerant: Whether an inconclusive ``no_regression`` passes.
            defers_fails: Whether asserts hold on a FAIL until the end of the session.
            warn: Warns about the running test.
            account: What the calls of the test are charged to; None for one of its own.
        """
        self.task = task
        self.reference = state.reference
        self._results = results
        self._is_running = False
        self._state = state
        self._look = look
        self._store_name = store_name
        self._tolerant = tolerant
        self._defers_fails = defers_fails
        self._warn = warn
        self._account = account or Account()
        self._verdicts: list[Verdict] = []

    @property
    def baseline(self) -> ScoredProgram:
        """The program before compiling, scored on the held-out split.

        Of a sequential task it has the scores so far, or all of them if a test reads them before
        it asks for a verdict: nothing but a verdict says when they are enough.
        """
        __tracebackhide__ = True
        return self._read().baseline

    @property
    def compiled(self) -> ScoredProgram:
        """The program after compiling, scored on the same examples."""
        __tracebackhide__ = True
        return self._read().compiled

    @property
    def comparison(self) -> PairedComparison:
        """The comparison of compiled and baseline without a margin."""
        __tracebackhide__ = True
        result = self._read()
        return compared(self._results, result.baseline.card, result.compiled.card)

    def _read(self) -> TaskResult:
        __tracebackhide__ = True
        if self._is_running and not self._verdicts:
            return self._results.complete()
        return self._results.latest

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

        def judge(result: TaskResult, *, alpha: float, analysis: InterimAnalysis | None) -> Verdict:
            __tracebackhide__ = True
            return gate.beats_baseline(
                result.baseline.by_metric(name),
                result.compiled.by_metric(name),
                margin=margin,
                alpha=alpha,
                unchanged=self._is_unchanged,
                analysis=analysis,
            )

        question = Question(judge, partial(self._levels, alpha))
        verdict = self._with_look(decided(self._results, question), question.levels())
        return self._recorded(verdict, name, alpha, needs_test=not self._is_unchanged)

    @must_be_called
    def no_regression(
        self, *, tolerance: float = 0.0, alpha: float = 0.05, metric: str | None = None
    ) -> Verdict:
        """Judge whether the compiled program is as good as the accepted reference.

        It is also compared with the anchor, if that is another accepted program.

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
        # The word first: to ask a deferred FAIL for its truth is to assert on it.
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
        if self._defers_fails and verdict.word == "FAIL" and p_fail is not None:
            verdict = DeferredFail.of(verdict)
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
        self._defers_fails = False

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
            # Costs have no sequential design.
            compiled = self._results.complete().compiled.card
            levels = self._levels(alpha)
            judge = partial(
                gate.costs_no_more,
                self._cost_comparator(than),
                compiled,
                ratio=ratio,
                unit=unit,
                unchanged=self._is_same_as(than),
            )
            verdict = self._with_look(gate.judge_at(levels, judge), levels)
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
        basis, state = self._basis(reference, name), self._anchor_by(name)
        levels = partial(self._levels, alpha, alpha if state is None else alpha / 2)

        def judge(
            result: TaskResult,
            *,
            alpha: float,
            analysis: InterimAnalysis | None,
            tolerated: bool = self._tolerant,
        ) -> Verdict:
            __tracebackhide__ = True
            return gate.no_regression(
                basis,
                result.compiled.by_metric(name),
                tolerance=tolerance,
                alpha=alpha,
                tolerated=tolerated,
                unchanged=self._is_accepted(reference),
                analysis=analysis,
            )

        awaited: Literal["PASS", "FAIL"] = "FAIL" if self._tolerant else "PASS"
        question = Question(judge, levels, awaited, frozenset(basis.scorecard.examples))
        if state is None:
            verdict = decided(self._results, question)
        else:
            anchor = AnchorQuestion(state, tolerance, alpha / 2, self._is_accepted(reference))
            verdict = decided_with_anchor(self._results, question, anchor)
        return self._with_look(verdict, levels())

    def _anchor_by(self, metric: str) -> AnchorState | None:
        return None if metric in self.task.further_metrics else self._state.anchor

    def _levels(self, alpha: float, failing: float | None = None) -> gate.Levels:
        """Return the levels of a verdict, of which that of PASS is the one of this look."""
        passing = alpha
        if self.task.alpha_spending:
            passing = gate.spent_alpha(alpha, self._look().number)
        return gate.Levels(alpha, passing, alpha if failing is None else failing)

    def _with_look(self, verdict: Verdict, levels: gate.Levels) -> Verdict:
        return gate.with_look(verdict, self._look(), levels)

    def _cost_comparator(self, than: Literal["baseline", "reference"]) -> gate.CostComparator:
        __tracebackhide__ = True
        if than == "baseline" or self.reference is None:
            baseline = self._results.latest.baseline
            return gate.CostComparator("baseline", baseline.card, gate.RESCORE, _FEWER_DEMOS)
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
        examples = self._results.batches.names
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
        if metric in reference.rescored_metrics:
            return "the metric changed since the reference was accepted, so it was scored again"
        return "" if self._state.acceptance is None else "the reference was accepted now"

    @property
    def _is_unchanged(self) -> bool:
        """Whether the compiled program has the prompts of the baseline."""
        result = self._results.latest
        return prompts_key(result.baseline.program) == prompts_key(result.compiled.program)

    def _is_same_as(self, than: Literal["baseline", "reference"]) -> bool:
        """Whether the compiled program and its model are those that it is compared with."""
        if than == "baseline" or self.reference is None:
            return self._is_unchanged
        return self._is_accepted(self.reference)

    def _is_accepted(self, reference: ReferenceProgram) -> bool:
        """Whether nothing of the task, its model and its program changed since the acceptance."""
        if self._state.stale:
            return False
        compiled = self._results.latest.compiled
        return prompts_key(reference.program) == prompts_key(compiled.program)

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
        self._is_running = True
        try:
            with counted_calls(self.task, self._account):
                yield
        finally:
            # What asks for the scores later, such as a hook, gets those that there are.
            self._is_running = False

    @must_be_called
    def report(self) -> Report:
        """Return the outcome with the verdicts so far, as a record."""
        verdicts = (
            verdict.plain() if isinstance(verdict, DeferredFail) else verdict
            for verdict in self._verdicts
        )
        return task_report(
            self.task,
            self._results,
            self._state,
            verdicts=tuple(verdicts),
            test_usage=self._account.usage,
            store=self._store_name,
        )
