"""Small compiles by MIPROv2: examples, a metric, programs and recording engines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy
from dspy.signatures import make_signature
from scripted import AsyncScriptedEngine, HeldEngine, ScriptedEngine, scripted_lm

from pytest_mipro import MIPROv2

if TYPE_CHECKING:
    from dspy import lm15


def sums(count: int, first: int = 0) -> list[dspy.Example]:
    """Return ``count`` sums with their answers; their first numbers count from ``first``."""
    return [
        dspy.Example(
            question=f"{number} + {number * 7 % 13}", answer=f"{number + number * 7 % 13}"
        ).with_inputs("question")
        for number in range(first, first + count)
    ]


TRAIN, VAL = sums(4), sums(6, 100)
# DSPy builds a class for each signature, which takes longer than a call.
ANSWER = make_signature("question -> answer")
"""The signature of a program of one predictor."""
_THINK = make_signature("question -> thought")
_SOLVE = make_signature("question, thought -> answer")
MORE: dict[str, Any] = {
    "trainset": sums(8),
    "valset": sums(10, 100),
    "num_trials": 5,
    "minibatch_size": 6,
}
"""Arguments of a compile that has more to search and to learn from."""


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def calls_of(lm: dspy.LM) -> int:
    """Return how many calls ``lm`` has answered."""
    count: int = lm._engine_spec.calls
    return count


def engine_without_credit(calls: int) -> ScriptedEngine:
    """Return the engine of ``average_lm``, which fails after so many calls."""
    engine = ScriptedEngine(base=60)
    engine.credit = calls
    return engine


def lm_on(engine: ScriptedEngine) -> dspy.LM:
    """Return a model that answers from ``engine``."""
    async_engine = AsyncScriptedEngine(engine)
    return dspy.LM(
        "scripted",
        engine=HeldEngine(engine),
        async_engine=async_engine,
        cache=False,
        num_retries=0,
        temperature=0,
    )


class RecordingEngine(ScriptedEngine):
    """Records the requests."""

    def __init__(self, base: int = 30) -> None:
        super().__init__(base=base)
        self.requests: list[lm15.Request] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Record ``request`` and answer it."""
        self.requests.append(request)
        return super().complete(request)

    def count(self, field: str) -> int:
        """Return how many requests ask for an output field."""
        turns = [request.messages[-1].text or "" for request in self.requests]
        return sum(f"`[[ ## {field} ## ]]`" in turn for turn in turns)


class Inner(dspy.Module):
    """Solves a question with the help of a thought."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.solve = dspy.ChainOfThought(_SOLVE)

    def forward(self, question: str, thought: str) -> object:
        """Answer ``question``."""
        return self.solve(question=question, thought=thought)


class TwoStep(dspy.Module):
    """Has a predictor of its own, and one in a module of its own."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.think = dspy.Predict(_THINK)
        self.inner = Inner()

    def forward(self, question: str) -> object:
        """Answer ``question``."""
        return self.inner(question=question, thought=self.think(question=question).thought)


def optimizer_on(lm: dspy.LM, **options: Any) -> MIPROv2:
    """Return an optimizer whose models are ``lm``."""
    return MIPROv2(**{"metric": exact, "prompt_model": lm, "task_model": lm, **options})


def small_optimizer(lm: dspy.LM, **options: Any) -> MIPROv2:
    """Return an optimizer whose compile takes about 40 calls, twice as many with two steps."""
    return optimizer_on(lm, **{"auto": None, "num_candidates": 3, "num_threads": 4, **options})


def compiled(
    optimizer: MIPROv2, student: dspy.Module | None = None, **arguments: Any
) -> dspy.Module:
    """Return the program that the optimizer makes of the student."""
    defaults: dict[str, Any] = {"trainset": TRAIN, "valset": VAL}
    if optimizer.auto is None:
        defaults |= {"num_trials": 3, "minibatch_size": 3}
    program = dspy.Predict(ANSWER) if student is None else student
    return optimizer.compile(program, **{**defaults, **arguments})


def dumped(program: dspy.Module) -> str:
    """Return a program's state as the text that would be saved."""
    return json.dumps(program.dump_state(), sort_keys=True)


def average_lm(**options: Any) -> dspy.LM:
    """Return a model that is right more often than not."""
    return scripted_lm(base=60, **options)


class Compiled(NamedTuple):
    """A compiled program, and how many calls the compile made."""

    program: dspy.Module
    calls: int


def compiled_by_average_lm(student: dspy.Module) -> Compiled:
    """Return the result of a small compile with 4 threads by an average model."""
    lm = average_lm()
    return Compiled(compiled(small_optimizer(lm), student), calls_of(lm))


def measured_candidates(program: dspy.Module) -> list[dict[str, Any]]:
    """Return the program of each measured candidate, and whether it is the baseline."""
    return [
        {
            "program": next(value for name, value in log.items() if name.endswith("_program")),
            "baseline": not any(
                value for name, value in log.items() if name[0].isdigit() and "predictor" in name
            ),
        }
        for log in program.trial_logs.values()
    ]
