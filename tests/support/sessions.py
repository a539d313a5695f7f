"""
Sessions without pytest, with their tasks, models, stores and references.

The tests of the session room build their objects with it.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy
from dspy import lm15
from scripted import ScriptedEngine

from pytest_mipro.records import Artifact, ExampleResult, Scorecard, Usage
from pytest_mipro.reference import ReferenceLocation
from pytest_mipro.session import (
    Outcome,
    Policy,
    ReferenceProgram,
    ReferenceState,
    ScoredProgram,
    Session,
    TaskResult,
    dump_state,
)
from pytest_mipro.task import OPTION_NAMES, Dataset, Options, Task, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from pytest_mipro.optimize import Estimate
    from pytest_mipro.records import Acceptance, ExampleCost, Progress
    from pytest_mipro.spending import Account

TEST = "test_adder"
COMMAND = f"pytest --mipro --mipro-update test_sums.py::{TEST}"
SMALL = {
    "auto": None,
    "num_candidates": 3,
    "num_trials": 2,
    "minibatch": False,
    "max_bootstrapped_demos": 1,
    "max_labeled_demos": 1,
}
"""The options of the smallest search with all phases."""
COMPILE, ROWS = 20, 12
"""The calls of this search on ``DATASET``, and those for the held-out rows of both programs."""


class Adder(dspy.Module):
    """Adds two numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.add = dspy.Predict("question -> answer: int")

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        prediction: dspy.Prediction = self.add(question=question)
        return prediction


class Renamed(dspy.Module):
    """Adds two numbers with a predictor of another name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sum = dspy.Predict("question -> answer: int")

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        prediction: dspy.Prediction = self.sum(question=question)
        return prediction


def right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the answer is right."""
    return bool(example.answer == prediction.answer)


