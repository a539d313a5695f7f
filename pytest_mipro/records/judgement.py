"""What a verdict is made of: scorecards, comparisons, looks and the verdict itself."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_mipro.canonical import Record
from pytest_mipro.records.usage import ExampleCost, Usage
from pytest_mipro.records.work import Failure

VerdictWord = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Unit = Literal["score", "tokens", "usd"]
LookKind = Literal["run", "rescore", "acceptance"]


@dataclass(frozen=True)
class Scorecard(Record):
    """Held-out scores of one program: one per example, in the order of the split.

    A score is the mean over ``rollouts`` answers. ``clusters`` has the cluster
    of each example, or is empty. ``latency`` is the mean duration in seconds of
    an answer's model calls, where it was measured. ``costs`` has the cost of
    each example or None, and is empty where all are unknown. ``total`` is the
    number of held-out examples where asking stopped before all had a score.
    """

    examples: tuple[str, ...]
    scores: tuple[float, ...]
    usage: Usage
    failures: tuple[Failure, ...] = ()
    rollouts: int = 1
    clusters: tuple[str, ...] = ()
    latency: float | None = field(default=None, compare=False)
    costs: tuple[ExampleCost | None, ...] = ()
    total: int | None = None

    @property
    def known_costs(self) -> dict[str, ExampleCost]:
        """The costs by example, without unknown ones."""
        costs = zip(self.examples, self.costs, strict=False)
        return {example: cost for example, cost in costs if cost is not None}

    @property
    def score(self) -> float:
        """The mean score."""
        return math.fsum(self.scores) / len(self.scores)

    def restricted_to(self, examples: Collection[str]) -> Scorecard:
        """Return the scores and costs of some examples; usage and failures stay those of all."""
        positions = [index for index, name in enumerate(self.examples) if name in examples]
        return replace(
            self,
            examples=tuple(self.examples[position] for position in positions),
            scores=tuple(self.scores[position] for position in positions),
            clusters=tuple(self.clusters[position] for position in positions if self.clusters),
            costs=tuple(self.costs[position] for position in positions if self.costs),
        )


@dataclass(frozen=True)
class Look(Record):
    """A measurement of a program on held-out examples, which tells people something about it.

    ``scores`` has a digest of the program, its scores and the baseline's after each
    batch of examples, as far as the measurement got, so that the same scores are the
    same look. ``key`` is the last of them when it was first seen. ``number``
    counts the looks at these examples, or at a set that mostly has the same.
    ``held_out`` is the digest of the set, and ``examples`` has the beginnings of
    their identities.
    """

    key: str
    number: int
    kind: LookKind
    seed: int
    scores: tuple[str, ...]
    test: str
    held_out: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class PairedComparison(Record):
    """Two programs on the same examples; differences are compiled minus comparator.

    The comparator is the baseline, the reference or the anchor, of which
    ``comparator`` has the mean, as ``compiled`` has that of the compiled program.
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
    comparator: float
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
        """Return the ratio to the comparator of the comparator plus ``difference``."""
        if not self.comparator:
            return 1.0 if not difference else math.inf if difference > 0 else 0.0
        return 1 + difference / self.comparator


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
    a session. With ``deferred``, a FAIL is truthy: the end of the session decides
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
    deferred: bool = False

    def __bool__(self) -> bool:
        """Whether an assert on the verdict holds."""
        if self.word == "FAIL":
            return self.deferred
        return self.word == "PASS" or self.tolerated

    def __repr__(self) -> str:
        """Return the sentence, so that a failing assert shows it."""
        return f"{self.word}: {self.sentence}"


@dataclass(frozen=True)
class FailStreak(Record):
    """How many runs in a row a verdict is a FAIL.

    ``evidence`` has a digest of the last run's answers to each example, by the
    beginning of its identity.
    """

    key: str
    fails: int
    evidence: dict[str, str]
