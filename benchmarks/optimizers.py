"""Compiles by either optimizer on a landscape, and the true score of their results."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import dspy
from dspy import lm15

import pytest_mipro
from benchmarks.landscape import Landscape, Reply, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIMIZERS = ("dspy", "ours")
VALSET = {"light": 100, "medium": 300, "heavy": 1000}
"""Rows of the validation set, by the size of the search."""
FEW = 10
"""Rows of the validation set of a quick run."""
_TRAINSET = 60
_HELD_OUT = 2000


class Answer(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Hint(dspy.Signature):
    """Give a hint that helps to answer the question."""

    question: str = dspy.InputField()
    hint: str = dspy.OutputField()


class AnswerWithHint(dspy.Signature):
    """Answer the question with the help of the hint."""

    question: str = dspy.InputField()
    hint: str = dspy.InputField()
    answer: str = dspy.OutputField()


class OneStep(dspy.Module):
    """Answers at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.answer = dspy.Predict(Answer)

    def forward(self, question: str) -> dspy.Prediction:
        """Answer ``question``."""
        prediction: dspy.Prediction = self.answer(question=question)
        return prediction


class TwoSteps(dspy.Module):
    """Finds a hint, then answers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.hint = dspy.Predict(Hint)
        self.answer = dspy.Predict(AnswerWithHint)

    def forward(self, question: str) -> dspy.Prediction:
        """Answer ``question``."""
        hint = self.hint(question=question).hint
        prediction: dspy.Prediction = self.answer(question=question, hint=hint)
        return prediction


STUDENTS = {1: OneStep, 2: TwoSteps}
"""Programs by their number of predictors."""


class SimulatedReply(Protocol):
    """An answer of a simulated model."""

    @property
    def text(self) -> str:
        """The answer, in the format that the request asks for."""


R_co = TypeVar("R_co", bound=SimulatedReply, covariant=True)


class SimulatedModel(Protocol[R_co]):
    """A model whose answers depend on the prompt in a way that is known."""

    @property
    def name(self) -> str:
        """The name, which decides the answers."""

    def reply(self, system: str, turns: Sequence[str], /) -> R_co:
        """Return the answer to a system message and the turns that follow."""


class SimulatedEngine(Generic[R_co]):
    """Answers a ``dspy.LM`` in this process, without a network.

    Attributes:
        replies: The replies so far.
    """

    supports_response_schema = False
    supported_params: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens"})

    def __init__(self, model: SimulatedModel[R_co]) -> None:
        self.replies: list[R_co] = []
        self._model = model

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        turns = [message.text or "" for message in request.messages]
        reply = self._model.reply(str(request.system or ""), turns)
        self.replies.append(reply)
        return lm15.Response(
            id="simulated",
            model=request.model,
            message=lm15.Message.assistant(reply.text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )

    def dump_state(self) -> dict[str, str]:
        """Return the name of the model."""
        return {"name": self._model.name}


@dataclass(frozen=True)
class Outcome:
    """The figures of one compile.

    Attributes:
        task_calls: Calls for the program.
        prompt_calls: All other calls.
        start: The true score of the student.
        score: The true score of the compiled program.
    """

    task_calls: int
    prompt_calls: int
    start: float
    score: float


@dataclass(frozen=True)
class Work:
    """One compile.

    Attributes:
        optimizer: A name out of ``OPTIMIZERS``.
        auto: Size of the search.
        predictors: Predictors of the program.
        seed: Decides the examples, and is the optimizer's seed.
        threads: Most calls at the same time.
        rows: Rows of the validation set.
        rounds: The option of ours; None is its default.
    """

    optimizer: str
    auto: str
    predictors: int
    seed: int
    threads: int
    rows: int
    rounds: int | None = None

    def compile(self, lm: dspy.LM) -> dspy.Module:
        """Return the program the optimizer makes with ``lm``."""
        options: dict[str, Any] = {"auto": self.auto}
        if self.rounds is not None:
            options["rounds"] = self.rounds
        return self._compile(lm, self.rows, options, {})

    def rehearse(self) -> None:
        """Compile a tiny program in this process, so that all code is loaded."""
        lm = local_lm(SimulatedEngine(Landscape("plain", -1)))
        self._compile(lm, 10, {"auto": None, "num_candidates": 3}, {"num_trials": 2})

    def _compile(
        self, lm: dspy.LM, rows: int, options: dict[str, Any], limits: dict[str, Any]
    ) -> dspy.Module:
        """Compile with an empty cache in memory."""
        cls: Any = dspy.MIPROv2 if self.optimizer == "dspy" else pytest_mipro.MIPROv2
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
        with dspy.context(lm=lm):
            optimizer = cls(exact, num_threads=self.threads, seed=self.seed, **options)
            program: dspy.Module = optimizer.compile(
                STUDENTS[self.predictors](),
                trainset=examples(f"train {self.seed}", _TRAINSET),
                valset=examples(f"validation {self.seed}", rows),
                minibatch_size=min(35, rows),
                **limits,
            )
        return program


def local_lm(engine: SimulatedEngine[Any], *, cache: bool = True) -> dspy.LM:
    """Return a language model that answers from ``engine``."""
    return dspy.LM("simulated", engine=engine, cache=cache)


def examples(name: str, count: int) -> list[dspy.Example]:
    """Return ``count`` labelled examples."""
    questions = [f"{name} question {number}" for number in range(count)]
    return [
        dspy.Example(question=question, answer=answer(question)).with_inputs("question")
        for question in questions
    ]


def exact(example: dspy.Example, prediction: dspy.Prediction, _trace: object = None) -> bool:
    """Return whether the answer is right."""
    return bool(example.answer == prediction.answer)


def true_score(program: dspy.Module, landscape: Landscape) -> float:
    """Return the probability, in percent, that ``program`` answers a held-out question correctly.

    The program runs once, to get the effects of its prompts from the model's
    replies; the landscape's formula gives the score of all held-out questions.
    """
    held_out = examples("held-out", _HELD_OUT)
    engine = SimulatedEngine(landscape)
    with dspy.context(lm=local_lm(engine, cache=False)):
        program(**held_out[0].inputs())
    effects = [reply.effect for reply in engine.replies if reply.effect is not None]
    chances = [landscape.chance(effects, example.question) for example in held_out]
    return 100 * sum(chances) / len(chances)


def mute() -> None:
    """Discard the output of this process: progress bars, banners and logs."""
    sys.stdout.flush()
    sys.stderr.flush()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    os.close(devnull)


def calls(replies: Sequence[Reply]) -> tuple[int, int]:
    """Return how many of ``replies`` are answers of the program, and how many are not."""
    task = sum(reply.effect is not None for reply in replies)
    return task, len(replies) - task