def nearly_right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Return a score that decreases with the distance to the answer."""
    return 1 - float(abs(example.answer - prediction.answer)) / 2


def sums(first: int, count: int) -> tuple[dspy.Example, ...]:
    """Return ``count`` sums with their answers; separate ranges share no sum."""
    return tuple(
        dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3).with_inputs("question")
        for i in range(first, first + count)
    )


TRAIN, VAL, HELD_OUT = sums(0, 3), sums(10, 4), sums(20, 6)
DATASET = Dataset(TRAIN, VAL, HELD_OUT)


def held_out(*examples: dspy.Example) -> Dataset:
    """Return the dataset with other held-out examples."""
    return Dataset(TRAIN, VAL, examples)


class Model:
    """
    An engine that counts its requests and answers with a scripted engine.

    It wraps the scripted engine instead of inheriting from it, so that the
    fingerprint of a task need not follow the code of that class.

    Attributes:
        questions: The last turns of the requests so far.
        limit: The number of calls after which the key is revoked; None for never.

    """

    supports_response_schema = False
    supported_params = ScriptedEngine.supported_params

    def __init__(self, engine: ScriptedEngine) -> None:
        self.questions: list[str] = []
        self.limit: int | None = None
        self._engine = engine
        self._state = engine.dump_state()

    @property
    def calls(self) -> int:
        """The number of answers so far."""
        return len(self.questions)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        if self.limit is not None and self.calls >= self.limit:
            message = "the key was revoked"
            raise lm15.AuthError(message)
        self.questions.append(request.messages[-1].text or "")
        return self._engine.complete(request)

    def drift_to(self, engine: ScriptedEngine) -> None:
        """Answer with another engine, under the same name."""
        self._engine = engine

    def dump_state(self) -> dict[str, int]:
        """Return the state of the first engine, also after a drift."""
        return self._state


def adding(base: int = 0, per_demo: int = 100) -> Model:
    """Return a model that adds ``base`` percent of sums rightly, and ``per_demo`` more per demo."""
    return Model(ScriptedEngine(base=base, per_demo=per_demo))


@dataclass
class Recorder:
    """
    The surroundings of a session: keeps what the session says and asks for.

    Attributes:
        events: What the session did, in its order; a phase of work is in it once.
        lines: The lines it showed.
        advice: The warnings about a task.
        warnings: The warnings about a test.
        latest: How far the last piece of work has come.
        parts: Further parts of the compile key.
        optimizer: Compiles a task in another way than ours.
        on_event: Called with each event.

    """

    events: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    latest: Progress | None = None
    parts: Mapping[str, object] = field(default_factory=dict)
    optimizer: Callable[[Task], Any] = lambda _: None
    on_event: Callable[[str], object] = lambda _: None

    def optimize(self, task: Task) -> dspy.Module | None:
        """Compile ``task`` in another way than ours, or return None."""
        self._record("optimize")
        program: dspy.Module | None = self.optimizer(task)
        return program

    def fingerprint(self, task: Task) -> Mapping[str, object]:
        """Return further parts of the compile key."""
        self._record("fingerprint")
        return self.parts

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)
        self._record(line)

    def progress(self, task: Task, progress: Progress) -> None:
        """Keep which phase the work is in, and how far that has come."""
        self.latest = progress
        if self.events[-1:] != [progress.phase]:
            self._record(progress.phase)

    def warn(self, text: str) -> None:
        """Keep a warning about a test."""
        self.warnings.append(text)

    def advise(self, text: str) -> None:
        """Keep a warning about a task."""
        self.advice.append(text)

    def _record(self, event: str) -> None:
        self.events.append(event)
        self.on_event(event)


@dataclass
class Checkout:
    """
    A folder with a store and references, in which one run follows another.

    Attributes:
        root: The folder.
        model: Answers for programs.
        writer: Writes instructions; where DSPy is to keep responses, ``model`` does.
        recorder: Keeps what the sessions say and ask for.
        keeps_responses: Whether DSPy keeps the responses of models.

    """

    root: Path
    model: Model = field(default_factory=adding)
    writer: Model = field(default_factory=partial(adding, 50, 0))
    recorder: Recorder = field(default_factory=Recorder)
    keeps_responses: bool = False

    @property
    def calls(self) -> int:
        """How often the models were asked, over all runs."""
        return self.model.calls + self.writer.calls

    @property
    def store_url(self) -> str:
        """The URL of the store."""
        return f"sqlite:///{self.folder / 'store.db'}"

    @property
    def folder(self) -> Path:
        """The folder of the store and the response cache."""
        return self.root / ".mipro"

    @property
    def references(self) -> dict[str, bytes]:
        """The content of all files under ``__mipro__``, by their names."""
        files = (path for path in (self.root / "__mipro__").rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in sorted(files)}

    def task(self, test: str = TEST, **values: Any) -> Task:
        """Return the task of a test; ``values`` replace options and attributes of the task."""
        options = {name: values.pop(name) for name in OPTION_NAMES if name in values}
        lm = dspy.LM("scripted", engine=self.model, cache=self.keeps_responses)
        writer = dspy.LM("scripted", engine=self.writer, cache=False)
        task = Task(
            name=test,
            test=f"test_sums.py::{test}",
            program=Adder(),
            metric=right,
            dataset=DATASET,
            lm=lm,
            # With two models of one name DSPy caches no response, which makes tests faster.
            prompt_lm=lm if self.keeps_responses else writer,
            options=Options.declare(**{**SMALL, **options}),
            threads=1,
        )
        return replace(task, **values)

    def place(self, test: str = TEST) -> ReferenceLocation:
        """Return the location of the reference of a test."""
        command = COMMAND.replace(TEST, test)
        return ReferenceLocation.beside(
            self.root / "test_sums.py", [test], command=command, root=self.root
        )

    @contextmanager
    def session(
        self,
        *,
        store_url: str | None = None,
        account: Account | None = None,
        shared: Path | None = None,
        **policy: bool,
    ) -> Generator[Run]:
        """Start a run with a policy of these attributes."""
        session = Session(
            store_url=store_url or self.store_url,
            store_name=".mipro/store.db",
            folder=self.folder,
            who="another pytest run",
            around=self.recorder,
            policy=Policy(**policy),
            account=account,
            shared=shared,
        )
        try:
            yield Run(self, session)
        finally:
            session.close()

    def outcome(self, task: Task | None = None, **values: Any) -> Outcome:
        """Return the outcome of the only test of a run."""
        with self.session(**values) as run:
            return run.outcome(task)

    def estimate(self, task: Task | None = None, **values: Any) -> Estimate | None:
        """Return the estimate of the only test of a dry run."""
        with self.session(**values) as run:
            return run.estimate(task)

    def copied_to(self, root: Path, *names: str) -> Checkout:
        """Return another checkout with copies of these folders and with new models."""
        for name in names:
            shutil.copytree(self.root / name, root / name)
        return Checkout(root)


class FirstRun(NamedTuple):
    """The outcome of a run that compiled and accepted a task, and its checkout."""

    checkout: Checkout
    outcome: Outcome


@dataclass(frozen=True)
class Run:
    """A session and its checkout."""

    checkout: Checkout
    session: Session

    def outcome(self, task: Task | None = None) -> Outcome:
        """Return the outcome of a test."""
        task = task or self.checkout.task()
        return self.session.outcome(task, self._place(task))

    def estimate(self, task: Task | None = None) -> Estimate | None:
        """Return the estimate of a test."""
        task = task or self.checkout.task()
        return self.session.estimate(task, self._place(task))

    def _place(self, task: Task) -> ReferenceLocation:
        return self.checkout.place(task.test.rpartition("::")[2])


def instructed(program: Adder, instruction: str) -> Adder:
    """Set the instruction of a program, and return the program."""
    assert program.add.signature is not None
    program.add.signature = program.add.signature.with_instructions(instruction)
    return program


def with_demos(task: Task) -> dspy.Module:
    """Return the task's program with a labelled demo: an optimizer without LM calls."""
    program: dspy.Module = task.program.deepcopy()
    for predictor in program.predictors():
        predictor.demos = [task.dataset.train[0]]
    return program


