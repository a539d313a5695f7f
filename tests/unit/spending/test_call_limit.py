from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from scripted import scripted_lm

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.spending import Account, Limit, UsageMeter
from pytest_mipro.spending.call_limit import CallLimit, CallRefused, limited_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = pytest.mark.uses("dspy")


class Before(BaseCallback):
    """Asks a limit before each call, as an attempt does."""

    def __init__(self, limit: CallLimit) -> None:
        super().__init__()
        self.limit = limit

    def on_lm_start(self, call_id: str, instance: object, inputs: dict[str, Any]) -> None:
        """Ask the limit."""
        self.limit.admit()


@contextmanager
def limited() -> Generator[None]:
    """Limit the calls of the block."""
    with limited_calls() as limit, dspy.context(callbacks=[Before(limit)]):
        yield


def calls_under_limit(work: Callable[[], object], limit: int = 3) -> int:
    """Return how many calls ``work`` makes under a limit that it does not keep."""
    lm = scripted_lm()
    with (
        Account([Limit("calls", limit, "lm_calls")]).current(),
        pytest.raises(BudgetExceeded, match="lm_calls=3 is spent"),
        dspy.context(lm=lm, usage_tracker=UsageMeter()),
        limited(),
    ):
        work()
    calls: int = lm._engine_spec.calls
    return calls


def ask() -> object:
    """Ask the model once."""
    return dspy.Predict("question -> answer")(question="1 + 1")


def ask_for_ever() -> None:
    """Ask the model in a loop, and catch its errors."""
    while True:
        with suppress(Exception):
            ask()


def ask_and_catch_everything() -> None:
    """Ask the model more often than the limit allows, and catch the refusals."""
    for _ in range(5):
        with suppress(BaseException):
            ask()


def ask_in_threads() -> None:
    """Ask the model in the threads of DSPy, one after another."""
    parallel = dspy.Parallel(num_threads=1, disable_progress_bar=True)
    parallel([(dspy.Predict("question -> answer"), {"question": "1 + 1"})] * 9)


@pytest.mark.parametrize("work", [ask_for_ever, ask_and_catch_everything, ask_in_threads])
def test_no_call_begins_after_the_limit(work: Callable[[], object]) -> None:
    """Whatever a program catches, and wherever it calls, the limit ends it."""
    assert calls_under_limit(work) == 3


def test_calls_within_the_limit_are_made() -> None:
    """The last call that a limit allows is made, and its answer counts."""
    lm = scripted_lm()
    account = Account([Limit("calls", 2, "lm_calls")])
    with account.current(), dspy.context(lm=lm, usage_tracker=UsageMeter()), limited():
        ask()
        ask()

    assert account.usage.calls == 2


def test_calls_without_a_meter_have_no_limit() -> None:
    """A call that no account pays for is made."""
    with dspy.context(lm=scripted_lm()), limited():
        assert ask()


def test_another_error_is_raised_unchanged() -> None:
    """Errors of the block that have nothing to do with a limit stay as they are."""
    with pytest.raises(KeyError, match="queue"), limited():
        raise KeyError("queue")


def test_a_refusal_is_no_exception() -> None:
    """DSPy logs the exceptions of callbacks and goes on; a program may catch them."""
    assert not issubclass(CallRefused, Exception)
