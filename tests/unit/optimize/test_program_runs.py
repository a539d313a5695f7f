"""Programs that are broken or end the test run, under DSPy's optimizers."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import Adder, Checkout, sums

from pytest_mipro.errors import BudgetExceeded, ProgramError
from pytest_mipro.optimize.program_runs import ProgramRuns
from pytest_mipro.task import Dataset, OptimizerChoice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATASET = Dataset(sums(0, 8), sums(10, 6), sums(30, 4))


class Misspelt(Adder):
    """Reads a field that no prediction has."""

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        prediction: dspy.Prediction = super().forward(question).anwser
        return prediction


@pytest.mark.parametrize("name", ["bootstrap", "random_search"])
def test_a_broken_program_ends_the_compile_early(tmp_path: Path, name: str) -> None:
    """The error names the line, after the first runs and no further call of the program."""
    checkout = Checkout(tmp_path)
    task = checkout.task(program=Misspelt(), dataset=DATASET, optimizer=OptimizerChoice(name))
    with pytest.raises(ProgramError, match="Misspelt failed in each of its first 5 runs") as caught:
        checkout.outcome(task)
    assert "AttributeError" in str(caught.value)
    assert "test_program_runs.py" in str(caught.value)
    assert checkout.calls == 5


class NotAnError(BaseException):
    """What no ``except Exception`` catches."""


class Leaving(Adder):
    """Raises an exception before it answers."""

    def __init__(self, exception: type[BaseException]) -> None:
        super().__init__()
        self.exception = exception

    def forward(self, question: str) -> dspy.Prediction:
        """Answer no question."""
        raise self.exception(question)


@pytest.mark.parametrize(
    "exception", [pytest.skip.Exception, pytest.exit.Exception, SystemExit, NotAnError]
)
def test_no_program_skips_or_ends_the_test(tmp_path: Path, exception: type[BaseException]) -> None:
    """It is an error that shows the example; the optimizer asks nothing after it."""
    checkout = Checkout(tmp_path)
    choice = OptimizerChoice("bootstrap")
    task = checkout.task(program=Leaving(exception), dataset=DATASET, optimizer=choice)
    with pytest.raises(ProgramError, match=f"raised {exception.__name__}: What is") as caught:
        checkout.outcome(task)
    assert "which would end or skip the test run and is no score" in str(caught.value)
    assert '{"question":"What is' in str(caught.value)
    assert checkout.calls == 0


class Hanging(Adder):
    """Gets a signal before it answers."""

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        signal.raise_signal(signal.SIGTERM)
        return super().forward(question)


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Have a signal end the test, as pytest-timeout does."""

    def handle(*_: object) -> None:
        pytest.fail("Timeout (>1.0s)")

    previous = signal.signal(signal.SIGTERM, handle)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("part", ["program", "metric"])
def test_a_time_limit_ends_the_test_as_itself(tmp_path: Path, part: str) -> None:
    """It is no exception of the program or the metric in which it came."""

    def slow(*_: object) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return True

    checkout = Checkout(tmp_path)
    changed = {"program": Hanging()} if part == "program" else {"metric": slow}
    choice = OptimizerChoice("bootstrap")
    with pytest.raises(pytest.fail.Exception, match=r"^Timeout"):
        checkout.outcome(checkout.task(dataset=DATASET, optimizer=choice, **changed))


class Failing(dspy.Module):
    """Runs a function."""

    def __init__(self, function: Callable[[int], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, number: int) -> object:
        """Return the result of the function."""
        return self.function(number)


def error_of(function: Callable[[int], object]) -> list[str]:
    """Return the errors of eight runs of a function as a program."""
    errors: list[Any] = []
    program = Failing(function)
    with dspy.context(callbacks=[ProgramRuns(program, errors.append)]):
        for number in range(8):
            with suppress(KeyError, ValueError, BudgetExceeded):
                program.deepcopy()(number)
    return [str(error) for error in errors]


def raising(*errors: type[Exception]) -> Callable[[int], object]:
    """Return a function that raises these errors in turn."""

    def fail(number: int) -> object:
        raise errors[number % len(errors)](number)

    return fail


def test_equal_failures_are_one_error() -> None:
    """It comes once, and has the traceback of the first run."""
    (error,) = error_of(raising(KeyError))
    assert "Failing failed in each of its first 5 runs with KeyError" in error
    assert "KeyError: 0" in error


class AdapterParseError(ValueError):
    """Has the name of DSPy's error for an answer without the right form."""


@pytest.mark.parametrize(
    "function",
    [
        raising(KeyError, ValueError),
        raising(AdapterParseError),
        raising(BudgetExceeded),
        lambda number: 1 if number == 4 else raising(KeyError)(number),
    ],
    ids=["different", "unreadable answers", "an error of ours", "a run that succeeds"],
)
def test_other_failures_are_those_of_the_rows(function: Callable[[int], object]) -> None:
    """Only a program that fails alike each time is broken."""
    assert error_of(function) == []
