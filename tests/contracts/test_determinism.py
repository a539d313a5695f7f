"""A compile has the same outcome at any number of threads."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import dspy
import pytest
from dspy import lm15
from dspy.signatures import make_signature
from hypothesis import settings

from pytest_mipro import MIPROv2
from pytest_mipro.canonical import canonical_json
from pytest_mipro.session import dump_state
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

IS_THOROUGH = settings().max_examples > 100
TASKS = 20 if IS_THOROUGH else 10
THREADS = (4, 16, 64)
"""One thread is compared with all of these, or with one in the quick profile."""
PAUSE = 0.001
"""Most seconds of a call per thread, so that a compile takes as long at any number of them."""

_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_SUM = re.compile(r"(\d+) \+ (\d+)")
_system_random = random.SystemRandom()


class Engine:
    """Decides every answer by a hash of the request, after a random pause.

    Args:
        base: Percentage of right answers; instruction and demos add to it.
        garbled: Percentage of unreadable answers.
        pause: Most seconds of a call; no seed decides how long it takes.
    """

    supports_response_schema = False
    supported_params: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens"})

    def __init__(self, base: int, garbled: int, pause: float) -> None:
        self.finished: list[str] = []
        self._base = base
        self._garbled = garbled
        self._pause = pause

    def complete(self, request: lm15.Request) -> lm15.Response:
        time.sleep(self._pause * _system_random.random() ** 4)
        turns = [message.text or "" for message in request.messages]
        digest = _digest(str(request.system), *turns)
        self.finished.append(digest)
        return lm15.Response(
            id="decided",
            model=request.model,
            message=lm15.Message.assistant(self._text(str(request.system), turns, int(digest, 16))),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )

    def dump_state(self) -> dict[str, int]:
        return {"base": self._base, "garbled": self._garbled}

    def _text(self, system: str, turns: list[str], luck: int) -> str:
        if luck // 100 % 100 < self._garbled:
            return "I would rather not say."
        instruction = int(_digest(system), 16) % 41 - 20
        right = luck % 100 < self._base + instruction + 8 * (len(turns) // 2)
        names = [name for name in dict.fromkeys(_FIELD.findall(turns[-1])) if name != "completed"]
        fields = [f"[[ ## {name} ## ]]\n{_field(name, turns[-1], luck, right)}" for name in names]
        return "\n\n".join([*fields, "[[ ## completed ## ]]"])


def _field(name: str, turn: str, luck: int, right: bool) -> str:
    first, second = map(int, (_SUM.findall(turn) or [(0, 0)])[0])
    adds = luck % 3 > 0
    values = {
        "answer": str(first + second + (0 if right else 1 + luck % 3)),
        "proposed_instruction": f"Add the numbers in way {luck % 9}.",
        "next_tool_name": "add" if adds else "finish",
        "next_tool_args": json.dumps({"first": first, "second": second} if adds else {}),
    }
    return values.get(name, f"text {luck % 100}")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()


class OneStep(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> object:
        return self.answer(question=question)


class Reasoned(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> object:
        return self.answer(question=question)


class Nested(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hint = dspy.Predict("question -> hint")
        self.inner = Hinted()

    def forward(self, question: str) -> object:
        return self.inner(question=question, hint=self.hint(question=question).hint)


class Hinted(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question, hint -> answer")

    def forward(self, question: str, hint: str) -> object:
        return self.answer(question=question, hint=hint)


class Repeated(dspy.Module):
    """Has three predictors, and calls one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.hints = [dspy.Predict("question -> hint"), dspy.Predict("question, hint -> better")]
        self.answer = dspy.Predict("question, hint -> answer")

    def forward(self, question: str) -> object:
        hint = self.hints[0](question=question).hint
        for _ in range(2):
            hint = self.hints[1](question=question, hint=hint).better
        return self.answer(question=question, hint=hint)


def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


