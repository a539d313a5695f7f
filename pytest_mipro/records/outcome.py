"""What is shown of a task: its outcome, what was accepted, and its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pytest_mipro.canonical import Record
from pytest_mipro.records.judgement import PairedComparison, Scorecard, Verdict
from pytest_mipro.records.usage import Usage
from pytest_mipro.records.work import BudgetCut, Failure, Prompt, SearchLog


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
