"""Demo sets: the first phase of MIPROv2.

A demo is a filled-in call of a predictor. Good demos are bootstrapped: the
teacher runs on training examples, and the calls of the runs that the metric
accepts become demos. Labelled demos are training examples, unchanged. The
search then chooses between several such sets (Opsahl-Ong et al., 2024,
section 3.2).
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import dspy

from pytest_mipro.canonical import digest
from pytest_mipro.dspy_internals import is_frozen
from pytest_mipro.errors import DeclarationError
from pytest_mipro.escaping import unencodable_in
from pytest_mipro.evaluate import FailureLimit, StoredWork, Work, gather
from pytest_mipro.fingerprint import demo_fields, prompts_key
from pytest_mipro.records import Trace
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from pytest_mipro.evaluate import Evaluator, WorkerPool
    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.records import Usage
    from pytest_mipro.store import Store

    _PendingTraces: TypeAlias = asyncio.Future[dict[int, Trace]]

T = TypeVar("T")

_LABELLED_SET = 1
_UNSHUFFLED_SET = 2
_RESERVE = 1.25
"""Attempts made per attempt that is expected to be needed: a second batch costs more time."""


@dataclass(frozen=True)
class DemoPlan:
    """How many demo sets to make, and of which demos.

    Attributes:
        sets: Number of sets, the student's own included.
        bootstrapped: Most demos per set taken from traces.
        labelled: Most demos per set, when filled up with labelled examples.
        threshold: The lowest score of a trace that becomes a demo; None accepts
            any score but 0.
    """

    sets: int
    bootstrapped: int
    labelled: int
    threshold: float | None

    def most_attempts(self, examples: int) -> int:
        """Return the most runs of the teacher on so many training examples: one on each."""
        return examples if self.sets > 1 and self.bootstrapped else 0


@dataclass(frozen=True)
class FirstDemos:
    """The bootstrapped demos from the first batch of attempts for a demo set.

    Attributes:
        demos: Demos from the traces that passed, by predictor path.
        suffice: Whether the demo set needs no more attempts.
    """

    demos: dict[str, DemoSet]
    suffice: bool


@dataclass(frozen=True)
class PendingDemoSet:
    """A demo set that is being made.

    Attributes:
        first: Its first bootstrapped demos.
        demos: The demos of the whole set, by predictor path.
    """

    first: asyncio.Future[FirstDemos]
    demos: asyncio.Future[dict[str, DemoSet]]


@dataclass(frozen=True)
class _SetPlan:
    """One demo set to make: the order of its attempts, and how many demos it needs."""

    order: tuple[int, ...]
    bootstrapped: int
    labelled: int
    threshold: float | None
    seed: str

    def passed(self, traces: Mapping[int, Trace]) -> list[int]:
        """Return the first examples whose traces pass, as many as the set needs."""
        attempted = (index for index in self.order if index in traces)
        passing = (index for index in attempted if traces[index].passes(self.threshold))
        return list(islice(passing, self.bootstrapped))

    def next_attempts(self, traces: Mapping[int, Trace]) -> list[int]:
        """Return the examples to attempt next: as many as the missing demos are likely to need."""
        passed = len(self.passed(traces))
        if passed == self.bootstrapped:
            return []
        # One imagined success and one imagined failure temper the first attempts.
        expected = (self.bootstrapped - passed) * (len(traces) + 2) / (passed + 1)
        untried = (index for index in self.order if index not in traces)
        return list(islice(untried, math.ceil(_RESERVE * expected)))


class _Attempt(NamedTuple):
    """The key of an attempt, the program that makes it, and the key of its prompts."""

    key: str
    program: dspy.Module
    prompts: str


class Bootstrap:
    """Makes demo sets out of training examples."""

    def __init__(  # ruff: ignore[too-many-arguments] - the parts of a phase
        self,
        *,
        evaluator: Evaluator,
        student: dspy.Module,
        teacher: dspy.Module | None,
        trainset: Sequence[dspy.Example],
        store: Store,
        workers: WorkerPool,
        failure_limit: FailureLimit | None,
    ) -> None:
        """Prepare to run the teacher on ``trainset``.

        Args:
            evaluator: Runs the teacher and scores its runs.
            student: The program that the demos are for.
            teacher: The program that makes the demos; None is the student.
            trainset: Labelled examples.
            store: Keeps the traces.
            workers: Run the teacher.
            failure_limit: How often the teacher may fail.
        """
        self._failure_limit = failure_limit or FailureLimit()
        self._evaluator = evaluator
        self._student = student
        self._teacher = student if teacher is None else teacher
        self._trainset = trainset
        self._stored_work: StoredWork[Trace] = StoredWork(
            store.traces, workers, lambda trace: trace.failure is not None
        )
        self._workers = workers
        self._usages: dict[str, Usage] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._failed: set[int] = set()
        _refuse_mismatch(self._student, self._teacher)

    def start(self, plan: DemoPlan, seed: int) -> list[PendingDemoSet]:
        """Start to make ``plan.sets`` demo sets.

        The first is the student's own, the second labelled examples, the
        third bootstrapped in the order of the training set, all others in a
        random order and number. If the first attempts of a set do not suffice,
        it takes from the first attempts of all sets, in its own order, before
        it makes more. Everything random comes from ``seed``.
        """
        teacher = self._with_labelled_demos(plan.labelled)
        self._prompts = prompts_key(teacher)
        plans = list(self._set_plans(plan, seed))
        start = self._workers.start
        firsts = [start(self._traces(teacher, one_set.next_attempts({}))) for one_set in plans]
        pending = [
            self._pending(*pair, teacher, firsts) for pair in zip(plans, firsts, strict=True)
        ]
        return [self._own(), *pending]

    def _own(self) -> PendingDemoSet:
        own = own_demos(self._student)
        return PendingDemoSet(_completed(FirstDemos(own, suffice=True)), _completed(own))

    @property
    def usages(self) -> list[Usage]:
        """The usage of each attempt so far, as it was when the attempt was made."""
        return list(self._usages.values())

    @property
    def failed(self) -> list[int]:
        """The training examples that the teacher failed on so far, or scored 0."""
        return sorted(self._failed)

    def _with_labelled_demos(self, labelled: int) -> dspy.Module:
        """Return a copy of the teacher, with labelled demos if it has none of its own."""
        teacher: dspy.Module = self._teacher.deepcopy()
        bare = not any(predictor.demos for predictor in teacher.predictors())
        if labelled and bare and not is_frozen(teacher):
            demos = _sample(list(self._trainset), labelled, random.Random(0))
            for predictor in teacher.predictors():
                predictor.demos = [example.copy() for example in demos]
        return teacher

    def _set_plans(self, plan: DemoPlan, seed: int) -> Iterator[_SetPlan]:
        rng = random.Random(seed)
        order = list(range(len(self._trainset)))
        for number in range(1, plan.sets):
            name = f"{seed}/{number}"
            if number == _LABELLED_SET and plan.labelled:
                yield _SetPlan((), 0, plan.labelled, plan.threshold, name)
                continue
            size = plan.bootstrapped
            if number > _UNSHUFFLED_SET:
                rng.shuffle(order)
                size = rng.randint(min(1, size), size)
            yield _SetPlan(tuple(order), size, plan.labelled, plan.threshold, name)

    def _pending(
        self,
        plan: _SetPlan,
        first: _PendingTraces,
        teacher: dspy.Module,
        firsts: Sequence[_PendingTraces],
    ) -> PendingDemoSet:
        start = self._workers.start
        traces = start(_first_traces(plan, first, firsts))
        return PendingDemoSet(
            start(self._first_demos(plan, traces)), start(self._demos(plan, traces, teacher))
        )

    async def _first_demos(self, plan: _SetPlan, pending: _PendingTraces) -> FirstDemos:
        traces = await pending
        passed = [traces[index] for index in plan.passed(traces)]
        demos = {path: _traced(path, passed) for path, _ in self._student.named_predictors()}
        return FirstDemos(demos, suffice=not plan.next_attempts(traces))

    async def _demos(
        self, plan: _SetPlan, pending: _PendingTraces, teacher: dspy.Module
    ) -> dict[str, DemoSet]:
        traces = await pending
        while batch := plan.next_attempts(traces):
            traces = {**traces, **await self._traces(teacher, batch)}
        indexes = plan.passed(traces)
        passed = [traces[index] for index in indexes]
        unused = [example for index, example in enumerate(self._trainset) if index not in indexes]
        return {
            path: _filled(path, passed, unused, plan)
            for path, _ in self._student.named_predictors()
        }

    async def _traces(self, teacher: dspy.Module, indexes: Sequence[int]) -> dict[int, Trace]:
        """Return the teacher's traces on training examples, made side by side."""
        self._stored_work.look_up([self._attempt(teacher, index).key for index in indexes])
        traces = await gather([self._trace(teacher, index) for index in indexes])
        self._failure_limit.check(traces)
        return dict(zip(indexes, traces, strict=True))

    async def _trace(self, teacher: dspy.Module, index: int) -> Trace:
        key, program, prompts = self._attempt(teacher, index)
        example = self._trainset[index]
        work = Work(trace_row, (self._evaluator, program), (example, key), prompts, example)
        trace = await self._stored_work.get(key, work)
        self._usages[key] = trace.usage
        if not trace.score:
            self._failed.add(index)
        return trace

    def _attempt(self, teacher: dspy.Module, index: int) -> _Attempt:
        """Return an attempt on a training example."""
        if index not in self._attempts:
            example = self._trainset[index]
            program = without_demos_of(teacher, example)
            # Most attempts are made by the teacher itself.
            prompts = self._prompts if program is teacher else prompts_key(program)
            key = digest([self._evaluator.key, "trace", prompts, example_digest(example)])
            self._attempts[index] = _Attempt(key, program, prompts)
        return self._attempts[index]