class Agent(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.agent = dspy.ReAct(make_signature("question -> answer"), [add], max_iters=2)

    def forward(self, question: str) -> object:
        return self.agent(question=question)


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def close(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Score the distance to the answer, in numbers that are no binary fractions."""
    return 1 / (1 + 2 * abs(int(example.answer) - int(prediction.answer)))


def judged(
    example: dspy.Example, prediction: dspy.Prediction, trace: object = None
) -> dspy.Prediction:
    """Score as ``close`` does, but as ``exact`` does while bootstrapping."""
    score = close(example, prediction)
    return dspy.Prediction(score=score if trace is None else float(score == 1))


STUDENTS = (
    *((OneStep, 30, 24), (Reasoned, 30, 24), (Nested, 12, 6)) * 2,
    *((OneStep, 30, 24), (OneStep, 30, 24), (Repeated, 10, 4), (Agent, 8, 3)),
)
"""Programs with their most rows and trials: programs of many calls have few of both."""


@dataclass(frozen=True)
class Task:
    """A compile at any number of threads.

    Attributes:
        student: Makes the program.
        teacher: The kind of teacher: the student, another program, or another model.
        base: Percentage of right answers.
        garbled: Percentage of unreadable answers.
        options: Arguments of the constructor.
        arguments: Arguments of ``compile``.
    """

    student: Callable[[], dspy.Module]
    teacher: str
    base: int
    garbled: int
    options: dict[str, Any]
    arguments: dict[str, Any]

    def compile(self, threads: int, store: Store) -> tuple[bytes, list[str]]:
        """Return the outcome, and the requests in the order they were answered."""
        engine = Engine(self.base, self.garbled, PAUSE * threads)
        lm = _lm(engine)
        teacher: dict[str, Any] = {}
        if self.teacher == "program":
            teacher["teacher"] = _taught(self.student())
        if self.teacher == "model":
            teacher["teacher_settings"] = {"lm": _lm(Engine(self.base + 30, 0, PAUSE * threads))}
        optimizer = MIPROv2(
            prompt_model=lm, task_model=lm, num_threads=threads, store=store, **self.options
        )
        program = optimizer.compile(self.student(), **self.arguments, **teacher)
        return outcome(program, optimizer), engine.finished


def _lm(engine: Engine) -> dspy.LM:
    return dspy.LM("decided", engine=engine, cache=False)


def _taught(program: dspy.Module) -> dspy.Module:
    for predictor in program.predictors():
        predictor.signature = predictor.signature.with_instructions("Take great care.")
    return program


def sums(rng: random.Random, count: int, first: int) -> list[dspy.Example]:
    """Return ``count`` sums of numbers from ``first``; some of them are repeated."""
    pairs = [(rng.randrange(first, first + 3 * count), rng.randrange(9)) for _ in range(count)]
    return [
        dspy.Example(question=f"What is {left} + {right}?", answer=str(left + right)).with_inputs(
            "question"
        )
        for left, right in pairs
    ]


def drawn(number: int) -> Task:
    """Return random task ``number``; all tasks together have every value of every choice."""
    rng = random.Random(number)
    student, most_rows, most_trials = _choice("student", number, STUDENTS)
    bootstrapped, labelled = _choice("demos", number, ((4, 4), (0, 0), (0, 3), (3, 0), (2, 3)))
    auto = _choice("auto", number, ("light", None, None)) if most_trials > 12 else None
    train = sums(rng, rng.randint(4, 16), 0)
    val = sums(rng, rng.randint(most_rows // 2, most_rows), 1000)
    return Task(
        student=student,
        teacher=_choice("teacher", number, ("student", "student", "program", "model")),
        base=rng.choice((10, 25, 40, 55)),
        garbled=_choice("garbled", number, (0, 0, 8, 25)),
        options={
            "metric": _choice("metric", number, (exact, close, judged)),
            "auto": auto,
            "num_candidates": None if auto else rng.randint(2, 6),
            "max_bootstrapped_demos": bootstrapped,
            "max_labeled_demos": labelled,
            "metric_threshold": _choice("threshold", number, (None, None, 0.3)),
            "seed": _choice("seed", number, (0, 9, rng.randrange(10**6))),
            "rounds": _choice("rounds", number, (0, 1, 2)),
        },
        arguments={
            "trainset": train,
            "valset": val,
            "num_trials": None if auto else rng.randint(most_trials // 2, most_trials),
            "minibatch": _choice("minibatch", number, (True, False)),
            "minibatch_size": rng.randint(len(val) // 2, len(val)),
        },
    )


def _choice(name: str, number: int, values: Sequence[T]) -> T:
    """Return the value of a choice for a task: all tasks have each value equally often."""
    order = random.Random(name).sample(range(TASKS), TASKS)
    return values[order[number] % len(values)]


def outcome(program: dspy.Module, optimizer: MIPROv2) -> bytes:
    """Return the artifact, its score, the log of all candidates, and the log of the search."""
    log = {
        str(number): {
            name: dump_state(value) if isinstance(value, dspy.Module) else value
            for name, value in entry.items()
        }
        for number, entry in vars(program)["trial_logs"].items()
    }
    assert optimizer.search is not None
    search = optimizer.search.to_dict()
    parts = {"artifact": dump_state(program), "score": program.score, "log": log, "search": search}
    return canonical_json(parts).encode("ascii")


@pytest.mark.parametrize("number", range(TASKS))
def test_the_outcome_is_the_same_at_any_number_of_threads(number: int) -> None:
    """Artifact, score and trials are the same, byte for byte, in any order of the answers."""
    task = drawn(number)
    outcomes, orders = [], []
    compared = THREADS if IS_THOROUGH else [THREADS[number % len(THREADS)]]
    for threads in (1, *compared):
        with closing(Store.in_memory()) as store:
            result, finished = task.compile(threads, store)
        outcomes.append(result)
        orders.append(finished)
    # The calls are not compared: more threads may prefetch more rows that are not needed.
    assert outcomes == [outcomes[0]] * len(outcomes)
    # Outcomes of runs in one order of answers would show nothing.
    assert orders != [orders[0]] * len(orders)
