from __future__ import annotations

from dataclasses import replace

import pytest
from hostile import TEXTS

from pytest_mipro.escaping import printable
from pytest_mipro.optimize import Bound, Estimate, Fit
from pytest_mipro.optimize.mipro.estimate import Tokens
from pytest_mipro.report.dry_run import render_dry_run, skip_reason
from pytest_mipro.spending import Price

ESTIMATE = Estimate(
    "compile",
    (Bound("bootstrap", 5, 10, "m"), Bound("propose", 0, 0, "free"), Bound("search", 20, 40, "m")),
    Tokens(900.0, 100.0, 3),
    {"m": Price(1.0, 10.0), "free": None},
    False,
)


def test_a_line_for_each_phase() -> None:
    """Each phase has its calls, tokens and cost, and the last line those of all together."""
    assert render_dry_run("router", ESTIMATE).splitlines() == [
        "mipro: router: would compile",
        "  bootstrap: at most 10 LM calls, about 10000 tokens, about $0.0190",
        "    propose: nothing",
        "     search: at most 40 LM calls, about 40000 tokens, about $0.0760",
        (
            "   together: at most 50 LM calls, about 50000 tokens, about $0.0950; "
            "tokens as in 3 stored rows"
        ),
    ]


def test_an_unknown_price_has_no_cost() -> None:
    """A model without a price is named where the cost would be."""
    text = render_dry_run("router", replace(ESTIMATE, prices={"m": None}))
    assert text.count("cost unknown (no price for 'm')") == 3
    assert "$" not in text


def test_optimizers_that_fit_are_named() -> None:
    """Each has its reason and its bounds; where none fits, the line says why."""
    bounds = (Bound("compile", 5, 5, "m"), Bound("held-out", 0, 0, "m"))
    fits = (
        Fit("bootstrap", "30 labelled examples", bounds),
        Fit("copro", "30 labelled examples", (Bound("compile", 0, None, "m"),)),
        Fit("gepa", "it is not installed"),
        Fit("", "the baseline scores 0.950"),
    )
    lines = render_dry_run("router", replace(ESTIMATE, fits=fits)).splitlines()[-4:]
    assert lines == [
        (
            '       fits: optimizer="bootstrap" (30 labelled examples); at most 5 LM calls, '
            "about 5000 tokens, about $0.0095"
        ),
        (
            '       fits: optimizer="copro" (30 labelled examples); unknown: nothing bounds the LM '
            "calls of this optimizer; limit them with a budget"
        ),
        '       fits: optimizer="gepa" (it is not installed)',
        "       fits: no compile: the baseline scores 0.950",
    ]


def test_limits_are_named() -> None:
    """The limits of the user come last, and a guess is not called a bound."""
    guess = replace(ESTIMATE, is_approximate=True, limits=("lm_calls=100", "usd=1"))
    lines = render_dry_run("router", guess).splitlines()
    assert lines[-1] == "  limited to lm_calls=100, usd=1"
    assert "about 50 LM calls" in lines[-2]
    assert skip_reason(guess) == "--mipro-dry-run: would compile; about 50 LM calls"
    assert skip_reason(ESTIMATE) == "--mipro-dry-run: would compile; at most 50 LM calls"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_names_are_escaped(text: str) -> None:
    """A name adds no line, and neither a terminal nor a CI system obeys it."""
    rendered = render_dry_run(text, replace(ESTIMATE, why=text))
    assert printable(rendered) == rendered
    assert len(rendered.splitlines()) == 5
