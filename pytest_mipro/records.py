"""The frozen records that pass between rooms, into the store and through xdist.

A record equals ``from_dict`` of its ``to_dict``. The same dictionary goes to
disk, to an xdist controller and into the reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from pytest_mipro.canonical import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

VerdictWord = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Unit = Literal["score", "tokens", "usd"]
LookKind = Literal["run", "rescore", "acceptance"]
ReplyReason = Literal["unreadable", "token limit", "filter", "refusal", "context window"]
FailureReason = Literal["", "connection", "warning", ReplyReason]

MOST_SCORE = 1e15
"""The most that a score may be, and its negative the least: sums of squares stay finite."""
Score = Annotated[float, Field(ge=-MOST_SCORE, le=MOST_SCORE, allow_inf_nan=False)]

_USD_DIGITS = 12
"""Digits that sums of money keep; unrounded, a sum would depend on the order."""


@dataclass(frozen=True)
class Usage(Record):
    """Calls of language models, uncached, and their tokens; ``priced`` of them cost ``usd``."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    priced: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and completions together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """The price of all calls in US dollars; None if the price of any is unknown."""
        return self.usd if self.priced == self.calls else None

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of two usages."""
        return self._plus(other, 1)

    def __sub__(self, other: Usage) -> Usage:
        """Return this usage without ``other``, which is a part of it."""
        return self._plus(other, -1)

    def _plus(self, usage: Usage, sign: int) -> Usage:
        return Usage(
            self.calls + sign * usage.calls,
            self.prompt_tokens + sign * usage.prompt_tokens,
            self.completion_tokens + sign * usage.completion_tokens,
            self.priced + sign * usage.priced,
            round(self.usd + sign * usage.usd, _USD_DIGITS),
        )

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """Return the sum of ``usages``."""
        return sum(usages, cls())


@dataclass(frozen=True)
class ExampleCost(Record):
    """The mean cost of an answer to one example: tokens, and US dollars where known."""

    tokens: float
    usd: float | None = None

    @classmethod
    def of(cls, answers: Sequence[Usage]) -> Self:
        """Return the mean cost of ``answers`` to one example."""
        usage = Usage.total(answers)
        usd = None if usage.cost is None else round(usage.cost / len(answers), _USD_DIGITS)
        return cls(usage.tokens / len(answers), usd)


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

    def further_score(self, key: str) -> float | None:
        """Return the score by a further metric, if known; a failure scores the same by all."""
        return self.score if self.failure is not None else self.scores.get(key)


@dataclass(frozen=True)
class Trace(Record):
    """One bootstrap attempt on one training example; ``score`` is None if the teacher failed."""

    key: str
    score: Score | None
    demos: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    usage: Usage = Usage()
    failure: Failure | None = None

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
class SearchLog(Record):
    """The trials of a search on ``rows`` examples, and its winner.

    ``baseline`` and ``score`` are the mean scores of the student and the
    winner. If the search was cut, they are means of fewer rows, or None.
    """

    rows: int
    trials: tuple[Trial, ...]
    winner: Candidate
    baseline: float | None
    score: float


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
    where: dict[str, str]
    state: dict[str, Any]
    usage: Usage
    seconds: float
    created: str
    cut: BudgetCut | None = None
    search: SearchLog | None = None
    optimizer: str = "mipro"


@dataclass(frozen=True)
class Scorecard(Record):
    """Held-out scores of one program: one per example, in the order of the split.

    A score is the mean over ``rollouts`` answers. ``clusters`` has the cluster
    of each example, or is empty. ``latency`` is the mean duration in seconds of
    an answer's model calls, where it was measured. ``costs`` has the cost of
    each example or None, and is empty where all are unknown.
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
        """The costs by example, without unknown ones."""
        costs = zip(self.examples, self.costs, strict=False)
        return {example: cost for example, cost in costs if cost is not None}

    @property
    def score(self) -> float:
        """The mean score."""
        return math.fsum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class Look(Record):
    """A measurement of a program on held-out examples, which tells people something about it.

    ``key`` is that of the examples, the program and both programs' scores, so
    that the same scores are the same look. ``number`` counts the looks at these
    examples, or at a set that mostly has the same. ``held_out`` is the digest of
    the set, and ``examples`` has the beginnings of their identities.
    """

    key: str
    number: int
    kind: LookKind
    seed: int
    test: str
    held_out: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class PairedComparison(Record):
    """Two programs on the same examples; differences are compiled minus baseline.

    ``p_value`` is one-sided, against "the mean difference is at most
    ``margin``", and ``p_opposite`` against "it is at least ``margin``".
    ``low`` and ``high`` bound the mean difference with ``confidence``.
    ``detectable`` is how far beyond ``margin`` a true difference has to be for
    this many examples to show it with a probability of 0.8. ``clusters`` is the
    number of clusters, or 0 for independent examples. A score is the mean over
    ``rollouts`` answers. ``unit`` is that of the scores or costs compared.
    ``sufficient`` is the number of examples that show with a probability of 0.8
    that equally good programs differ by more than ``margin``. ``unseen`` is the
    share of examples that may be missing from the sample and would alone put
    the difference on the other side of the margin; 0 if none can.
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
    sufficient: float = 0.0
    unseen: float = 0.0

    def times(self, difference: float) -> float:
        """Return the ratio to the baseline of the baseline plus ``difference``."""
        if not self.baseline:
            return math.inf if difference else 1.0
        return 1 + difference / self.baseline


