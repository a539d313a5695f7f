"""What a compile is made of, as the store keeps it: rows, traces, proposals and artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pytest_mipro.canonical import Record
from pytest_mipro.records.usage import Usage

ReplyReason = Literal["unreadable", "token limit", "filter", "refusal", "context window"]
FailureReason = Literal["", "connection", "warning", ReplyReason]
MOST_SCORE = 1e15
"""The most that a score may be, and its negative the least: sums of squares stay finite."""
Score = Annotated[float, Field(ge=-MOST_SCORE, le=MOST_SCORE, allow_inf_nan=False)]


@dataclass(frozen=True)
class Failure(Record):
    """An exception that the program caused, as text, and its reason, if that is not its type."""

    type: str
    message: str
    traceback: str
    reason: FailureReason = ""


@dataclass(frozen=True)
class Row(Record):
    """One program on one example: the prediction, its score, its usage.

    A row with a ``failure`` scores ``FAILURE_SCORE``: the program raised an
    exception. It is not stored, so that the next run asks again. Errors that
    the program did not cause never become rows.
    ``prediction_key`` is the key of the prediction, independent of the metric; None
    where the prediction cannot be stored. ``seconds`` is the duration of all
    calls; None without calls, or where it was not measured. ``spent`` is the
    usage of the program's own calls, without those of the metric; None where a
    cache or the provider did not report a part of it. ``scores`` are those that
    further metrics gave to the prediction when it was made, by the key of metric
    and example, and ``feedback`` is the metric's text about it.
    """

    FAILURE_SCORE: ClassVar[float] = 0.0

    key: str
    score: Score
    prediction: Any = None
    usage: Usage = Usage()
    failure: Failure | None = None
    prediction_key: str | None = None
    seconds: float | None = field(default=None, compare=False)
    spent: Usage | None = None
    scores: dict[str, float] = field(default_factory=dict)
    feedback: str = ""

    @property
    def is_uncached(self) -> bool:
        """Whether it is known that the program made all its calls, with none from a cache."""
        return self.spent is not None and self.spent.calls <= self.usage.calls

    def further_score(self, key: str) -> float | None:
        """Return the score by a further metric, if known; a failure scores the same by all."""
        return self.score if self.failure is not None else self.scores.get(key)


@dataclass(frozen=True)
class Trace(Record):
    """One run of a program on one training example; ``score`` is None if the program failed.

    ``prediction`` and ``feedback`` are kept where the prompt model is shown the run.
    """

    key: str
    score: Score | None
    demos: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    usage: Usage = Usage()
    failure: Failure | None = None
    prediction: Any = None
    feedback: str = ""

    def passes(self, threshold: float | None) -> bool:
        """Whether the score is at least ``threshold``, or without one is not 0."""
        if self.score is None:
            return False
        return bool(self.score) if threshold is None else self.score >= threshold


@dataclass(frozen=True)
class Proposal(Record):
    """One answer of the prompt model while proposing instructions."""

    key: str
    text: str
    usage: Usage = Usage()


@dataclass(frozen=True)
class Candidate(Record):
    """One instruction index and one demo-set index per predictor, in predictor order."""

    instructions: tuple[int, ...]
    demos: tuple[int, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether this is the student, unchanged."""
        return not any(self.instructions) and not any(self.demos)


@dataclass(frozen=True)
class Trial(Record):
    """One candidate of the sampler, its score, and the rows that the score is the mean of."""

    number: int
    candidate: Candidate
    rows: int
    score: float
    dropped: bool


@dataclass(frozen=True)
class WrittenInstruction(Record):
    """An instruction that was written from the mistakes of the best candidate so far.

    ``index`` is its place among the instructions of the ``predictor``, and ``parent`` that of
    the instruction it was written from. ``examples`` are the places of the training examples
    whose mistakes the prompt model was shown. ``gain`` is how much higher the candidate with it
    scored than the best one so far, on the ``rows`` that both were measured on.
    """

    round: int
    predictor: str
    index: int
    parent: int
    text: str
    examples: tuple[int, ...]
    rows: int
    gain: float


@dataclass(frozen=True)
class SearchLog(Record):
    """The trials of a search on ``rows`` examples, and its winner.

    ``baseline`` and ``score`` are the mean scores of the student and the
    winner. If the search was cut, they are means of fewer rows, or None.
    ``written`` are the instructions that the rounds after the first search added.
    """

    rows: int
    trials: tuple[Trial, ...]
    winner: Candidate
    baseline: float | None
    score: float
    written: tuple[WrittenInstruction, ...] = ()


@dataclass(frozen=True)
class Prompt(Record):
    """The prompt of a predictor: its instruction, its demos, and what it says of each field."""

    predictor: str
    instruction: str
    demos: tuple[dict[str, Any], ...] = ()
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class BudgetCut(Record):
    """The budget that ended a search: the user's option, its unit, what the compile began with."""

    limit: str
    unit: Literal["calls", "tokens", "usd", "seconds"]
    remaining: float


@dataclass(frozen=True)
class Artifact(Record):
    """A compiled program's DSPy state, its fingerprint, and its search if MIPROv2 found it."""

    key: str
    task: str
    parts: dict[str, str]
    state: dict[str, Any]
    usage: Usage
    seconds: float
    created: str
    cut: BudgetCut | None = None
    search: SearchLog | None = None
    optimizer: str = "mipro"
