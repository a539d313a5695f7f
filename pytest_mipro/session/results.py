"""The result of a task, both programs with their scores, and the state of its reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pytest_mipro import gate
from pytest_mipro.errors import DeclarationError, ReferenceFileError
from pytest_mipro.records import Acceptance, Artifact, ExampleResult, Scorecard, Usage, Verdict
from pytest_mipro.session.truth import no_truth_value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import dspy

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.records import Prompt
    from pytest_mipro.reference import Anchor, ReferenceLocation


@dataclass(frozen=True)
class HeldOutRows:
    """The evaluation of one program on held-out examples.

    Attributes:
        rows: Its rows by the optimized metric, by example.
        further: Its scores by further metrics: by name, then by example.
    """

    rows: Sequence[ExampleRows]
    further: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredProgram:
    """A program and its held-out scores.

    Attributes:
        program: The program; calling it asks the model again.
        card: Its scorecard by the optimized metric.
        answers: Its result on each test example, in the order of the split.
        further: Its scorecards by the other metrics, by name.
        metric_name: The name of the optimized metric, if it has one.
    """

    program: dspy.Module
    card: Scorecard
    answers: tuple[ExampleResult, ...]
    further: Mapping[str, Scorecard] = field(default_factory=dict)
    metric_name: str = ""

    def __repr__(self) -> str:
        """Return a text short enough for a failing assert."""
        total = "" if self.card.total is None else f" of {self.card.total}"
        count = f"{len(self.scores)}{total}"
        return f"<ScoredProgram: score {self.score:.3f} on {count} held-out examples>"

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

    def score_of(self, metric: str) -> float:
        """Return the mean held-out score by one of the task's metrics.

        Raises:
            DeclarationError: The task declares no metric of that name.
        """
        __tracebackhide__ = True
        return self.card_of(metric).score

    def scores_of(self, metric: str) -> tuple[float, ...]:
        """Return the held-out score of each test example by one of the task's metrics.

        Raises:
            DeclarationError: As ``score_of``.
        """
        __tracebackhide__ = True
        return self.card_of(metric).scores

    def card_of(self, metric: str) -> Scorecard:
        """Return the scorecard by one of the task's metrics.

        Raises:
            DeclarationError: As ``score_of``.
        """
        __tracebackhide__ = True
        check_metric_name(metric, self.metric_name, self.further)
        return self.by_metric(metric)

    def by_metric(self, metric: str) -> Scorecard:
        """Return the scorecard by a further metric, or by the optimized one for other names."""
        return self.further.get(metric, self.card)

    @property
    def usage(self) -> Usage:
        """The usage of the held-out answers when they were asked for."""
        return self.card.usage

    def restricted_to(self, examples: Collection[str], total: int) -> ScoredProgram:
        """Return the program with its scores on some of the held-out examples.

        The usage stays that of all rows so far.

        Args:
            examples: Their identities.
            total: The number of held-out examples.
        """
        pairs = zip(self.card.examples, self.answers, strict=True)
        answers = tuple(answer for name, answer in pairs if name in examples)
        failures = tuple(failure for answer in answers for failure in answer.failures)
        card = replace(self.card.restricted_to(examples), total=total, failures=failures)
        further = {
            name: replace(scores.restricted_to(examples), total=total)
            for name, scores in self.further.items()
        }
        return replace(self, card=card, answers=answers, further=further)


def check_metric_name(metric: object, optimized: str, further: Collection[str]) -> None:
    """Check that a task declares a metric.

    Args:
        metric: The name that is asked for.
        optimized: The name of the optimized metric; empty if it has none.
        further: The names of the other metrics.

    Raises:
        DeclarationError: There is no such metric.
    """
    __tracebackhide__ = True
    if not optimized:
        message = (
            f"metric={metric!r:.80}: the task declares one metric, which has no name; leave "
            "metric out, or declare metrics={'name': function, ...}"
        )
        raise DeclarationError(message)
    names = (optimized, *further)
    if metric not in names:
        expected = ", ".join(map(repr, names))
        message = f"metric={metric!r:.80}: the task has no such metric; expected one of {expected}"
        raise DeclarationError(message)


class ReferenceProgram:
    """The accepted program and its held-out scores.

    If the metric changed since, the accepted program is scored again with the present metric.
    The examples of the present split come first, in their order.
    """

    def __init__(
        self,
        card: Scorecard | None,
        load: Callable[[], dspy.Module],
        *,
        further: Mapping[str, Scorecard] | None = None,
        rescored_metrics: Collection[str] = (),
        error: ReferenceFileError | None = None,
    ) -> None:
        """Wrap an accepted program that is not loaded yet.

        Args:
            card: Its scores; None if there are none of the present metric.
            load: Returns the accepted program.
            further: Its scores by further metrics, by name, without those that would be of
                another metric.
            rescored_metrics: The metrics by which the program was scored again after it was
                accepted; the optimized one is the empty name.
            error: Why it could not be scored again by a metric that changed; None if it could.
        """
        self.rescored_metrics = rescored_metrics
        self.further = further or {}
        self._card = card
        self._load = load
        self._error = error
        self._program: dspy.Module | None = None

    @property
    def program(self) -> dspy.Module:
        """The accepted program, with the present code and models; calling it asks the model.

        Raises:
            ReferenceFileError: It does not fit the code any more.
        """
        __tracebackhide__ = True
        return self.load()

    def load(self) -> dspy.Module:
        """Return the accepted program, and keep it; see ``program``."""
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
            ReferenceFileError: The scores are of another metric, and the program could not be
                scored again.
        """
        __tracebackhide__ = True
        return self._scored(self._card)

    def further_card(self, metric: str) -> Scorecard:
        """Return the scorecard by a further metric.

        Raises:
            ReferenceFileError: As ``card``.
        """
        __tracebackhide__ = True
        return self._scored(self.further.get(metric))

    def _scored(self, card: Scorecard | None) -> Scorecard:
        """Return ``card``, or raise the error because of which there is none."""
        __tracebackhide__ = True
        if card is None:
            assert self._error is not None
            # Without the frames of its first occurrence, which are none of the user's.
            raise self._error.with_traceback(None)
        return card

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
    """The anchor that the verdicts of a test are compared with.

    Attributes:
        anchor: The anchor, with scores of the present metric unless there is an ``error``.
        acceptances: How many programs were accepted so far.
        command: The command that accepts the present outcome as the new anchor.
        differences: The differences to its mean score of the last accepted programs, the present
            reference last.
        rescored: Whether the anchor was scored again after it was accepted.
        error: Why there are no scores of the present metric; None if there are.
        usage: The usage of scoring it again.
    """

    anchor: Anchor
    acceptances: int
    command: str
    differences: tuple[float, ...] = ()
    rescored: bool = False
    error: ReferenceFileError | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def card(self) -> Scorecard:
        """The scorecard of the anchor, without its usage, which is not kept."""
        scores = self.anchor.scores
        return Scorecard(tuple(scores), tuple(scores.values()), Usage())

    def scores_for(self, examples: Collection[str], *, is_accepted: bool) -> gate.AnchorScores:
        """Return the anchor's scores, to compare a program on ``examples`` with.

        Args:
            examples: The identities of the held-out examples.
            is_accepted: Whether the program is the reference, and not one that may follow it.

        Raises:
            ReferenceFileError: There are none.
        """
        __tracebackhide__ = True
        if self.error is not None:
            raise self.error.with_traceback(None)
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
        earlier = self.differences[:-1] if is_accepted else self.differences
        return gate.AnchorScores(self.card, self.acceptances, self.command, note, earlier)


@dataclass(frozen=True)
class ReferenceState:
    """The reference of a test, and how it relates to the present task.

    Attributes:
        location: Where the reference is.
        reference: The accepted program; None without a reference.
        acceptance: The change that this run made to the reference, if it did.
        stale: How the task changed since, in words; empty if it did not.
        moves: How model, adapter and DSPy changed since, in words; empty if they did not.
        usage: The usage of scoring accepted programs again.
        anchor: The anchor; None if the reference is the anchor itself.
        stored_prompts: The prompts in the reference's file, whether or not they fit the code.
    """

    location: ReferenceLocation
    reference: ReferenceProgram | None = None
    acceptance: Acceptance | None = None
    stale: str = ""
    moves: str = ""
    usage: Usage = field(default_factory=Usage)
    anchor: AnchorState | None = None
    stored_prompts: tuple[Prompt, ...] = ()

    def explained(self, verdict: Verdict) -> Verdict:
        """Return a verdict against the reference, whose sentence begins with what moved."""
        if not self.moves:
            return verdict
        return replace(verdict, sentence=f"{self.moves}; {verdict.sentence}")
