"""
The frozen records that pass between rooms, into the store and through xdist.

Each record survives ``from_dict(to_dict())`` unchanged; the same dictionary
goes to disk, to an xdist controller and into the reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import TypeAdapter

from pytest_mipro.canonical import JSON, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

Word = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class Record:
    """Gives a frozen dataclass its round trip to plain JSON data."""

    def to_dict(self) -> dict[str, Any]:
        """Return this record as JSON data."""
        data = _data(self)
        assert isinstance(data, dict)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the record that ``to_dict`` was called on; wrong data raises ValueError."""
        record: Self = cls._adapter().validate_python(data)
        return record

    @classmethod
    @cache
    def _adapter(cls) -> TypeAdapter[Any]:
        return TypeAdapter(cls)


def _data(value: object) -> JSON:
    # Not pydantic's: it refuses the lone surrogates that models write into names.
    if is_dataclass(value):
        return {each.name: _data(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {name: _data(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return float(value) if isinstance(value, float) else plain(value)


@dataclass(frozen=True)
class Usage(Record):
    """What was asked of language models: calls that were really made, and their tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return both usages together."""
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """Return the sum of ``usages``."""
        return sum(usages, cls())


@dataclass(frozen=True)
class Failure(Record):
    """An exception the program is to blame for, as text."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class Row(Record):
    """
    One candidate on one example: the prediction, its score, what it cost.

    A row with a ``failure`` scores ``FAILURE_SCORE``: the program could not
    answer. Errors the program is not to blame for never become rows.
    """

    FAILURE_SCORE: ClassVar[float] = 0.0

    key: str
    score: float
    prediction: Any = None
    usage: Usage = Usage()
    failure: Failure | None = None


@dataclass(frozen=True)
class Trace(Record):
    """
    One bootstrap attempt: the teacher on one training example.

    ``demos`` maps a predictor's path to the demos the attempt yields for it,
    one per call of that predictor, in call order. ``score`` is None if the
    teacher failed.
    """

    key: str
    score: float | None
    demos: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    usage: Usage = Usage()

    def passes(self, threshold: float | None) -> bool:
        """Whether the demos are good enough: at least ``threshold``, or any score but 0."""
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
        """Whether this is the student as it came."""
        return not any(self.instructions) and not any(self.demos)


@dataclass(frozen=True)
class Trial(Record):
    """One candidate proposed by the sampler, and how far it was measured."""

    number: int
    candidate: Candidate
    rows: int
    score: float
    dropped: bool


@dataclass(frozen=True)
class Prompt(Record):
    """What a predictor says: its instruction and its demos."""

    predictor: str
    instruction: str
    demos: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Artifact(Record):
    """A compiled program's DSPy state, and how it came about."""

    key: str
    task: str
    parts: dict[str, str]
    where: dict[str, str]
    state: dict[str, Any]
    usage: Usage
    seconds: float
    created: str


@dataclass(frozen=True)
class Scorecard(Record):
    """Held-out scores of one program: one per example, in the order of the split."""

    examples: tuple[str, ...]
    scores: tuple[float, ...]
    usage: Usage
    failures: tuple[Failure, ...] = ()

    @property
    def score(self) -> float:
        """The mean score."""
        return math.fsum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class PairedComparison(Record):
    """
    Two programs on the same examples; differences are compiled minus baseline.

    ``p_value`` is one-sided, against "the mean difference is at most
    ``margin``". ``low`` and ``high`` bound the mean difference with
    ``confidence``. ``detectable`` is the smallest true difference this many
    examples would probably (power 0.8) have shown.
    """

    n: int
    baseline: float
    compiled: float
    difference: float
    low: float
    high: float
    p_value: float
    detectable: float
    margin: float
    confidence: float
    method: str


@dataclass(frozen=True)
class Verdict(Record):
    """
    The answer to one question about a compiled program; truthy only on PASS.

    ``sentence`` is all a reviewer needs: means, difference, interval, p, n,
    what could have been seen, and what to do next.
    """

    question: str
    word: Word
    sentence: str
    comparison: PairedComparison

    def __bool__(self) -> bool:
        """Whether the verdict is PASS."""
        return self.word == "PASS"

    def __repr__(self) -> str:
        """Return the sentence, so that a failing assert shows it."""
        return f"{self.word}: {self.sentence}"


@dataclass(frozen=True)
class Report(Record):
    """Everything one test has to say about its task; what the renderers get."""

    task: str
    test: str
    key: str
    origin: Literal["compiled", "stored"]
    reasons: tuple[str, ...]
    baseline: Scorecard
    compiled: Scorecard
    comparison: PairedComparison
    prompts_before: tuple[Prompt, ...]
    prompts_after: tuple[Prompt, ...]
    usage: Usage
    seconds: float
    store: str
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Progress(Record):
    """Where a long piece of work stands; fields that do not apply are None."""

    phase: Literal["bootstrap", "propose", "search", "evaluate"]
    done: int
    total: int | None = None
    best: float | None = None
    usage: Usage = Usage()
