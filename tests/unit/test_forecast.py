"""What a task asks at most, from what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import scripted_lm
from sessions import TRAIN

from pytest_mipro.budget import Budget
from pytest_mipro.errors import DeclarationError
from pytest_mipro.evaluate.budget import Account, Limit, limits_of
from pytest_mipro.evaluate.prices import Price
from pytest_mipro.forecast import forecast
from pytest_mipro.optimize.estimate import Bound
from pytest_mipro.records import Row, Usage

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.optimize.estimate import Estimate


def of(checkout: Checkout, rows: int = 12, **values: Any) -> Estimate | None:
    """Return the forecast of a task with so many held-out rows to evaluate."""
    arguments: dict[str, Any] = {"reasons": (), "known": (), "prices": {}, **values}
    task = arguments.pop("task", None) or checkout.task()
    return forecast(task, arguments["reasons"], rows, arguments["known"], arguments["prices"])


def test_nothing_is_no_forecast(checkout: Checkout) -> None:
    """A task without a compile and without rows has no forecast."""
    assert of(checkout, 0) is None


def test_rows_alone(checkout: Checkout) -> None:
    """A row takes a call for each predictor, or as many as a stored row took."""
    estimate = of(checkout)
    assert estimate is not None
    assert estimate.why == "score 12 held-out rows"
    assert estimate.bounds == (Bound("held-out", 12, 12, "scripted"),)
    assert not estimate.about
    rows = [Row("a", 1.0, usage=Usage(3, 30, 6)), Row("b", 1.0, usage=Usage(1, 10, 2))]
    looping = of(checkout, known=rows)
    assert looping is not None
    assert looping.bounds == (Bound("held-out", 12, 36, "scripted"),)
    assert looping.about
    assert (looping.tokens.answered, looping.tokens.rows) == (2, 2)


def test_a_compile_without_rows(checkout: Checkout) -> None:
    """The forecast bounds each phase of the compile."""
    estimate = of(checkout, 0, reasons=("metric changed", "option seed changed"))
    assert estimate is not None
    assert estimate.why == "compile: metric changed, option seed changed"
    assert estimate.bounds[0] == Bound("bootstrap", len(TRAIN), len(TRAIN), "scripted")
    assert estimate.bounds[-1] == Bound("held-out", 0, 0, "scripted")


def test_each_phase_names_its_model(checkout: Checkout) -> None:
    """The teacher bootstraps, the prompt model proposes, the other does the rest."""
    teacher, prompt = (dspy.LM(name, engine=scripted_lm()._engine_spec) for name in "tp")
    task = checkout.task(teacher_lm=teacher, prompt_lm=prompt)
    estimate = of(checkout, reasons=("new",), task=task)
    assert estimate is not None
    models = {bound.phase: bound.model for bound in estimate.bounds}
    assert models == {
        "bootstrap": "t",
        "propose": "p",
        "search": "scripted",
        "final": "scripted",
        "held-out": "scripted",
    }


def test_prices_and_limits_are_passed_on(checkout: Checkout) -> None:
    """The forecast has the limits of the task's account and of the session's."""
    prices = {"scripted": Price(1.0, 2.0), "other": None}
    session = Account([Limit("calls", 900, "--mipro-max-calls")])
    account = Account(limits_of(Budget(lm_calls=50, tokens=1000)), parent=session)
    with account.current():
        estimate = of(checkout, prices=prices)
    assert estimate is not None
    assert estimate.prices == prices
    assert estimate.limits == ("lm_calls=50", "tokens=1000", "--mipro-max-calls 900")
    without = of(checkout)
    assert without is not None
    assert without.limits == ()


def test_options_that_allow_no_compile(checkout: Checkout) -> None:
    """The error concerns a compile, and not held-out rows alone."""
    task = checkout.task(minibatch=True)
    assert of(checkout, task=task) is not None
    with pytest.raises(DeclarationError, match="minibatch_size=35 is larger"):
        of(checkout, task=task, reasons=("new",))
