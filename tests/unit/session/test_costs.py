"""What answers take is known wherever scores are: in the store, in references, in responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sessions import COMMAND, with_demos

from pytest_mipro.records import ExampleCost

if TYPE_CHECKING:
    from sessions import Checkout

KNOWN = (ExampleCost(12.0),) * 6


def test_the_store_has_bills(compiled: Checkout) -> None:
    """A session judges the costs of stored answers without a call."""
    outcome = compiled.outcome()
    assert outcome.baseline.card.costs == outcome.compiled.card.costs == KNOWN
    assert outcome.costs_no_more(ratio=1)
    assert not outcome.costs_no_more(ratio=0.5)
    assert compiled.calls == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_a_reference_has_bills(accepted: Checkout, frozen: bool) -> None:
    """The accepted prompt costs as much as itself, with and without a store."""
    assert accepted.outcome(frozen=frozen).costs_no_more(than="reference", ratio=1)
    data = json.loads(accepted.place().scores.read_text(encoding="utf-8"))
    assert list(data["tokens"]["compiled"].values()) == [12.0] * 6
    assert accepted.calls == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_a_reference_without_bills_says_what_to_do(accepted: Checkout, frozen: bool) -> None:
    """Such a reference has scores to compare with, and the verdict on costs is INCONCLUSIVE."""
    path = accepted.place().scores
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["tokens"], data["usd"]
    path.write_text(json.dumps(data), encoding="utf-8")
    outcome = accepted.outcome(frozen=frozen)
    assert outcome.no_regression()
    verdict = outcome.costs_no_more(than="reference")
    assert verdict.word == "INCONCLUSIVE"
    assert verdict.sentence == (
        "the costs of the reference's answers are unknown; "
        f"accept anew with: {COMMAND} --mipro-rescore"
    )


def test_kept_responses_have_bills(checkout: Checkout) -> None:
    """DSPy's cache gives the usage of answers whose rows the store has lost."""
    checkout.keeps_responses = True
    checkout.recorder.optimizer = with_demos
    checkout.outcome(update=True)
    paid = checkout.calls
    (checkout.folder / "store.db").unlink()
    outcome = checkout.outcome()
    assert outcome.report().origin == "compiled"
    assert outcome.compiled.card.costs == KNOWN
    assert outcome.costs_no_more(than="reference", ratio=1)
    assert checkout.calls == paid
