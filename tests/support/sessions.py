"""Sessions without pytest: tasks, models, checkouts in which runs follow one another, outcomes."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy
from dspy import lm15
from dspy.signatures import make_signature
from scripted import ScriptedEngine

from pytest_mipro.fingerprint import described_once
from pytest_mipro.gate import LookCount
from pytest_mipro.records import Artifact, ExampleResult, Scorecard, Usage
from pytest_mipro.reference import (
    ReferenceLocation,
    accept_reference,
    first_history,
    read_reference,
    write_history,
)
from pytest_mipro.session import Callbacks, Outcome, Policy, Session, dump_state
from pytest_mipro.session.batches import Batches
from pytest_mipro.session.interim import InterimResults
from pytest_mipro.session.results import ReferenceProgram, ReferenceState, ScoredProgram, TaskResult
from pytest_mipro.task import OPTION_NAMES, Dataset, OptimizerChoice, Options, Task, example_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from pytest_mipro.optimize import Estimate
    from pytest_mipro.records import Acceptance, ExampleCost, Progress, Report
    from pytest_mipro.session.results import AnchorState
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
"""Options of the smallest search that has every phase."""
SUFFIXES = (".history.json", ".json", ".program.json")
"""The ends of the names of a reference's files."""
COMPILE, ROWS = 20, 12
"""Calls of a compile with the dataset below, and held-out rows of both programs."""


SUM = make_signature("question -> answer: int")
"""The signature of the programs below; to make one takes longer than a row."""


class Adder(dspy.Module):
    """Adds two numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.add = dspy.Predict(SUM)

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        prediction: dspy.Prediction = self.add(question=question)
        return prediction


class Renamed(dspy.Module):
    """Adds two numbers with a predictor of another name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sum = dspy.Predict(SUM)

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        prediction: dspy.Prediction = self.sum(question=question)
        return prediction


def right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the answer is right."""
    return bool(example.answer == prediction.answer)


def nearly_right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Return a score that falls with the distance to the answer."""
    return 1 - float(abs(example.answer - prediction.answer)) / 2


def sums(first: int, count: int) -> tuple[dspy.Example, ...]:
    """Return ``count`` sums with their answers; ranges that do not overlap share no sum."""
    return tuple(
        dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3).with_inputs("question")
        for i in range(first, first + count)
    )


TRAIN, VAL, HELD_OUT = sums(0, 3), sums(10, 4), sums(20, 6)
DATASET = Dataset(TRAIN, VAL, HELD_OUT)
NAMES = tuple(map(example_digest, HELD_OUT))
"""The identities of the held-out examples."""


def held_out(*examples: dspy.Example) -> Dataset:
    """Return the dataset with other held-out examples."""
    return Dataset(TRAIN, VAL, examples)


def grown(count: int) -> Dataset:
    """Return the dataset with ``count`` more held-out examples."""
    return held_out(*HELD_OUT, *sums(40, count))