@dataclass(frozen=True)
class Verdict(Record):
    """A judgement of a compiled program; truthy on PASS.

    ``kind`` is a key of ``gate.VERDICT_KINDS``. ``sentence`` is all a reviewer
    needs: means, difference, interval, p, n, the detectable difference and the
    next step. ``comparison`` is None where no scores or costs were compared.
    With ``tolerated``, an INCONCLUSIVE is truthy as well. ``metric`` is the name
    of the metric that was judged; empty if the task has one without a name.
    ``p_fail`` is the p-value of the evidence for FAIL at the level ``alpha``,
    None if a FAIL needs none, and ``p_corrected`` is that among all verdicts of
    a session. With ``held``, a FAIL is truthy: the end of the session decides
    about it, or has decided that it does not stand.
    """

    kind: str
    word: VerdictWord
    sentence: str
    comparison: PairedComparison | None
    tolerated: bool = False
    metric: str = ""
    alpha: float = 0.05
    p_fail: float | None = None
    p_corrected: float | None = None
    held: bool = False

    def __bool__(self) -> bool:
        """Whether an assert on the verdict holds."""
        if self.word == "FAIL":
            return self.held
        return self.word == "PASS" or self.tolerated

    def __repr__(self) -> str:
        """Return the sentence, so that a failing assert shows it."""
        return f"{self.word}: {self.sentence}"


@dataclass(frozen=True)
class FailStreak(Record):
    """How many runs in a row a verdict is a FAIL; ``evidence`` digests the last run's scores."""

    key: str
    fails: int
    evidence: str


@dataclass(frozen=True)
class Means(Record):
    """Mean held-out scores over ``n`` examples."""

    n: int
    baseline: float
    compiled: float


@dataclass(frozen=True)
class Acceptance(Record):
    """The change that accepting an outcome made to the reference's files.

    ``change`` is "replaced" if the earlier files could not be used. ``changed``,
    ``added`` and ``removed`` count examples by their compiled scores.
    ``rescored`` says that the metric changed.
    """

    change: Literal["first", "changed", "unchanged", "replaced"]
    files: tuple[str, ...]
    current: Means
    prompts_after: tuple[Prompt, ...]
    previous: Means | None = None
    prompts_before: tuple[Prompt, ...] = ()
    changed: int = 0
    added: int = 0
    removed: int = 0
    rescored: bool = False


@dataclass(frozen=True)
class ExampleResult(Record):
    """One program's result on one held-out example; a rollout that failed predicts None.

    ``feedback`` has what the metric said about each rollout, if it said something.
    """

    score: float
    predictions: tuple[Any, ...] = ()
    failures: tuple[Failure, ...] = ()
    feedback: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeldOutExample(Record):
    """A held-out example with both programs' results, and its score in the reference."""

    identity: str
    inputs: dict[str, Any]
    expected: dict[str, Any]
    baseline: ExampleResult
    compiled: ExampleResult
    accepted: float | None = None


@dataclass(frozen=True)
class MetricScores(Record):
    """The held-out scores by a metric that is not optimized; ``accepted`` if there are any."""

    metric: str
    baseline: Scorecard
    compiled: Scorecard
    comparison: PairedComparison
    accepted: Scorecard | None = None


@dataclass(frozen=True)
class Report(Record):
    """The outcome of one test's task, for the renderers of reports.

    The ``origin`` of the compiled program is this run, the store, the reference,
    or the test named in ``shared``. ``reasons`` say in words why it was
    compiled, and ``resumed`` counts the stored results that the compile used.
    ``stale`` says in words what changed since the reference was accepted;
    ``accepted`` and ``prompts_accepted`` are that reference's. ``metric`` is the
    name of the optimized metric, if it has one, and ``further`` has the scores
    by the others.
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
    cut: BudgetCut | None = None
    model: str = ""
    shared: str = ""
    resumed: int = 0
    held_out: tuple[HeldOutExample, ...] = ()
    search: SearchLog | None = None
    accepted: Scorecard | None = None
    prompts_accepted: tuple[Prompt, ...] = ()
    metric: str = ""
    further: tuple[MetricScores, ...] = ()
    optimizer: str = "mipro"
    compile_usage: Usage = Usage()
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Progress(Record):
    """The progress of one phase; ``done`` counts its demo sets, instructions or rows."""

    phase: Literal["bootstrap", "propose", "search", "optimize", "evaluate"]
    done: int
    total: int | None = None
    best: float | None = None
    usage: Usage = Usage()
    provider_error: str = ""
