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
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

VerdictWord = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Unit = Literal["score", "tokens", "usd"]


_USD_DIGITS = 12
"""Digits that sums of money keep; with all of them, a sum would depend on the order."""


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
    """
    What was asked of language models: calls that were really made, and their tokens.

    ``priced`` of the calls have a known price; ``usd`` is what these cost.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    priced: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens asked and answered together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """What all calls cost in US dollars; None if the price of any is unknown."""
        return self.usd if self.priced == self.calls else None

    def __add__(self, other: Usage) -> Usage:
        """Return both usages together."""
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.priced + other.priced,
            round(self.usd + other.usd, _USD_DIGITS),
        )

    def __sub__(self, other: Usage) -> Usage:
        """Return this usage without ``other``, which is a part of it."""
        return self + Usage(
            -other.calls,
            -other.prompt_tokens,
            -other.completion_tokens,
            -other.priced,
            -other.usd,
        )

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """Return the sum of ``usages``."""
        return sum(usages, cls())


@dataclass(frozen=True)
class ExampleCost(Record):
    """What an answer to one example takes on average: tokens, and US dollars where known."""

    tokens: float
    usd: float | None = None

    @classmethod
    def of(cls, answers: Sequence[Usage]) -> Self:
        """Return the bill for an example from what each of its ``answers`` took."""
        usage = Usage.total(answers)
        each = None if usage.cost is None else round(usage.cost / len(answers), _USD_DIGITS)
        return cls(usage.tokens / len(answers), each)


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
    ``answer`` is the key of the prediction alone, whatever the metric; it is
    None where the prediction does not survive being stored. ``seconds`` is how
    long the calls for it took together; None if no model was asked, or nobody
    measured it. ``spent`` is what the program's own calls took, without those
    of the metric; None where a part of it is not known, because an answer came
    from a cache that does not say, or because the provider did not count.
    """

    FAILURE_SCORE: ClassVar[float] = 0.0

    key: str
    score: float
    prediction: Any = None
    usage: Usage = Usage()
    failure: Failure | None = None
    answer: str | None = None
    seconds: float | None = field(default=None, compare=False)
    spent: Usage | None = None


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
class SearchLog(Record):
    """
    How a search came to its winner.

    ``baseline`` and ``score`` are the mean scores of the student and of the
    winner on the validation set of ``rows`` examples, or on as many of them as
    a search that was cut got to, which may be none for the student.
    """

    rows: int
    trials: tuple[Trial, ...]
    winner: Candidate
    baseline: float | None
    score: float


@dataclass(frozen=True)
class Prompt(Record):
    """What a predictor says: its instruction and its demos."""

    predictor: str
    instruction: str
    demos: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Cut(Record):
    """
    Where a search ended because a budget was spent.

    ``limit`` is as the user set it, ``what`` is counted, and ``left`` is how
    much of that there was when the compile began.
    """

    limit: str
    what: Literal["calls", "tokens", "usd", "seconds"]
    left: float


@dataclass(frozen=True)
class Artifact(Record):
    """
    A compiled program's DSPy state, and how it came about.

    ``cut`` says where the search ended early, and is None where it did not.
    ``search`` is None where the program was not found by a search of ours.
    """

    key: str
    task: str
    parts: dict[str, str]
    where: dict[str, str]
    state: dict[str, Any]
    usage: Usage
    seconds: float
    created: str
    cut: Cut | None = None
    search: SearchLog | None = None