async def _first_traces(
    plan: _SetPlan, first: _PendingTraces, firsts: Sequence[_PendingTraces]
) -> dict[int, Trace]:
    """Return the traces of a set's first attempts and, if they do not suffice, of all sets'."""
    traces = await first
    if plan.next_attempts(traces):
        # The other sets' first attempts are made anyway.
        batches = await asyncio.gather(*firsts)
        traces = dict(chain.from_iterable(batch.items() for batch in batches))
    return traces


def _completed(value: T) -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def trace_row(evaluator: Evaluator, program: dspy.Module, example: dspy.Example, key: str) -> Trace:
    """Run ``program`` on ``example`` and return every predictor call as a demo.

    A call with half of a character, which a model wrote and none can be sent, is no demo.

    Raises:
        MiproError: As ``Evaluator.run``.
    """
    run = evaluator.run(program, example, traced=True)
    demos = {
        path: [call for call in calls if not any(unencodable_in(call, ""))]
        for path, calls in demos_of_steps(program, run.steps).items()
    }
    return Trace(key, run.score, demos, run.usage, run.failure)


def demos_of_steps(
    program: dspy.Module, steps: Sequence[tuple[object, dict[str, object], dspy.Prediction]]
) -> dict[str, list[dict[str, object]]]:
    """Return the predictor calls of a run as demos, by predictor path."""
    paths = {id(predictor): path for path, predictor in program.named_predictors()}
    demos: dict[str, list[dict[str, object]]] = {}
    for predictor, inputs, outputs in steps:
        path = paths.get(id(predictor))
        if path is not None:
            fields = {"augmented": True, **inputs, **outputs.toDict()}
            demos.setdefault(path, []).append(demo_fields(fields))
    return demos