class Model:
    """An engine that adds wrongly without demos and rightly with demos, by default.

    It holds the scripted engine instead of being one, so that the keys of a task need not
    follow all of its code each time.

    Attributes:
        questions: The last turns of the requests so far.
        limit: Calls after which its key is revoked; None for never.
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
        """How many requests it has answered."""
        return len(self.questions)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        if self.limit is not None and self.calls >= self.limit:
            message = "the key was revoked"
            raise lm15.AuthError(message)
        self.questions.append(request.messages[-1].text or "")
        return self._engine.complete(request)

    def __deepcopy__(self, _memo: object) -> Model:
        """Return this model: copies of a program share it, so that it counts all calls."""
        return self

    def drift_to(self, engine: ScriptedEngine) -> None:
        """Answer like another engine from now on, under the same name."""
        self._engine = engine

    def dump_state(self) -> dict[str, int]:
        """Return the content that a key has of the model."""
        return self._state


def adding(base: int = 0, per_demo: int = 100) -> Model:
    """Return a model that adds rightly for ``base`` of a hundred requests without demos."""
    return Model(ScriptedEngine(base=base, per_demo=per_demo))


@dataclass
class Recorder:
    """Records the calls that a session makes to its callbacks.

    Attributes:
        events: The calls, in their order; a phase of work is recorded once.
        lines: The lines that the session showed.
        warnings: The warnings about tests and their tasks.
        progress: The progress of the latest work.
        parts: Further parts of the compile key.
        optimizer: Compiles a task instead of MIPROv2, or returns None; None if there is no hook.
        on_event: Called with each event.
    """

    events: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    progress: Progress | None = None
    parts: Mapping[str, object] = field(default_factory=dict)
    optimizer: Callable[[Task], Any] | None = None
    on_event: Callable[[str], object] = lambda _: None

    @property
    def reasons(self) -> list[str]:
        """Why tasks were compiled, in their order."""
        prefix = f"mipro: {TEST}: compiling: "
        return [line.removeprefix(prefix) for line in self.lines if line.startswith(prefix)]

    def callbacks(self) -> Callbacks:
        """Return the callbacks of a session."""
        return Callbacks(
            fingerprint=self._fingerprint,
            show_line=self._show_line,
            show_progress=self._show_progress,
            warn=self.warnings.append,
            run_in_test=lambda work: work(),
        )

    @property
    def hook(self) -> Callable[[Task], Any] | None:
        """The hook of a plugin that compiles tasks, if there is one."""
        return None if self.optimizer is None else self._optimize

    def _optimize(self, task: Task) -> Any:
        assert self.optimizer is not None
        self._record("optimize")
        return self.optimizer(task)

    def _fingerprint(self, _: Task) -> Mapping[str, object]:
        self._record("fingerprint")
        return self.parts

    def _show_line(self, line: str) -> None:
        self.lines.append(line)
        self._record(line)

    def _show_progress(self, _: Task, progress: Progress) -> None:
        self.progress = progress
        if self.events[-1:] != [progress.phase]:
            self._record(progress.phase)

    def _record(self, event: str) -> None:
        self.events.append(event)
        self.on_event(event)


@dataclass
class Checkout:
    """A folder with a store and references, in which one run follows another.

    Attributes:
        root: The folder.
        model: Answers for programs.
        writer: Writes instructions; where DSPy is to cache responses, ``model`` does.
        recorder: Records the callbacks of all sessions.
        caches_responses: Whether DSPy caches the responses of models.
    """

    root: Path
    model: Model = field(default_factory=adding)
    writer: Model = field(default_factory=partial(adding, 50, 0))
    recorder: Recorder = field(default_factory=Recorder)
    caches_responses: bool = False

    @property
    def calls(self) -> int:
        """How many requests the models have answered, over all runs."""
        return self.model.calls + self.writer.calls

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        return self.root / ".mipro"

    @property
    def store(self) -> Path:
        """The file of the store."""
        return self.folder / "store.db"

    @property
    def store_url(self) -> str:
        """The URL of the store."""
        return f"sqlite:///{self.store}"

    @property
    def references(self) -> dict[str, bytes]:
        """The content of all files under ``__mipro__``, by their names."""
        files = (path for path in (self.root / "__mipro__").rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in sorted(files)}

    def task(self, test: str = TEST, **values: Any) -> Task:
        """Return what a test declares; ``values`` replace options and fields of the task."""
        options = {name: values.pop(name) for name in OPTION_NAMES if name in values}
        lm = dspy.LM("scripted", engine=self.model, cache=self.caches_responses)
        writer = dspy.LM("scripted", engine=self.writer, cache=False)
        task = Task(
            name=test,
            test=f"test_sums.py::{test}",
            program=Adder(),
            metric=right,
            dataset=DATASET,
            lm=lm,
            # DSPy caches nothing for two models of one name, which saves these tests much time.
            prompt_lm=lm if self.caches_responses else writer,
            optimizer=OptimizerChoice(hook=self.recorder.hook),
            options=Options.checked(**{**SMALL, **options}),
            threads=1,
        )
        return replace(task, **values)

    def location(self, test: str = TEST) -> ReferenceLocation:
        """Return where the reference of a test is."""
        command = COMMAND.replace(TEST, test)
        file = self.root / "test_sums.py"
        return ReferenceLocation.beside(file, [test], command=command, root=self.root)

    @contextmanager
    def session(
        self,
        *,
        store_url: str | None = None,
        account: Account | None = None,
        shared_folder: Path | None = None,
        **policy: Any,
    ) -> Generator[Run]:
        """Start a run; ``policy`` has what the user sets for all its tests."""
        session = Session(
            store_url=store_url or self.store_url,
            store_name=".mipro/store.db",
            folder=self.folder,
            process_name="another pytest run",
            callbacks=self.recorder.callbacks(),
            policy=Policy(**policy),
            account=account,
            shared_folder=shared_folder,
        )
        try:
            yield Run(self, session)
        finally:
            session.close()

    def outcome(self, task: Task | None = None, **values: Any) -> Outcome:
        """Return the outcome of the only test of a run."""
        with self.session(**values) as run:
            return run.outcome(task)

    def report(self, task: Task | None = None, **values: Any) -> Report:
        """Return the report of the only test of a run."""
        return self.outcome(task, **values).report()

    def acceptance(self, task: Task | None = None, **values: Any) -> Acceptance:
        """Return what a run changes in the reference of its only test."""
        acceptance = self.report(task, update=True, **values).acceptance
        assert acceptance is not None
        return acceptance

    def estimate(self, task: Task | None = None, **values: Any) -> Estimate | None:
        """Return what a dry run estimates for its only test."""
        with self.session(**values) as run:
            return run.estimate(task)

    def edit_reference(self, **values: Any) -> None:
        """Replace values of the accepted reference, whose history begins with it then."""
        location = self.location()
        reference = read_reference(location)
        assert reference is not None
        edited = replace(reference, **values)
        accept_reference(location, edited, reference, fields={})
        write_history(location, first_history(edited))

    def copied_to(self, root: Path, *names: str) -> Checkout:
        """Copy folders of this checkout to another one, whose models have answered nothing."""
        for name in names:
            shutil.copytree(self.root / name, root / name)
        return Checkout(root)


class FirstRun(NamedTuple):
    """A run that compiled and accepted a task, and its checkout."""

    checkout: Checkout
    outcome: Outcome


@dataclass(frozen=True)
class Run:
    """A session, and the checkout in which it runs."""

    checkout: Checkout
    session: Session

    def outcome(self, task: Task | None = None) -> Outcome:
        """Return the outcome of a test."""
        task = task or self.checkout.task()
        with described_once():  # as the plugin does
            return self.session.outcome(task, self._location(task))

    def report(self, test: str = TEST, **values: Any) -> Report:
        """Return the report of a test; ``values`` are those of its task."""
        return self.outcome(self.checkout.task(test, **values)).report()

    def estimate(self, task: Task | None = None) -> Estimate | None:
        """Return the estimate for a test."""
        task = task or self.checkout.task()
        with described_once():
            return self.session.estimate(task, self._location(task))

    def _location(self, task: Task) -> ReferenceLocation:
        return self.checkout.location(task.test.rpartition("::")[2])


def instructed(program: Adder, instruction: str) -> Adder:
    """Give a program another instruction, and return it."""
    assert program.add.signature is not None
    program.add.signature = program.add.signature.with_instructions(instruction)
    return program


def with_demos(task: Task) -> dspy.Module:
    """Return the task's program with a labelled demo; an optimizer that asks no model."""
    program: dspy.Module = task.program.deepcopy()
    for predictor in program.predictors():
        predictor.demos = [task.dataset.train[0]]
    return program


