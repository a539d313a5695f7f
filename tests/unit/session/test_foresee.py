"""A dry run: what a session would ask, without asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sessions import COMPILE, HELD_OUT, ROWS, held_out, nearly_right, sums, with_demos

from pytest_mipro.errors import DamagedReference, DeclarationError, FingerprintError
from pytest_mipro.spending import Account, Price, Prices
from pytest_mipro.task import Budget, Dataset

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.optimize import Estimate
    from pytest_mipro.task import Task

GROWN = held_out(*HELD_OUT, *sums(40, 2))
"""Two held-out examples more."""


def foreseen(checkout: Checkout, task: Task | None = None, **values: Any) -> Estimate:
    """Return what a run would ask, which is something."""
    estimate = checkout.estimate(task, **values)
    assert estimate is not None
    assert checkout.calls == 0
    return estimate


def most(estimate: Estimate) -> int:
    """Return how many calls there are at most."""
    return sum(bound.calls for bound in estimate.bounds)


class TestCompile:
    def test_a_compile_is_foreseen_by_phase(self, checkout: Checkout) -> None:
        """Why, and how much each phase asks at most; nothing is asked, shown or compiled."""
        estimate = foreseen(checkout)
        assert estimate.why == "compile: no artifact in the store yet"
        phases = ["bootstrap", "propose", "search", "final", "held-out"]
        assert [bound.phase for bound in estimate.bounds] == phases
        assert estimate.bounds[-1].calls == ROWS
        assert COMPILE + ROWS <= most(estimate) < 3 * (COMPILE + ROWS)
        assert checkout.recorder.events == ["fingerprint"]
        assert checkout.recorder.advice == []
        assert checkout.references == {}

    def test_a_refresh_is_foreseen(self, compiled: Checkout) -> None:
        """The rows of the baseline are known, those of the new program are not."""
        estimate = foreseen(compiled, refresh=True)
        assert estimate.why == "compile: again, as asked for (--mipro-refresh)"
        assert estimate.bounds[-1].rows == len(HELD_OUT)

    def test_the_reasons_are_those_of_the_compile(self, compiled: Checkout) -> None:
        """They are said in the same words."""
        compiled.recorder.optimizer = with_demos
        task = compiled.task(seed=3)
        estimate = foreseen(compiled, task)
        assert estimate.why == "compile: option seed changed"
        assert compiled.outcome(task).report().reasons == ("option seed changed",)

    def test_a_search_that_was_cut_is_foreseen_to_go_on(self, checkout: Checkout) -> None:
        """Only where there is more to spend."""
        small, large = (
            checkout.task(num_trials=4, budget=Budget(lm_calls=calls)) for calls in (36, 500)
        )
        checkout.outcome(small)
        assert checkout.estimate(small) is None
        estimate = checkout.estimate(large)
        assert estimate is not None
        assert estimate.why.startswith("compile: the search was cut at lm_calls=36")
        assert estimate.limits == ("lm_calls=500",)

    def test_options_that_allow_no_compile_are_an_error(self, checkout: Checkout) -> None:
        """It is known before anything is asked."""
        task = checkout.task(minibatch=True)
        with pytest.raises(DeclarationError, match="minibatch_size=35 is larger"):
            checkout.estimate(task)

    def test_content_without_an_identity_is_an_error(self, checkout: Checkout) -> None:
        """As it would be in the run."""
        checkout.recorder.parts = {"index": object()}
        with pytest.raises(FingerprintError, match="index"):
            checkout.estimate()


class TestHeldOut:
    def test_what_is_stored_asks_nothing(self, compiled: Checkout) -> None:
        """There is nothing to say."""
        assert compiled.estimate() is None

    @pytest.mark.parametrize(
        "values, flags, rows",
        [
            ({"dataset": GROWN}, {}, 4),
            ({"dataset": GROWN, "repeat": 2}, {}, ROWS + 4 + 4),
            ({"repeat": 3}, {}, 2 * ROWS),
            ({}, {"rescore": True}, ROWS),
            ({"repeat": 2}, {"rescore": True}, 2 * ROWS),
        ],
    )
    def test_rows_that_are_not_stored_are_foreseen(
        self, compiled: Checkout, values: dict[str, Any], flags: dict[str, bool], rows: int
    ) -> None:
        """They are as many as the run then asks."""
        task = compiled.task(**values)
        estimate = foreseen(compiled, task, **flags)
        assert estimate.why == f"score {rows} held-out rows"
        assert [bound.phase for bound in estimate.bounds] == ["held-out"]
        assert most(estimate) == rows
        compiled.outcome(task, **flags)
        assert compiled.calls == rows

    def test_tokens_and_prices_are_those_of_stored_rows(self, compiled: Checkout) -> None:
        """A call took 10 tokens and 2; demos are added to what it reads."""
        prices = Prices({"scripted": Price(1.0, 2.0)})
        task = compiled.task(dataset=GROWN)
        estimate = foreseen(compiled, task, account=Account(prices=prices))
        assert estimate.tokens.rows == len(HELD_OUT) + 4  # The held-out and the validation rows.
        assert estimate.tokens.asked > 10
        assert estimate.tokens.answered == pytest.approx(2)
        assert estimate.prices == {"scripted": Price(1.0, 2.0)}
        assert foreseen(compiled, task).prices == {"scripted": None}


class TestReferences:
    def test_a_reference_is_all_that_a_frozen_run_takes(self, accepted: Checkout) -> None:
        """Without new examples it asks nothing."""
        assert accepted.estimate(frozen=True) is None

    @pytest.mark.parametrize(
        "values, flags, rows",
        [
            ({"dataset": GROWN}, {}, 4),
            ({"dataset": GROWN, "repeat": 2}, {}, 8),
            ({}, {"rescore": True}, ROWS),
        ],
    )
    def test_what_a_frozen_run_scores_is_foreseen(
        self, accepted: Checkout, values: dict[str, Any], flags: dict[str, bool], rows: int
    ) -> None:
        """It is what the reference lacks, or everything."""
        task = accepted.task(**values)
        assert foreseen(accepted, task, frozen=True, **flags).why == f"score {rows} held-out rows"
        accepted.outcome(task, frozen=True, **flags)
        assert accepted.calls == rows

    def test_an_accepted_program_that_is_scored_again_is_foreseen(self, accepted: Checkout) -> None:
        """Under another metric it may have to answer, unless its outcome is accepted anew."""
        task = accepted.task(metric=nearly_right, repeat=2)
        counted = [
            foreseen(accepted, task, update=update).bounds[-1].rows for update in (False, True)
        ]
        assert counted == [3 * 2 * len(HELD_OUT), 2 * 2 * len(HELD_OUT)]

    def test_a_damaged_reference_is_an_error(self, accepted: Checkout) -> None:
        """As it would be in the run; an update would mend it."""
        accepted.place().program.unlink()
        with pytest.raises(DamagedReference, match="without its other half"):
            accepted.estimate()
        assert accepted.estimate(update=True) is None

    def test_a_dry_run_of_another_task_says_so(self, accepted: Checkout) -> None:
        """Other training examples are a compile, whatever was accepted."""
        task = accepted.task(dataset=Dataset(sums(60, 3), sums(10, 4), HELD_OUT))
        assert foreseen(accepted, task).why == ("compile: 3 train rows added, 3 train rows removed")
