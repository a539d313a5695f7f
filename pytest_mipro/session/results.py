"""The result of a task, both programs with their scores, and the state of its reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_mipro import gate
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import Acceptance, Artifact, ExampleResult, Scorecard, Usage
from pytest_mipro.session.truth import no_truth_value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import dspy

    from pytest_mipro.reference import Anchor, ReferenceLocation


@dataclass(frozen=True)
class ScoredProgram:
    """A program and its held-out scores.

    Attributes:
        program: The program; calling it asks the model again.
        card: Its scorecard.
        answers: Its result on each test example, in the order of the split.
    """

    program: dspy.Module
    card: Scorecard
    answers: tuple[ExampleResult, ...]

    def __repr__(self) -> str:
        """Return a text short enough for a failing assert."""
        return f"<ScoredProgram: score {self.score:.3f} on {len(self.scores)} held-out examples>"

    def __bool__(self) -> bool:
        """Raise DeclarationError: a program has a score, and is none."""
        __tracebackhide__ = True
        raise no_truth_value(
            "a scored program", "assert its score, as in `mipro.compiled.score >= 0.8`"
        )

    @property
    def score(self) -> float:
        """The mean held-out score."""
        return self.card.score

    @property
    def scores(self) -> tuple[float, ...]:
        """The held-out score of each test example, in the order of the split."""
        return self.card.scores

    @property
    def usage(self) -> Usage:
        """The usage of the held-out answers when they were asked for."""
        return self.card.usage


class ReferenceProgram:
    """The accepted program and its held-out scores.

    If the metric changed since, the accepted program is scored again with the present metric.
    The examples of the present split come first, in their order.
    """

    def __init__(
        self, card: Scorecard | None, load: Callable[[], dspy.Module], *, rescored: bool = False
    ) -> None:
        """Wrap an accepted program that is not loaded yet.

        Args:
            card: Its scores; None if they are of another metric and ``load`` raises.
            load: Returns the accepted program.
            rescored: Whether the program was scored again after it was accepted.
        """
        self.rescored = rescored
        self._card = card
        self._load = load
        self._program: dspy.Module | None = None

    @property
    def program(self) -> dspy.Module:
        """The accepted program, with the present code and models; calling it asks the model.

        Raises:
            ReferenceFileError: It does not fit the code any more.
        """
        __tracebackhide__ = True
        if self._program is None:
            self._program = self._load()
        return self._program

    @property
    def comparable_card(self) -> Scorecard | None:
        """The scorecard, or None if there are no scores of the present metric."""
        return self._card

    @property
    def card(self) -> Scorecard:
        """The scorecard.

        Raises:
            ReferenceFileError: The scores are of another metric, and the program does not fit the
                code any more.
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
        """The held-out score of each example, in the order that the class describes."""
        return self.card.scores

    @property
    def usage(self) -> Usage:
        """The usage of the held-out answers when they were asked for."""
        return self.card.usage


@dataclass(frozen=True)
class TaskResult:
    """Both programs of a task with their scores; all tests of the task share it.

    Attributes:
        artifact: The compiled program's state.
        reasons: Why this run compiled the task; empty if it did not.
        baseline: The program before compiling.
        compiled: The program after compiling.
        usage: The usage of this run.
        seconds: The time that it took.
        accepted: Whether the compiled program is that of the reference.
        resumed: How many stored results of earlier runs the compile started from.
        shared: The test for which the work was done, if that is another test.
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
        """Where the compiled program comes from."""
        if self.shared:
            return "shared"
        if self.accepted:
            return "accepted"
        return "compiled" if self.reasons else "stored"


@dataclass(frozen=True)
class AnchorState:
    """The anchor that the verdicts of a test are held against.

    Attributes:
        anchor: The anchor, with scores of the present metric unless there is an ``error``.
        acceptances: How many programs were accepted so far.
        command: The command that accepts the present outcome as the new anchor.
        rescored: Whether the anchor was scored again after it was accepted.
        error: Why there are no scores of the present metric; None if there are.
        usage: The usage of scoring it again.
    """

    anchor: Anchor
    acceptances: int
    command: str
    rescored: bool = False
    error: ReferenceFileError | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def card(self) -> Scorecard:
        """The scorecard of the anchor, without its usage, which is not kept."""
        scores = self.anchor.scores
        return Scorecard(tuple(scores), tuple(scores.values()), Usage())

    def scores_for(self, examples: Collection[str]) -> gate.AnchorScores:
        """Return the anchor's scores, to compare a program on ``examples`` with.

        Raises:
            ReferenceFileError: There are none.
        """
        __tracebackhide__ = True
        if self.error is not None:
            raise self.error
        if self.anchor.scores.keys().isdisjoint(examples):
            message = (
                f"none of the {len(examples)} held-out examples is among those of the anchor, so "
                "nothing keeps small losses from adding up; accept a new anchor with: "
                f"{self.command}"
            )
            raise ReferenceFileError(message)
        note = (
            "the metric changed since the anchor was accepted, so it was scored again"
            if self.rescored
            else ""
        )
        return gate.AnchorScores(self.card, self.acceptances, self.command, note)


@dataclass(frozen=True)
class ReferenceState:
    """The reference of a test, and how it relates to the present task.

    Attributes:
        location: Where the reference is.
        reference: The accepted program; None without a reference.
        acceptance: The change that this run made to the reference, if it did.
        stale: How the task changed since, in words; empty if it did not.
        usage: The usage of scoring accepted programs again.
        anchor: The anchor; None if the reference is the anchor itself.
    """

    location: ReferenceLocation
    reference: ReferenceProgram | None = None
    acceptance: Acceptance | None = None
    stale: str = ""
    usage: Usage = field(default_factory=Usage)
    anchor: AnchorState | None = None
