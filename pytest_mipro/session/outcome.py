"""What a test gets: both programs with their held-out scores, the reference, the verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pytest_mipro import fingerprint, gate
from pytest_mipro.canonical import plain
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import (
    Acceptance,
    Artifact,
    ExampleResult,
    HeldOutExample,
    PairedComparison,
    Prompt,
    Report,
    Scorecard,
    Usage,
    Verdict,
)
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from collections.abc import Callable

    import dspy

    from pytest_mipro.reference import ReferenceLocation
    from pytest_mipro.task import Task


class Host(Protocol):
    """What an outcome asks of the session it is from."""

    @property
    def store_name(self) -> str:
        """Where the store is, without credentials; empty if none was needed."""

    @property
    def tolerant(self) -> bool:
        """Whether an assert holds where the examples do not decide about a regression."""

    def warn(self, text: str) -> None:
        """Warn the user about the test that is running."""


@dataclass(frozen=True)
class ScoredProgram:
    """
    A program and its held-out scores.

    Attributes:
        program: The program; calling it asks the model again.
        card: Its scorecard.
        answers: What it made of each test example, in the order of the split.

    """

    program: dspy.Module
    card: Scorecard
    answers: tuple[ExampleResult, ...]

    def __repr__(self) -> str:
        """Return what a failing assert has room for."""
        return f"<Scored: score {self.score:.3f} on {len(self.scores)} held-out examples>"

    @property
    def score(self) -> float:
        """The mean held-out score."""
        return self.card.score

    @property
    def scores(self) -> tuple[float, ...]:
        """One held-out score per test example, in the order of the split."""
        return self.card.scores

    @property
    def usage(self) -> Usage:
        """What it took to answer the held-out examples, when they were answered."""
        return self.card.usage


class ReferenceProgram:
    """
    The reference: the accepted program and its held-out scores.

    They are those it was accepted with, or, if the metric has changed since,
    those the present metric gives it. The examples of the present split come
    first, in their order.
    """

    def __init__(
        self, card: Scorecard | None, load: Callable[[], dspy.Module], *, rescored: bool = False
    ) -> None:
        """
        Wrap what was read.

        Args:
            card: Its scores; None if they are of another metric and ``load``
                raises.
            load: Returns the accepted program.
            rescored: Whether the scores are not those it was accepted with.

        """
        self.rescored = rescored
        self._card = card
        self._load = load
        self._program: dspy.Module | None = None

    @property
    def program(self) -> dspy.Module:
        """
        The accepted program, with the present code and models; calling it asks the model.

        Raises:
            ReferenceFileError: It does not fit the code any more.

        """
        __tracebackhide__ = True
        if self._program is None:
            self._program = self._load()
        return self._program

    @property
    def known(self) -> Scorecard | None:
        """The scorecard, if there are scores to compare with."""
        return self._card

    @property
    def card(self) -> Scorecard:
        """
        The scorecard.

        Raises:
            ReferenceFileError: The scores are of another metric, and the
                program does not fit the code any more.

        """
        __tracebackhide__ = True
        if self._card is None:
            raise AssertionError(self.program)
        return self._card

    @property
    def score(self) -> float:
        """The mean held-out score."""
        return self.card.score

    @property
    def scores(self) -> tuple[float, ...]:
        """One held-out score per example; see the class for their order."""
        return self.card.scores

    @property
    def usage(self) -> Usage:
        """What it took to answer the held-out examples, when they were answered."""
        return self.card.usage


@dataclass(frozen=True)
class TaskResult:
    """
    What is known of a task once both programs are scored; shared by all its tests.

    Attributes:
        artifact: The compiled program's state.
        reasons: Why it was compiled now; empty if it was not.
        baseline: The program before.
        compiled: The program after.
        usage: What this run took.
        seconds: How long it took.
        accepted: Whether the compiled program is the accepted one.
        resumed: How many stored results of earlier runs a compile went on from.
        shared: The test for which the work was done, if that was another one.

    """

    artifact: Artifact
    reasons: tuple[str, ...]
    baseline: ScoredProgram
    compiled: ScoredProgram
    usage: Usage
    seconds: float
    accepted: bool = False
    resumed: int = 0
    shared: str = ""

    @property
    def origin(self) -> Literal["compiled", "stored", "accepted", "shared"]:
        """Where the compiled program is from."""
        if self.shared:
            return "shared"
        if self.accepted:
            return "accepted"
        return "compiled" if self.reasons else "stored"


@dataclass(frozen=True)
class ReferenceState:
    """
    How a test stands to its reference.

    Attributes:
        place: Where it is.
        reference: What was accepted, if anything was.
        acceptance: What this run accepted, if it did.
        stale: What has changed since, in words; empty where nothing has.
        usage: What it took to find out.

    """

    place: ReferenceLocation
    reference: ReferenceProgram | None = None
    acceptance: Acceptance | None = None
    stale: str = ""
    usage: Usage = field(default_factory=Usage)


class Outcome:
    """
    What the ``mipro`` fixture gives a test: both programs, their scores, the verdicts.

    Attributes:
        task: What the test declared.
        baseline: The program before, scored on the held-out split.
        compiled: The program after, scored on the same examples.
        reference: The accepted program and its scores; None without a reference.

    """

    def __init__(
        self, task: Task, judged: TaskResult, standing: ReferenceState, session: Host
    ) -> None:
        """Wrap what the session found out."""
        self.task = task
        self.baseline = judged.baseline
        self.compiled = judged.compiled
        self.reference = standing.reference
        self._judged = judged
        self._standing = standing
        self._session = session
        self._verdicts: list[Verdict] = []

    @cached_property
    def comparison(self) -> PairedComparison:
        """Compiled against baseline, without a margin."""
        card = self.compiled.card
        compared = gate.compare(self.baseline.scores, card.scores, clusters=card.clusters)
        return replace(compared, rollouts=card.rollouts)

    def beats_baseline(self, *, margin: float = 0.0, alpha: float = 0.05) -> Verdict:
        """
        Judge whether the compiled program is better on held-out examples.

        Args:
            margin: How much better it has to be, as a difference of mean scores.
            alpha: Accepted chance of a PASS for a program that is not.

        Returns:
            A verdict that is truthy only on PASS.

        """
        __tracebackhide__ = True
        judged = gate.beats_baseline(
            self.baseline.card,
            self.compiled.card,
            margin=margin,
            alpha=alpha,
            unchanged=self._unchanged,
        )
        self._verdicts.append(judged)
        return judged

    def no_regression(self, *, tolerance: float = 0.0, alpha: float = 0.05) -> Verdict:
        """
        Judge whether the compiled program is as good as the accepted reference.

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
        tolerant = self._session.tolerant
        if self.reference is None:
            gate.check_no_regression(tolerance, alpha)
            judged = gate.no_reference(self._standing.place.command)
        else:
            judged = gate.no_regression(
                self._basis(self.reference),
                self.compiled.card,
                tolerance=tolerance,
                alpha=alpha,
                tolerated=tolerant,
            )
        self._verdicts.append(judged)
        if judged and judged.word == "INCONCLUSIVE":
            self._session.warn(f"{self.task.name}: {gate.NO_REGRESSION.label}: {judged!r}")
        return judged

    def costs_no_more(
        self,
        *,
        ratio: float = 1.2,
        than: Literal["baseline", "reference"] = "baseline",
        unit: Literal["tokens", "usd"] | None = None,
        alpha: float = 0.05,
    ) -> Verdict:
        """
        Judge whether an answer of the compiled program costs little more than before.

        What counts is what the program's own calls take for the held-out
        examples, without those of the metric. Where that is not known, as an
        answer came from a cache that does not say or the provider does not
        count, an example is left out.

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
            judged = gate.no_reference(self._standing.place.command, gate.COSTS_NO_MORE)
        else:
            judged = gate.costs_no_more(
                self._other(than), self.compiled.card, ratio=ratio, unit=unit, alpha=alpha
            )
        self._verdicts.append(judged)
        return judged

    def _other(self, than: Literal["baseline", "reference"]) -> gate.CostComparator:
        __tracebackhide__ = True
        if than == "baseline" or self.reference is None:
            mend = (
                "ask for fewer demos (max_bootstrapped_demos, max_labeled_demos), or allow a "
                "larger ratio"
            )
            return gate.CostComparator("baseline", self.baseline.card, gate.RESCORE, mend)
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
        place, card = self._standing.place, reference.card
        present = self.compiled.card.examples
        if set(present).isdisjoint(card.examples):
            message = (
                f"none of the {len(present)} held-out examples is in the reference "
                f"{place.show(place.scores)}, so nothing can be compared; "
                f"accept anew with: {place.command}"
            )
            raise ReferenceFileError(message)
        note = ""
        if reference.rescored:
            note = "the metric changed since the reference was accepted, so it was scored again"
        elif self._standing.acceptance is not None:
            note = "the reference was accepted now"
        return gate.AcceptedScores(card, place.command, note)

    @property
    def _unchanged(self) -> bool:
        before, after = self.baseline.program, self.compiled.program
        return fingerprint.of_prompts(before) == fingerprint.of_prompts(after)

    def __repr__(self) -> str:
        """Return what a failing assert has room for."""
        return f"<Outcome of {self.task.name}>"

    def report(self) -> Report:
        """Return everything there is to say, as a record."""
        judged = self._judged
        accepted = None if self.reference is None else self.reference.known
        return Report(
            task=self.task.name,
            test=self.task.test,
            key=judged.artifact.key,
            origin=judged.origin,
            reasons=judged.reasons,
            baseline=self.baseline.card,
            compiled=self.compiled.card,
            comparison=self.comparison,
            prompts_before=fingerprint.prompts(self.baseline.program),
            prompts_after=fingerprint.prompts(self.compiled.program),
            usage=judged.usage + self._standing.usage,
            seconds=judged.seconds,
            store=self._session.store_name,
            verdicts=tuple(self._verdicts),
            acceptance=self._standing.acceptance,
            stale=self._standing.stale,
            cut=judged.artifact.cut,
            model=self.task.lm.model,
            shared=judged.shared,
            resumed=judged.resumed,
            held_out=self._held_out(accepted),
            search=judged.artifact.search,
            accepted=accepted,
            prompts_accepted=self._prompts_accepted(),
        )

    def _held_out(self, accepted: Scorecard | None) -> tuple[HeldOutExample, ...]:
        scores: dict[str, float] = {}
        if accepted is not None:
            scores = dict(zip(accepted.examples, accepted.scores, strict=True))
        test = self.task.dataset.test
        answers = zip(test, self.baseline.answers, self.compiled.answers, strict=True)
        return tuple(
            HeldOutExample(
                identity=(name := identity(example)),
                inputs=_data(example.inputs()),
                expected=_data(example.labels()),
                baseline=before,
                compiled=after,
                accepted=scores.get(name),
            )
            for example, before, after in answers
        )

    def _prompts_accepted(self) -> tuple[Prompt, ...]:
        if self.reference is None or self._standing.acceptance is not None:
            return ()
        try:
            return fingerprint.prompts(self.reference.program)
        except ReferenceFileError:
            return ()  # It has other predictors; ``stale`` says what changed.


def _data(example: dspy.Example) -> dict[str, Any]:
    return {str(name): plain(value, fallback=str) for name, value in example.items()}