@dataclass(frozen=True)
class Scorecard(Record):
    """
    Held-out scores of one program: one per example, in the order of the split.

    A score is the mean over ``rollouts`` answers. ``clusters`` names what each
    example belongs to, and is empty where each is on its own. ``latency`` is
    how many seconds the model calls for an answer took on average, where that
    was measured. ``costs`` has one for each example, or None where it is not
    known, and is empty where nothing is.
    """

    examples: tuple[str, ...]
    scores: tuple[float, ...]
    usage: Usage
    failures: tuple[Failure, ...] = ()
    rollouts: int = 1
    clusters: tuple[str, ...] = ()
    latency: float | None = field(default=None, compare=False)
    costs: tuple[ExampleCost | None, ...] = ()

    @property
    def known_costs(self) -> dict[str, ExampleCost]:
        """The costs that are known, by example."""
        costs = zip(self.examples, self.costs, strict=False)
        return {example: cost for example, cost in costs if cost is not None}

    @property
    def score(self) -> float:
        """The mean score."""
        return math.fsum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class PairedComparison(Record):
    """
    Two programs on the same examples; differences are compiled minus baseline.

    ``p_value`` is one-sided, against "the mean difference is at most
    ``margin``", and ``p_opposite`` against "it is at least ``margin``".
    ``low`` and ``high`` bound the mean difference with ``confidence``.
    ``detectable`` is how far beyond ``margin`` a true difference has to be for
    this many examples to show it with a probability of 0.8. ``clusters`` is how
    many groups of examples were compared, where examples of one group are not
    independent; else 0. A score is the mean over ``rollouts`` answers.

    ``unit`` says what is compared: scores, or what an answer takes. Of the
    latter, ``margin`` is what may be added to the mean of the baseline.
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
    p_opposite: float = 1.0
    clusters: int = 0
    rollouts: int = 1
    unit: Unit = "score"

    def times(self, difference: float) -> float:
        """Return a difference as what it makes of the baseline: 1.5 for half as much again."""
        if not self.baseline:
            return math.inf if difference else 1.0
        return 1 + difference / self.baseline


@dataclass(frozen=True)
class Verdict(Record):
    """
    The answer to one question about a compiled program; truthy on PASS.

    ``sentence`` is all a reviewer needs: means, difference, interval, p, n,
    what could have been seen, and what to do next. ``comparison`` is None
    where there was nothing to compare with. ``tolerated`` says that the user
    lets an INCONCLUSIVE pass, which is truthy then.
    """

    kind: str
    word: VerdictWord
    sentence: str
    comparison: PairedComparison | None
    tolerated: bool = False

    def __bool__(self) -> bool:
        """Whether an assert on the verdict holds."""
        return self.word == "PASS" or (self.word == "INCONCLUSIVE" and self.tolerated)

    def __repr__(self) -> str:
        """Return the sentence, so that a failing assert shows it."""
        return f"{self.word}: {self.sentence}"


@dataclass(frozen=True)
class Reference(Record):
    """
    An accepted program and its held-out scores; what is committed beside a test.

    ``test`` is the test's name in its file. ``key``, ``parts`` and ``where``
    are the compile fingerprint. ``metric`` is the digest of what scored.
    ``baseline`` and ``compiled`` hold a score per example, by its identity.
    ``usage`` says what the compile and each program's answers took, and
    ``versions`` what it was accepted with. ``state`` is the compiled
    program's DSPy state. ``tokens`` and ``usd`` hold what an answer to each
    example took, by program, as far as that is known.
    """

    test: str
    key: str
    parts: dict[str, str]
    where: dict[str, str]
    metric: str
    baseline: dict[str, float]
    compiled: dict[str, float]
    usage: dict[Literal["compile", "baseline", "compiled"], Usage]
    versions: dict[str, str]
    state: dict[str, Any]
    tokens: dict[Literal["baseline", "compiled"], dict[str, float]] = field(default_factory=dict)
    usd: dict[Literal["baseline", "compiled"], dict[str, float]] = field(default_factory=dict)

    def bill(self, which: Literal["baseline", "compiled"], example: str) -> ExampleCost | None:
        """Return what an answer of a program to an example took, if that is known."""
        tokens = self.tokens.get(which, {}).get(example)
        return None if tokens is None else ExampleCost(tokens, self.usd.get(which, {}).get(example))


@dataclass(frozen=True)
class Means(Record):
    """Mean held-out scores over ``n`` examples."""

    n: int
    baseline: float
    compiled: float


@dataclass(frozen=True)
class Acceptance(Record):
    """
    What accepting an outcome did to the reference's files.

    ``what`` is "replaced" where the earlier files could not be used. ``before``
    and ``prompts_before`` are the earlier reference's, if there was a usable
    one. ``changed``, ``added`` and ``removed`` count examples by what became
    of their compiled score; ``rescored`` says that another metric gave them.
    """

    what: Literal["first", "changed", "unchanged", "replaced"]
    files: tuple[str, ...]
    after: Means
    prompts_after: tuple[Prompt, ...]
    before: Means | None = None
    prompts_before: tuple[Prompt, ...] = ()
    changed: int = 0
    added: int = 0
    removed: int = 0
    rescored: bool = False


@dataclass(frozen=True)
class ExampleResult(Record):
    """
    What one program makes of one held-out example.

    ``predictions`` has one prediction per rollout, as JSON data, and is empty
    where only the score is known. ``failures`` are those of all rollouts; a
    failed one predicts None.
    """

    score: float
    predictions: tuple[Any, ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class HeldOutExample(Record):
    """
    A held-out example: what the programs were asked, should say, and said.

    ``accepted`` is the score in the reference, if that has one.
    """

    identity: str
    inputs: dict[str, Any]
    expected: dict[str, Any]
    baseline: ExampleResult
    compiled: ExampleResult
    accepted: float | None = None


@dataclass(frozen=True)
class Report(Record):
    """
    Everything one test has to say about its task; what the renderers get.

    ``model`` is the name of the model that answers. ``origin`` says where the
    compiled program is from: this run, the store, the accepted reference, or
    the test named in ``shared``, which has the same task and did the work.
    ``reasons`` say in words why it was compiled, and ``resumed`` how many
    results of earlier runs that went on from. ``usage`` and ``seconds`` are
    what this test took. ``stale`` says in words what changed since the
    reference was accepted, and is empty where nothing did. ``cut`` says where
    the search for the compiled program ended early, if it did. ``accepted``
    and ``prompts_accepted`` are the reference's, if there is one to compare
    with.
    """

    task: str
    test: str
    key: str
    origin: Literal["compiled", "stored", "accepted", "shared"]
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
    acceptance: Acceptance | None = None
    stale: str = ""
    cut: Cut | None = None
    model: str = ""
    shared: str = ""
    resumed: int = 0
    held_out: tuple[HeldOutExample, ...] = ()
    search: SearchLog | None = None
    accepted: Scorecard | None = None
    prompts_accepted: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class Progress(Record):
    """
    Where a long piece of work stands; fields that do not apply are None.

    Attributes:
        phase: What is going on.
        done: How much of it is done: demo sets, instructions or rows.
        total: How much there is to do.
        best: The best mean score so far.
        usage: What it took so far.
        trouble: What a model that is asked again said, while none answers.

    """

    phase: Literal["bootstrap", "propose", "search", "evaluate"]
    done: int
    total: int | None = None
    best: float | None = None
    usage: Usage = Usage()
    provider_error: str = ""
