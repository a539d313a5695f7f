"""Mistakes: runs of a program on training examples that score less than others.

They are what the prompt model is shown when it rewrites an instruction. Labels
and answers are texts of users and models, so a mistake is shown as a line of
JSON, in which each text has at most ``_LONGEST`` characters.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_mipro.canonical import cut_texts, digest
from pytest_mipro.evaluate import StoredWork, Work, gather
from pytest_mipro.fingerprint import demo_fields, prompts_key
from pytest_mipro.optimize.mipro.bootstrap import demos_of_steps, without_demos_of
from pytest_mipro.records import Trace
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dspy

    from pytest_mipro.evaluate import Evaluator, FailureLimit, WorkerPool
    from pytest_mipro.store import Store

_LONGEST = 1000
"""Characters of a text that is shown."""
_MOST_LABELS = 20
"""Different labels of a classification whose confusions are counted."""
_LONGEST_LABEL = 60
_MOST_CONFUSIONS = 10


@dataclass(frozen=True)
class Mistake:
    """A run that scored less than it could.

    Attributes:
        index: The index of the training example.
        example: The training example.
        trace: The run.
    """

    index: int
    example: dspy.Example
    trace: Trace

    def shown(self, path: str) -> str:
        """Return the mistake as the writer for one predictor is shown it: one line of JSON."""
        trace = self.trace
        inputs = demo_fields(self.example.inputs())
        calls = trace.demos.get(path) or [{}]
        repeated = {"augmented": True, **inputs}
        call = {name: value for name, value in calls[-1].items() if repeated.get(name) != value}
        parts = {
            "inputs": inputs,
            "call": call or None,
            "result": None if trace.prediction == call else trace.prediction,
            "wanted": demo_fields(self.example.labels()),
            "score": trace.score,
            "feedback": trace.feedback or None,
            "error": f"{trace.failure.type}: {trace.failure.message}" if trace.failure else None,
        }
        shown = {name: part for name, part in parts.items() if part is not None}
        return json.dumps(cut_texts(shown, _LONGEST), ensure_ascii=False)


class _Attempt(NamedTuple):
    """The key of a run, the program that makes it, the key of its prompts, and its example."""

    key: str
    program: dspy.Module
    prompts: str
    example: dspy.Example


class TrainingRuns:
    """Runs candidates on training examples, each pair once."""

    def __init__(
        self,
        evaluator: Evaluator,
        trainset: Sequence[dspy.Example],
        store: Store,
        workers: WorkerPool,
        failure_limit: FailureLimit,
    ) -> None:
        """Prepare to run programs with ``evaluator`` on ``trainset``; ``store`` keeps the runs."""
        self.trainset = trainset
        self._evaluator = evaluator
        self._failure_limit = failure_limit
        self._latest: tuple[str, tuple[int, ...], list[_Attempt]] = ("", (), [])
        self._work: StoredWork[Trace] = StoredWork(
            store.traces, workers, lambda trace: trace.failure is not None
        )

    def count_new(self, program: dspy.Module, indexes: Sequence[int]) -> int:
        """Count the runs of ``program`` on examples that the store does not have."""
        keys = [attempt.key for attempt in self._attempts(program, indexes)]
        self._work.look_up(keys)
        return sum(map(self._work.is_new, keys))

    async def run(self, program: dspy.Module, indexes: Sequence[int]) -> list[Trace]:
        """Run ``program`` on training examples, or return the runs that were made before.

        Failures count only where ``mistakes`` asks: these runs may be of no use.
        """
        return await gather([*map(self._trace, self._attempts(program, indexes))])

    async def mistakes(self, program: dspy.Module, indexes: Sequence[int]) -> list[Mistake]:
        """Run ``program`` on training examples and return its mistakes, the worst first."""
        traces = await self.run(program, indexes)
        self._failure_limit.check(traces)
        # Most metrics end at 1; of others, the best run shows how high a score can be.
        best = max([1.0, *map(_value, traces)])
        mistakes = [
            Mistake(index, self.trainset[index], trace)
            for index, trace in zip(indexes, traces, strict=True)
            if _value(trace) < best
        ]
        return sorted(mistakes, key=lambda mistake: _value(mistake.trace))

    async def _trace(self, attempt: _Attempt) -> Trace:
        shared, own = (self._evaluator, attempt.program), (attempt.example, attempt.key)
        work = Work(run_on_example, shared, own, attempt.prompts, attempt.example)
        return await self._work.get(attempt.key, work)

    def _attempts(self, program: dspy.Module, indexes: Sequence[int]) -> list[_Attempt]:
        """Return a run on each of the training examples."""
        # The latest ones are asked for twice: to count them, and to run them.
        prompts, places = prompts_key(program), tuple(indexes)
        if self._latest[:2] != (prompts, places):
            examples = [self.trainset[index] for index in places]
            attempts = [self._attempt(program, prompts, example) for example in examples]
            self._latest = prompts, places, attempts
        return self._latest[2]

    def _attempt(self, program: dspy.Module, prompts: str, example: dspy.Example) -> _Attempt:
        runnable = without_demos_of(program, example)
        if runnable is not program:
            prompts = prompts_key(runnable)
        content = [self._evaluator.key, "run", prompts, example_digest(example)]
        return _Attempt(digest(content), runnable, prompts, example)


def run_on_example(
    evaluator: Evaluator, program: dspy.Module, example: dspy.Example, key: str
) -> Trace:
    """Run ``program`` on a training example, scored as a validation example is.

    Raises:
        MiproError: As ``Evaluator.run``.
    """
    run = evaluator.run(program, example)
    demos = demos_of_steps(program, run.steps)
    return Trace(key, run.score, demos, run.usage, run.failure, run.prediction, run.feedback)


def confusions(mistakes: Sequence[Mistake], trainset: Sequence[dspy.Example]) -> str:
    """Return which label was answered for which, and how often; empty if there are no classes."""
    labels = [demo_fields(example.labels()) for example in trainset]
    names = _classes(labels)
    pairs = Counter(
        chain.from_iterable(_confused(mistake, name) for mistake in mistakes for name in names)
    )
    return "\n".join(
        f"{json.dumps(answered)} instead of {json.dumps(label)} ({name}): {count}"
        for (name, label, answered), count in pairs.most_common(_MOST_CONFUSIONS)
    )


def _classes(labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fields whose labels are few and short, and come again and again."""
    names = dict.fromkeys(chain.from_iterable(labels))
    values = {name: [fields.get(name) for fields in labels] for name in names}
    return [
        name
        for name, of_name in values.items()
        if all(isinstance(value, str) and len(value) <= _LONGEST_LABEL for value in of_name)
        and 1 < len(set(of_name)) <= min(_MOST_LABELS, len(of_name) // 2)
    ]


def _confused(mistake: Mistake, name: str) -> list[tuple[str, str, str]]:
    prediction = mistake.trace.prediction
    answered = prediction.get(name) if isinstance(prediction, dict) else None
    label = demo_fields(mistake.example.labels())[name]
    if not isinstance(answered, str) or len(answered) > _LONGEST_LABEL or answered == label:
        return []
    return [(name, label, answered)]


def _value(trace: Trace) -> float:
    return float("-inf") if trace.score is None else trace.score
