"""DSPy's optimizers: their arguments, and the results that a state can hold."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.teleprompt import Teleprompter
from sessions import DATASET, Adder, Checkout, Renamed, instructed

from pytest_mipro.errors import DeclarationError, OptimizerError
from pytest_mipro.optimize.teleprompter import refuse_other_shapes
from pytest_mipro.task import OptimizerChoice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Recording(Teleprompter):
    """Keeps what it gets, and returns what ``result`` makes of the program."""

    def __init__(self, metric: object = None, prompt_model: object = None, **_: object) -> None:
        super().__init__()
        self.metric = metric
        self.prompt_model = prompt_model
        self.num_threads: int | None = None


def recorded(result: Callable[[Any], Any]) -> tuple[Recording, dict[str, Any]]:
    """Return an optimizer, and the arguments that its ``compile`` will get."""
    arguments: dict[str, Any] = {}

    class Own(Recording):
        def compile(self, student: Any, *, trainset: Any, seed: int) -> Any:  # type: ignore[override]
            arguments.update(vars(self), student=student, trainset=trainset, seed=seed)
            return result(student)

    return Own(), arguments


def outcome(tmp_path: Path, optimizer: Any, **values: Any) -> Any:
    """Return the outcome of a task with an optimizer."""
    checkout = Checkout(tmp_path)
    choice = OptimizerChoice(optimizer)
    return checkout.outcome(checkout.task(optimizer=choice, version="1", **values))


def test_an_optimizer_gets_what_it_takes(tmp_path: Path) -> None:
    """All labelled examples without a validation set, the seed, guarded models and a metric."""
    optimizer, arguments = recorded(lambda student: student)
    outcome(tmp_path, optimizer, seed=5)
    assert len(arguments["trainset"]) == len(DATASET.train) + len(DATASET.val)
    assert (arguments["seed"], arguments["num_threads"]) == (5, 1)
    assert arguments["prompt_model"].model == "scripted"
    example = DATASET.train[0]
    assert arguments["metric"](example, dspy.Prediction(answer=example.answer)) == pytest.approx(1)
    assert optimizer.num_threads is None, "the instance of the user is copied"


def test_what_it_changes_in_the_program_it_gets_is_not_in_the_baseline(tmp_path: Path) -> None:
    """Not even through the class of the signature, which copies share."""

    def change(student: Any) -> Any:
        student.add.signature.instructions = "Changed."
        return student

    result = outcome(tmp_path, recorded(change)[0])
    assert result.compiled.program.add.signature.instructions == "Changed."
    assert result.baseline.program.add.signature.instructions != "Changed."


def test_an_error_of_the_optimizer_names_it(tmp_path: Path) -> None:
    """Its error is in the message, and its traceback is kept."""
    with pytest.raises(OptimizerError, match="optimizer Own failed: ZeroDivisionError: ") as error:
        outcome(tmp_path, recorded(lambda _: 1 / 0)[0])
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def patched(program: Any) -> Any:
    """Return a program whose ``forward`` is replaced."""
    program.forward = types.MethodType(lambda _, **__: dspy.Prediction(answer=1), program)
    return program


def with_model(program: Any) -> Any:
    """Return a program with a model for its predictor."""
    program.add.lm = dspy.LM("openai/another")
    return program


def with_field(program: Any) -> Any:
    """Return a program with one more field."""
    program.add.signature = program.add.signature.append("why", dspy.OutputField(), str)
    return program


class Subclass(Adder):
    """Has the same predictors."""


@pytest.mark.parametrize(
    "program, reason",
    [
        (None, "returned None, which"),
        (Subclass(), "returned a Subclass instead of a Adder"),
        (Renamed(), "returned a Renamed instead of a Adder"),
        (patched(Adder()), "returned a Adder whose forward is replaced"),
        (with_model(Adder()), "another model for add"),
        (with_field(Adder()), "other fields of add"),
    ],
)
def test_a_result_that_a_state_cannot_hold_is_refused(program: Any, reason: str) -> None:
    """The error names the optimizer and the difference."""
    with pytest.raises(OptimizerError, match="optimizer Own") as error:
        refuse_other_shapes("Own", Adder(), program)
    assert reason in str(error.value)
    refuse_other_shapes("Own", Adder(), instructed(Adder(), "Add."))


class Awaiting(dspy.Module):
    """A program whose only method is ``aforward``."""

    def __init__(self) -> None:
        super().__init__()
        self.add = dspy.Predict("question -> answer: int")

    async def aforward(self, question: str) -> object:
        """Answer the question."""
        return await self.add.acall(question=question)


@pytest.mark.parametrize("role", ["program", "teacher"])
def test_a_program_that_dspy_cannot_call_is_refused(tmp_path: Path, role: str) -> None:
    """DSPy's optimizers would score each of its rows 0."""
    optimizer, arguments = recorded(lambda student: student)
    message = "optimizer Own calls forward, and Awaiting has only aforward; give it a forward"
    with pytest.raises(DeclarationError, match=message):
        outcome(tmp_path, optimizer, **{role: Awaiting()})
    assert arguments == {}
