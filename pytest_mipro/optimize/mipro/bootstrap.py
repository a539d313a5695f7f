"""
Demo sets: the first phase of MIPROv2.

A demo is a filled-in call of a predictor. The good ones are bootstrapped: the
teacher runs on training examples, and the calls of the runs that the metric
accepts become demos. The others are labelled training examples as they are.
The search then chooses between several such sets (Opsahl-Ong et al., 2024,
section 3.2).
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

import dspy

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DeclarationError
from pytest_mipro.evaluate import StoredWork, gather
from pytest_mipro.fingerprint import demo_fields, of_prompts
from pytest_mipro.records import Trace
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from pytest_mipro.evaluate import Evaluator, WorkerPool
    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.records import Usage
    from pytest_mipro.store import Store

    _Trying: TypeAlias = asyncio.Future[dict[int, Trace]]

T = TypeVar("T")

_LABELLED_SET = 1
_UNSHUFFLED_SET = 2
_RESERVE = 1.25
"""Attempts made for each that is expected to be needed: another round of waiting costs more."""


@dataclass(frozen=True)
class DemoPlan:
    """
    How many demo sets to make, and of what.

    Attributes:
        sets: Number of sets, the student's own included.
        bootstrapped: Most demos per set taken from traces.
        labelled: Most demos per set, when filled up with labelled examples.
        threshold: What a trace must score; None accepts any score but 0.

    """

    sets: int
    bootstrapped: int
    labelled: int
    threshold: float | None


@dataclass(frozen=True)
class Draft:
    """
    What the attempts that a demo set begins with came to.

    Attributes:
        demos: Demos from those that passed, by predictor path.
        suffices: Whether the set needs no more attempts.

    """

    demos: dict[str, DemoSet]
    suffices: bool


@dataclass(frozen=True)
class Making:
    """
    A demo set in the making.

    Attributes:
        draft: What it begins with.
        made: The demos of the whole set, by predictor path.

    """

    draft: asyncio.Future[Draft]
    made: asyncio.Future[dict[str, DemoSet]]


@dataclass(frozen=True)
class _SetPlan:
    """One set to make: traces wanted, examples in the order they are tried."""

    order: tuple[int, ...]
    bootstrapped: int
    labelled: int
    threshold: float | None
    seed: str

    def passed(self, tried: Mapping[int, Trace]) -> list[int]:
        """Return the first examples whose traces pass, as many as are wanted."""
        found = (index for index in self.order if index in tried)
        passing = (index for index in found if tried[index].passes(self.threshold))
        return list(islice(passing, self.bootstrapped))

    def lacking(self, tried: Mapping[int, Trace]) -> list[int]:
        """Return the examples to try next: as many as the missing demos presumably take."""
        passed = len(self.passed(tried))
        if passed == self.bootstrapped:
            return []
        # One success and one failure are imagined, lest the first attempts decide too much.
        expected = (self.bootstrapped - passed) * (len(tried) + 2) / (passed + 1)
        untried = (index for index in self.order if index not in tried)
        return list(islice(untried, math.ceil(_RESERVE * expected)))


class Bootstrap:
    """Makes demo sets out of training examples."""

    def __init__(  # ruff: ignore[too-many-arguments] - the parts a phase is made of
        self,
        *,
        bench: Evaluator,
        student: dspy.Module,
        teacher: dspy.Module | None,
        trainset: Sequence[dspy.Example],
        store: Store,
        workers: WorkerPool,
    ) -> None:
        """
        Prepare to run the teacher on ``trainset``.

        Args:
            bench: What the teacher runs with.
            student: The program the demos are for.
            teacher: The program that shows how; None is the student itself.
            trainset: Labelled examples.
            store: Where traces are kept.
            workers: Where the teacher runs.

        """
        self._bench = bench
        self._student = student
        self._teacher = student if teacher is None else teacher
        self._trainset = trainset
        self._once: StoredWork[Trace] = StoredWork(store.traces, workers)
        self._workers = workers
        self._usages: dict[str, Usage] = {}
        self._asked: dict[int, tuple[str, dspy.Module]] = {}
        _refuse_mismatch(self._student, self._teacher)

    def start(self, plan: DemoPlan, seed: int) -> list[Making]:
        """
        Start to make ``plan.sets`` demo sets.

        The first is the student's own, the second labelled examples, the
        third bootstrapped in the order of the training set, all others in a
        random order and number. Where the attempts that a set begins with do
        not suffice, it takes from those of all sets, in its own order, before
        more are made. Everything random comes from ``seed``.
        """
        teacher = self._taught(plan.labelled)
        self._prompts = of_prompts(teacher)
        plans = list(self._plans(plan, seed))
        begun = [self._workers.start(self._try(teacher, each.lacking({}))) for each in plans]
        making = [self._making(*each, teacher, begun) for each in zip(plans, begun, strict=True)]
        return [self._own(), *making]

    def _own(self) -> Making:
        own = own_demos(self._student)
        return Making(_known(Draft(own, suffices=True)), _known(own))

    @property
    def usages(self) -> list[Usage]:
        """What each attempt so far took, when it was made."""
        return list(self._usages.values())

    def _taught(self, labelled: int) -> dspy.Module:
        teacher: dspy.Module = self._teacher.deepcopy()
        bare = not any(predictor.demos for predictor in teacher.predictors())
        if labelled and bare and not getattr(teacher, "_compiled", False):
            shown = _sample(list(self._trainset), labelled, random.Random(0))
            for predictor in teacher.predictors():
                predictor.demos = [example.copy() for example in shown]
        return teacher

    def _plans(self, plan: DemoPlan, seed: int) -> Iterator[_SetPlan]:
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

    def _making(
        self, plan: _SetPlan, first: _Trying, teacher: dspy.Module, begun: Sequence[_Trying]
    ) -> Making:
        start = self._workers.start
        trying = start(_begin(plan, first, begun))
        return Making(start(self._draft(plan, trying)), start(self._make(plan, trying, teacher)))

    async def _draft(self, plan: _SetPlan, trying: _Trying) -> Draft:
        tried = await trying
        traces = [tried[index] for index in plan.passed(tried)]
        demos = {path: _traced(path, traces) for path, _ in self._student.named_predictors()}
        return Draft(demos, suffices=not plan.lacking(tried))

    async def _make(
        self, plan: _SetPlan, trying: _Trying, teacher: dspy.Module
    ) -> dict[str, DemoSet]:
        tried = await trying
        while batch := plan.lacking(tried):
            tried = {**tried, **await self._try(teacher, batch)}
        chosen = plan.passed(tried)
        traces = [tried[index] for index in chosen]
        unused = [example for index, example in enumerate(self._trainset) if index not in chosen]
        return {
            path: _filled(path, traces, unused, plan)
            for path, _ in self._student.named_predictors()
        }

    async def _try(self, teacher: dspy.Module, indexes: Sequence[int]) -> dict[int, Trace]:
        """Return what the teacher makes of examples, side by side."""
        self._once.look_up([self._named(teacher, index)[0] for index in indexes])
        traces = await gather([self._attempt(teacher, index) for index in indexes])
        return dict(zip(indexes, traces, strict=True))

    async def _attempt(self, teacher: dspy.Module, index: int) -> Trace:
        key, program = self._named(teacher, index)
        asked = self._bench, program, self._trainset[index], key
        trace = await self._once.get(key, trace_row, *asked)
        self._usages[key] = trace.usage
        return trace

    def _named(self, teacher: dspy.Module, index: int) -> tuple[str, dspy.Module]:
        """Return what an attempt is kept under, and the program that makes it."""
        if index not in self._asked:
            example = self._trainset[index]
            program = _without(teacher, example)
            # Most attempts are made by the teacher itself.
            prompts = self._prompts if program is teacher else of_prompts(program)
            key = digest([self._bench.key, "trace", prompts, identity(example)])
            self._asked[index] = key, program
        return self._asked[index]


async def _begin(plan: _SetPlan, first: _Trying, begun: Sequence[_Trying]) -> dict[int, Trace]:
    """Return what a set begins with: its own attempts and, if need be, those of all sets."""
    tried = await first
    if plan.lacking(tried):
        # What the other sets have begun with is paid for, and there by now.
        tried = dict(chain.from_iterable(each.items() for each in await asyncio.gather(*begun)))
    return tried


def _known(value: T) -> asyncio.Future[T]:
    known: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    known.set_result(value)
    return known


def trace_row(bench: Evaluator, program: dspy.Module, example: dspy.Example, key: str) -> Trace:
    """
    Run ``program`` on ``example`` and keep every predictor call as a demo.

    Raises:
        MiproError: As ``Evaluator.run``.

    """
    run = bench.run(program, example, traced=True)
    return Trace(key, run.score, _demos(program, run.steps), run.usage)


def _demos(
    program: dspy.Module, steps: Sequence[tuple[object, dict[str, object], dspy.Prediction]]
) -> dict[str, list[dict[str, object]]]:
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
    traced = _traced(path, traces)
    rng = random.Random(f"{plan.seed}/{path}")
    labelled = _sample(unused, plan.labelled - len(traced), rng)
    return (*traced, *(example.copy() for example in labelled))


def _traced(path: str, traces: Sequence[Trace]) -> DemoSet:
    return tuple(_one_of(trace.demos[path], trace.key) for trace in traces if trace.demos.get(path))


def _one_of(calls: Sequence[dict[str, object]], seed: str) -> dspy.Example:
    """Pick one call of a predictor that was called several times: the last, or any before."""
    rng = random.Random(seed)
    earlier = calls[:-1]
    return dspy.Example(rng.choice([rng.choice(earlier), calls[-1]] if earlier else calls))


def _sample(examples: Sequence[dspy.Example], count: int, rng: random.Random) -> list[dspy.Example]:
    return rng.sample(list(examples), max(0, min(count, len(examples))))


def _without(teacher: dspy.Module, example: dspy.Example) -> dspy.Module:
    """Return the teacher without ``example`` among its demos, lest it copy the answer."""
    if all(example not in predictor.demos for predictor in teacher.predictors()):
        return teacher
    program: dspy.Module = teacher.deepcopy()
    for predictor in program.predictors():
        predictor.demos = [demo for demo in predictor.demos if demo != example]
    return program


def own_demos(student: dspy.Module) -> dict[str, DemoSet]:
    """Return the demos a program has already, by predictor path."""
    return {path: tuple(predictor.demos) for path, predictor in student.named_predictors()}


def _refuse_mismatch(student: dspy.Module, teacher: dspy.Module) -> None:
    expected = [path for path, _ in student.named_predictors()]
    found = [path for path, _ in teacher.named_predictors()]
    if expected != found:
        message = (
            f"the teacher's predictors {found} are not the student's {expected}; "
            "a teacher needs the same structure"
        )
        raise DeclarationError(message)