@dataclass
class Host:
    """What an outcome asks of its session."""

    store_name: str = ".mipro/store.db"
    tolerant: bool = True
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)


def scorecard(scores: Sequence[float], costs: Sequence[ExampleCost | None] = ()) -> Scorecard:
    """Return a scorecard with these scores of sums."""
    examples = tuple(map(identity, sums(20, len(scores))))
    return Scorecard(examples, tuple(scores), Usage(len(scores)), costs=tuple(costs))


def scored(program: dspy.Module, card: Scorecard) -> ScoredProgram:
    """Return a program with the scores of a scorecard."""
    return ScoredProgram(program, card, tuple(map(ExampleResult, card.scores)))


def artifact_of(task: Task, program: dspy.Module) -> Artifact:
    """Return the artifact of a compiled program."""
    return Artifact("key", task.test, {}, {}, dump_state(program), Usage(9), 1.0, "2026-01-02")


def judged_of(
    task: Task, program: dspy.Module, baseline: Scorecard, compiled: Scorecard
) -> TaskResult:
    """Return the result of a task whose programs have these scores, as from the store."""
    return TaskResult(
        artifact=artifact_of(task, program),
        reasons=(),
        baseline=scored(task.program, baseline),
        compiled=scored(program, compiled),
        usage=Usage(),
        seconds=0.0,
    )


def outcome_of(
    root: Path,
    baseline: Scorecard,
    compiled: Scorecard,
    *,
    reference: ReferenceProgram | None = None,
    acceptance: Acceptance | None = None,
    host: Host | None = None,
    is_unchanged: bool = False,
) -> Outcome:
    """Return the outcome of programs with these scores."""
    checkout = Checkout(root)
    task = checkout.task(dataset=held_out(*sums(20, len(compiled.scores))))
    program = task.program if is_unchanged else with_demos(task)
    judged = judged_of(task, program, baseline, compiled)
    standing = ReferenceState(checkout.place(), reference, acceptance)
    return Outcome(task, judged, standing, host or Host())
