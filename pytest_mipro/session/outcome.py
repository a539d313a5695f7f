"""The outcome of a task: what the ``mipro`` fixture gives a test to judge."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from pytest_mipro import gate
from pytest_mipro.canonical import plain
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import prompts, prompts_key
from pytest_mipro.records import HeldOutExample, PairedComparison, Prompt, Report, Verdict
from pytest_mipro.session.program_calls import counted_calls
from pytest_mipro.session.truth import must_be_called, no_truth_value
from pytest_mipro.spending import Account
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import dspy

    from pytest_mipro.records import Scorecard
    from pytest_mipro.session.results import ReferenceProgram, ReferenceState, TaskResult
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
        self._warn = warn
        self._account = account or Account()
        self._verdicts: list[Verdict] = []

    @cached_property
    def comparison(self) -> PairedComparison:
        """The comparison of compiled and baseline without a margin."""
        card = self.compiled.card
        comparison = gate.compare(self.baseline.scores, card.scores, clusters=card.clusters)
        return replace(comparison, rollouts=card.rollouts)

    @must_be_called
    def beats_baseline(self, *, margin: float = 0.0, alpha: float = 0.05) -> Verdict:
        """Judge whether the compiled program is better on held-out examples.

        Args:
            margin: How much better it has to be, as a difference of mean scores.
            alpha: Accepted chance of a PASS for a program that is not, and of a
                FAIL for one that is.

        Returns:
            A verdict that is truthy only on PASS.
        """
        __tracebackhide__ = True
        verdict = self._judged(
            partial(
                gate.beats_baseline,
                self.baseline.card,
                self.compiled.card,
                margin=margin,
                unchanged=self._is_unchanged,
            ),
            alpha,
        )
        self._verdicts.append(verdict)
        return verdict

    @must_be_called
    def no_regression(self, *, tolerance: float = 0.0, alpha: float = 0.05) -> Verdict:
        """Judge whether the compiled program is as good as the accepted reference.

        It is also held against the anchor, if that is another accepted program.

        Args:
            tolerance: Loss of mean score that is accepted.
            alpha: Accepted chance of a PASS for a program that lost more, and
                of a FAIL for one that did not.

        Returns:
            A verdict that is truthy on PASS, and on INCONCLUSIVE unless
            ``mipro_inconclusive = fail``. Without a reference it is FAIL.

        Raises:
            ReferenceFileError: The reference has no scores to compare with.
        """
        __tracebackhide__ = True
        if self.reference is None:
            gate.check_no_regression(tolerance, alpha)
            verdict = gate.no_reference(self._state.location.command)
        else:
            verdict = self._regression(self.reference, tolerance, alpha)
        self._verdicts.append(verdict)
        if verdict and verdict.word == "INCONCLUSIVE":
            question = gate.NO_REGRESSION.label
            self._warn(f"{self.task.name}: {question}: {verdict!r}")
        return verdict

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
        self._verdicts.append(verdict)
        return verdict

    def _regression(self, reference: ReferenceProgram, tolerance: float, alpha: float) -> Verdict:
        """Return the verdict against the reference and the anchor, each FAIL with half of alpha."""
        __tracebackhide__ = True
        gate.check_no_regression(tolerance, alpha)
        card, state = self.compiled.card, self._state.anchor
        anchor = None
        if state is not None:
            anchor = gate.judge_against_anchor(
                state.scores_for(card.examples), card, tolerance=tolerance, alpha=alpha / 2
            )
        tolerated = self._tolerant and not (anchor is not None and anchor.is_low)
        basis, unchanged = self._basis(reference), self._is_accepted(reference)
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
        basis = self._basis(self.reference)
        return gate.CostComparator(
            "reference",
            basis.scorecard,
            f"accept anew with: {basis.command} --mipro-rescore",
            f"undo what changed, or accept it with: {basis.command}",
            basis.note,
        )

    def _basis(self, reference: ReferenceProgram) -> gate.AcceptedScores:
        __tracebackhide__ = True
        location, card = self._state.location, reference.card
        examples = self.compiled.card.examples
        if set(examples).isdisjoint(card.examples):
            message = (
                f"none of the {len(examples)} held-out examples is in the reference "
                f"{location.show(location.scores)}, so nothing can be compared; "
                f"accept anew with: {location.command}"
            )
            raise ReferenceFileError(message)
        return gate.AcceptedScores(card, location.command, self._note(reference))

    def _note(self, reference: ReferenceProgram) -> str:
        """Return where the accepted scores come from, if not from an earlier acceptance."""
        if reference.rescored:
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
            verdicts=tuple(self._verdicts),
            acceptance=state.acceptance,
            stale=state.stale,
            cut=result.artifact.cut,
            model=self.task.lm.model,
            shared=result.shared,
            resumed=result.resumed,
            held_out=self._held_out(accepted),
            search=result.artifact.search,
            accepted=accepted,
            prompts_accepted=self._prompts_accepted(),
            optimizer=result.artifact.optimizer,
            compile_usage=result.artifact.usage,
            compile_seconds=result.artifact.seconds,
        )

    def _held_out(self, accepted: Scorecard | None) -> tuple[HeldOutExample, ...]:
        names, scores = ((), ()) if accepted is None else (accepted.examples, accepted.scores)
        accepted_scores = dict(zip(names, scores, strict=True))
        test = self.task.dataset.test
        results = zip(test, self.baseline.answers, self.compiled.answers, strict=True)
        return tuple(
            HeldOutExample(
                identity=(name := example_digest(example)),
                inputs=_fields(example.inputs()),
                expected=_fields(example.labels()),
                baseline=baseline,
                compiled=compiled,
                accepted=accepted_scores.get(name),
            )
            for example, baseline, compiled in results
        )

    def _prompts_accepted(self) -> tuple[Prompt, ...]:
        if self.reference is None or self._state.acceptance is not None:
            return ()
        try:
            return prompts(self.reference.program)
        except ReferenceFileError:
            return ()  # The program has other predictors; the report's ``stale`` has the changes.


def _fields(example: dspy.Example) -> dict[str, Any]:
    return {str(name): plain(value, fallback=str) for name, value in example.items()}