def _filled(
    path: str, traces: Sequence[Trace], unused: Sequence[dspy.Example], plan: _SetPlan
) -> DemoSet:
    """Return a predictor's bootstrapped demos, filled up with labelled ones."""
    traced = _traced(path, traces)
    rng = random.Random(f"{plan.seed}/{path}")
    labelled = _sample(unused, plan.labelled - len(traced), rng)
    return (*traced, *(example.copy() for example in labelled))


def _traced(path: str, traces: Sequence[Trace]) -> DemoSet:
    return tuple(
        _one_call(trace.demos[path], trace.key) for trace in traces if trace.demos.get(path)
    )


def _one_call(calls: Sequence[dict[str, object]], seed: str) -> dspy.Example:
    """Draw one of a predictor's calls in a run: in half of the draws it is the last call."""
    rng = random.Random(seed)
    earlier = calls[:-1]
    return dspy.Example(rng.choice([rng.choice(earlier), calls[-1]] if earlier else calls))


def _sample(examples: Sequence[dspy.Example], count: int, rng: random.Random) -> list[dspy.Example]:
    return rng.sample(list(examples), max(0, min(count, len(examples))))


def without_demos_of(program: dspy.Module, example: dspy.Example) -> dspy.Module:
    """Return ``program`` without demos of ``example``, so that it cannot copy the answer."""
    inputs = demo_fields(example.inputs()).items()
    demos = [
        [demo for demo in predictor.demos if not demo_fields(demo).items() >= inputs]
        for predictor in program.predictors()
    ]
    if sum(map(len, demos)) == sum(len(predictor.demos) for predictor in program.predictors()):
        return program
    copied: dspy.Module = program.deepcopy()
    for predictor, kept_demos in zip(copied.predictors(), demos, strict=True):
        predictor.demos = kept_demos
    return copied


def own_demos(student: dspy.Module) -> dict[str, DemoSet]:
    """Return the demos that a program comes with, by predictor path."""
    return {path: tuple(predictor.demos) for path, predictor in student.named_predictors()}


def _refuse_mismatch(student: dspy.Module, teacher: dspy.Module) -> None:
    student_paths = [path for path, _ in student.named_predictors()]
    teacher_paths = [path for path, _ in teacher.named_predictors()]
    if student_paths != teacher_paths:
        message = (
            f"the teacher's predictors {teacher_paths} are not the student's {student_paths}; "
            "a teacher needs the same structure"
        )
        raise DeclarationError(message)
