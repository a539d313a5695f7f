"""
Demo sets: the first phase of MIPROv2.

A demo is a filled-in call of a predictor. The good ones are bootstrapped: the
teacher runs on training examples, and the calls of the runs that the metric
accepts become demos. The others are labelled training examples as they are.
The search then chooses between several such sets (Opsahl-Ong et al., 2024,
section 3.2).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import dspy

from pytest_mipro.canonical import digest
from pytest_mipro.dataset import identity
from pytest_mipro.errors import DeclarationError
from pytest_mipro.evaluate.workers import Once, together
from pytest_mipro.fingerprint import demo_fields, of_prompts
from pytest_mipro.records import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_mipro.evaluate.runner import Bench
    from pytest_mipro.evaluate.workers import Workers
    from pytest_mipro.optimize.space import DemoSet
    from pytest_mipro.store import Store

_LABELLED_SET = 1
_UNSHUFFLED_SET = 2


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
class _SetPlan:
    """One set to make: traces wanted, examples in the order they are tried."""

    order: tuple[int, ...]
    bootstrapped: int
    labelled: int
    seed: str


class Bootstrap:
    """Makes demo sets out of training examples."""

    def __init__(  # ruff: ignore[too-many-arguments] - the parts a phase is made of
        self,
        *,
        bench: Bench,
        student: dspy.Module,
        teacher: dspy.Module | None,
        trainset: Sequence[dspy.Example],
        store: Store,
        workers: Workers,
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
        self._once: Once[Trace] = Once(store.traces, workers)
        _refuse_mismatch(self._student, self._teacher)

    async def sets(self, plan: DemoPlan, seed: int) -> list[dict[str, DemoSet]]:
        """
        Return ``plan.sets`` demo sets, each by predictor path.

        The first is the student's own, the second labelled examples, the
        third bootstrapped in the order of the training set, all others in a
        random order and number. Everything random comes from ``seed``.
        """
        teacher = self._taught(plan.labelled)
        made = await together(
            [self._make(each, plan.threshold, teacher) for each in self._plans(plan, seed)]
        )
        return [own_demos(self._student), *made]

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
                yield _SetPlan((), 0, plan.labelled, name)
                continue
            size = plan.bootstrapped
            if number > _UNSHUFFLED_SET:
                rng.shuffle(order)
                size = rng.randint(min(1, size), size)
            yield _SetPlan(tuple(order), size, plan.labelled, name)

    async def _make(
        self, plan: _SetPlan, threshold: float | None, teacher: dspy.Module
    ) -> dict[str, DemoSet]:
        traces = await self._traces(plan, threshold, teacher)
        unused = [example for index, example in enumerate(self._trainset) if index not in traces]
        return {
            path: _filled(path, list(traces.values()), unused, plan)
            for path, _ in self._student.named_predictors()
        }

    async def _traces(
        self, plan: _SetPlan, threshold: float | None, teacher: dspy.Module
    ) -> dict[int, Trace]:
        """Try examples in order, always exactly as many at once as are still needed."""
        kept: dict[int, Trace] = {}
        left = iter(plan.order)
        while batch := list(islice(left, plan.bootstrapped - len(kept))):
            attempts = await together([self._attempt(teacher, index) for index in batch])
            kept.update(
                (index, trace)
                for index, trace in zip(batch, attempts, strict=True)
                if trace.passes(threshold)
            )
        return kept

    async def _attempt(self, teacher: dspy.Module, index: int) -> Trace:
        example = self._trainset[index]
        program = _without(teacher, example)
        key = digest([self._bench.key, "trace", of_prompts(program), identity(example)])
        return await self._once.get(key, trace_row, self._bench, program, example, key)


def trace_row(bench: Bench, program: dspy.Module, example: dspy.Example, key: str) -> Trace:
    """
    Run ``program`` on ``example`` and keep every predictor call as a demo.

    Raises:
        MiproError: As ``Bench.run``.

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
    augmented = [_one_of(trace.demos[path], trace.key) for trace in traces if trace.demos.get(path)]
    rng = random.Random(f"{plan.seed}/{path}")
    labelled = _sample(unused, plan.labelled - len(augmented), rng)
    return (*augmented, *(example.copy() for example in labelled))


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
