"""What a task asks at most, from what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import scripted_lm
from sessions import TRAIN

from pytest_mipro.errors import DeclarationError
from pytest_mipro.optimize import Bound
from pytest_mipro.records import Row, Usage
from pytest_mipro.session.dry_run import PendingWork, estimate_task
from pytest_mipro.spending import Account, Limit, Price, limits_of
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.optimize import Estimate


def of(checkout: Checkout, rows: int = 12, **values: Any) -> Estimate | None:
    """Return the forecast of a task with so many held-out rows to evaluate."""
    given: dict[str, Any] = {"reasons": (), "known": (), "prices": {}, **values}
    task = given.pop("task", None) or checkout.task()
    work = PendingWork(given["reasons"], rows)
    return estimate_task(task, work, given["known"], given["prices"])


def test_nothing_is_no_forecast(checkout: Checkout) -> None:
    """Without a compile and without rows there is nothing to ask."""
    assert of(checkout, 0) is None


def test_rows_alone(checkout: Checkout) -> None:
    """A row is a call for each predictor, unless rows have shown more."""
    estimate = of(checkout)
    assert estimate is not None
    assert estimate.why == "score 12 held-out rows"
    assert estimate.bounds == (Bound("held-out", 12, 12, "scripted"),)
    assert not estimate.about
    known = [Row("a", 1.0, usage=Usage(3, 30, 6)), Row("b", 1.0, usage=Usage(1, 10, 2))]
    looping = of(checkout, known=known)
    assert looping is not None
    assert looping.bounds == (Bound("held-out", 12, 36, "scripted"),)
    assert looping.about
    assert (looping.tokens.answered, looping.tokens.rows) == (2, 2)


def test_a_compile_without_rows(checkout: Checkout) -> None:
    """Its phases are bounded even where every held-out row is known."""
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
    """The limits are those of the account that would pay, the session's included."""
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
    """They are no matter where nothing is compiled."""
    task = checkout.task(minibatch=True)
    assert of(checkout, task=task) is not None
    with pytest.raises(DeclarationError, match="minibatch_size=35 is larger"):
        of(checkout, task=task, reasons=("new",))