def unchanged(task: Task) -> dspy.Module:
    """Return a copy of the task's program; an optimizer that finds nothing better."""
    program: dspy.Module = task.program.deepcopy()
    return program


def scorecard(scores: Sequence[float], costs: Sequence[ExampleCost | None] = ()) -> Scorecard:
    """Return the scorecard of the first held-out examples."""
    return Scorecard(NAMES[: len(scores)], tuple(scores), Usage(len(scores)), costs=tuple(costs))


def scored(program: dspy.Module, card: Scorecard) -> ScoredProgram:
    """Return a program with its scores."""
    return ScoredProgram(program, card, tuple(map(ExampleResult, card.scores)))


def result_of(
    task: Task, program: dspy.Module, baseline: Scorecard, compiled: Scorecard
) -> TaskResult:
    """Return both programs of a task with these scores, as the store has them."""
    state = dump_state(program)
    return TaskResult(
        artifact=Artifact("key", task.test, {}, state, Usage(9), 1.0, "2026-01-02"),
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
    anchor: AnchorState | None = None,
    look: LookCount | None = None,
    stale: str = "",
    tones: tuple[Scorecard, Scorecard] | None = None,
    optimizer: Callable[[Task], dspy.Module] = with_demos,
    tolerant: bool = True,
    defers_fails: bool = False,
    warn: Callable[..., None] | None = None,
) -> Outcome:
    """Return the outcome of programs with these scores, and these by the further metric tone."""
    checkout = Checkout(root)
    task = checkout.task(dataset=held_out(*HELD_OUT[: len(compiled.scores)]))
    result = result_of(task, optimizer(task), baseline, compiled)
    if tones is not None:
        task = replace(task, metric_name="exact", further_metrics={"tone": right})
        programs = zip((result.baseline, result.compiled), tones, strict=True)
        first, second = (
            replace(program, further={"tone": tone}, metric_name="exact")
            for program, tone in programs
        )
        result = replace(result, baseline=first, compiled=second)
    return Outcome(
        task,
        InterimResults(Batches.of(task), 1, result, lambda _: result),
        ReferenceState(checkout.location(), reference, acceptance, stale, anchor=anchor),
        lambda: look or LookCount(1, len(compiled.scores)),
        store_name=".mipro/store.db",
        tolerant=tolerant,
        defers_fails=defers_fails,
        warn=warn or checkout.recorder.callbacks().warn,
    )
