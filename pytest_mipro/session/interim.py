"""The results of a task at the analyses of its sequential design, and the verdicts about them.

A verdict starts at the first analysis, whatever rows there are, and asks the next batch until its
own word is clear. So it depends on scores and arguments alone: not on the order of asserts, on
other tests, on workers, or on what the store has. P-values and intervals hold at all analyses
at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_mipro import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import dspy

    from pytest_mipro.records import Verdict
    from pytest_mipro.session.batches import Batches
    from pytest_mipro.session.results import AnchorState, TaskResult


class InterimResults:
    """The result of a task, which has more held-out examples after each batch.

    Attributes:
        batches: The held-out examples, and when they are asked.
        number: The analysis up to which they are.
    """

    def __init__(
        self,
        batches: Batches,
        number: int,
        result: TaskResult,
        ask: Callable[[int], TaskResult],
    ) -> None:
        """Wrap the first result.

        Args:
            batches: The held-out examples, and when they are asked.
            number: The analysis that ``result`` is of.
            result: Both programs with their scores so far.
            ask: Returns the result of a later analysis, with the usage of asking for it.
        """
        self.batches = batches
        self.number = number
        self._result = result
        self._ask = ask

    @property
    def is_complete(self) -> bool:
        """Whether all held-out examples are asked."""
        return self.number == len(self.batches.sizes)

    @property
    def latest(self) -> TaskResult:
        """The result with all rows so far."""
        return self._restricted(self.number)

    @property
    def examples(self) -> tuple[dspy.Example, ...]:
        """The examples of the latest result, in the order of the split."""
        return self.batches.examples_at(self.number)

    def analysis(self, alpha: float) -> gate.InterimAnalysis | None:
        """Return the latest analysis of the design of that level; None without a design."""
        return self.batches.analysis(self.number, alpha)

    def at(self, number: int) -> TaskResult:
        """Return the result of an analysis; ask for rows that there are not yet.

        Raises:
            MiproError: A row cannot be evaluated.
        """
        __tracebackhide__ = True
        if number > self.number:
            earlier, later = self._result, self._ask(number)
            self._result = replace(
                earlier,
                baseline=later.baseline,
                compiled=later.compiled,
                usage=earlier.usage + later.usage,
                seconds=earlier.seconds + later.seconds,
            )
            self.number = number
        return self._restricted(number)

    def complete(self) -> TaskResult:
        """Return the result with all held-out examples.

        Raises:
            MiproError: As ``at``.
        """
        __tracebackhide__ = True
        return self.at(len(self.batches.sizes))

    def _restricted(self, number: int) -> TaskResult:
        result, names = self._result, set(self.batches.names_at(number))
        total = len(self.batches.examples)
        if len(names) == total:
            return result
        return replace(
            result,
            baseline=result.baseline.restricted_to(names, total),
            compiled=result.compiled.restricted_to(names, total),
        )


@dataclass(frozen=True)
class Question:
    """A question about a task that is asked at each analysis.

    Attributes:
        judge: Returns the verdict about a result, at a level ``alpha`` and at an ``analysis``.
        levels: Returns the levels of PASS and FAIL for the scores so far.
        awaited: The word that decides about an assert.
        accepted: The examples that can be compared; None for all.
    """

    judge: Callable[..., Verdict]
    levels: Callable[[], gate.Levels]
    awaited: Literal["PASS", "FAIL"] = "PASS"
    accepted: Collection[str] | None = None


class Judgement(NamedTuple):
    """A verdict at an analysis, and whether more examples would hardly change it."""

    verdict: Verdict
    is_final: bool


def judge_at_analysis(results: InterimResults, number: int, question: Question) -> Judgement | None:
    """Return the judgement at an analysis; None if nothing can be compared yet.

    Raises:
        MiproError: As ``InterimResults.at``.
    """
    __tracebackhide__ = True
    batches, accepted = results.batches, question.accepted
    if not batches.compared(number, accepted):
        return None
    result = results.at(number)
    levels = question.levels()

    def judge(*, alpha: float) -> Verdict:
        return question.judge(
            result, alpha=alpha, analysis=batches.analysis(number, alpha, accepted)
        )

    verdict = gate.judge_at(levels, judge)
    level = levels.passing if question.awaited == "PASS" else levels.failing
    analysis = batches.analysis(number, level, accepted)
    if analysis is None or analysis.is_last or verdict.word != "INCONCLUSIVE":
        return Judgement(verdict, is_final=True)
    comparison = judge(alpha=level).comparison
    is_futile = comparison is not None and analysis.is_futile(comparison, question.awaited)
    return Judgement(verdict, is_futile)


def decided(results: InterimResults, question: Question) -> Verdict:
    """Return the verdict of the first analysis at which it is clear.

    Raises:
        MiproError: As ``InterimResults.at``.
    """
    __tracebackhide__ = True
    verdict = None
    for number in range(1, len(results.batches.sizes) + 1):
        judgement = judge_at_analysis(results, number, question)
        if judgement is not None:
            verdict = judgement.verdict
            if judgement.is_final:
                break
    assert verdict is not None
    return verdict


@dataclass(frozen=True)
class AnchorQuestion:
    """The question whether a program lost more than is tolerated since the anchor.

    Attributes:
        state: The anchor.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong FAIL.
        is_accepted: Whether the program is the reference.
    """

    state: AnchorState
    tolerance: float
    alpha: float
    is_accepted: bool

    def judge_at(self, results: InterimResults, number: int) -> gate.AnchorJudgement | None:
        """Return the judgement at an analysis; None if nothing can be compared yet.

        Raises:
            ReferenceFileError: There are no scores to compare with.
            MiproError: As ``InterimResults.at``.
        """
        __tracebackhide__ = True
        batches, accepted = results.batches, self.state.anchor.scores.keys()
        scores = self.state.scores_for(batches.names, is_accepted=self.is_accepted)
        if not batches.compared(number, accepted):
            return None
        return gate.judge_against_anchor(
            scores,
            results.at(number).compiled.card,
            tolerance=self.tolerance,
            alpha=self.alpha,
            analysis=batches.analysis(number, self.alpha, accepted),
        )


def decided_with_anchor(
    results: InterimResults, question: Question, anchor: AnchorQuestion
) -> Verdict:
    """Return the verdict of the first analysis at which it is clear, as the anchor leaves it.

    Losses that are only measured add up with all examples alone. So only a FAIL stops earlier, or
    a loss since the anchor that is shown to be tolerable.

    Raises:
        ReferenceFileError: There are no scores of the anchor to compare with.
        MiproError: As ``InterimResults.at``.
    """
    __tracebackhide__ = True
    verdict = None
    for number in range(1, len(results.batches.sizes) + 1):
        against_anchor = anchor.judge_at(results, number)
        judge = question.judge
        if against_anchor is not None and against_anchor.is_low:
            judge = partial(judge, tolerated=False)
        judgement = judge_at_analysis(results, number, replace(question, judge=judge))
        if judgement is None or against_anchor is None:
            continue
        verdict = against_anchor.applied_to(judgement.verdict)
        if verdict.word == "FAIL" or (judgement.is_final and against_anchor.is_kept):
            break
    assert verdict is not None
    return verdict
