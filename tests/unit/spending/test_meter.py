from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.clients.cache import Cache
from hypothesis import given
from hypothesis import strategies as st
from scripted import scripted_lm

from pytest_mipro.evaluate import ContextThreadPool
from pytest_mipro.records import Usage
from pytest_mipro.spending.account import Account
from pytest_mipro.spending.meter import UsageMeter
from pytest_mipro.spending.prices import Price, Prices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.uses("dspy")


@pytest.mark.parametrize(
    "entry, expected",
    [
        ({"prompt_tokens": 10, "completion_tokens": 2}, Usage(1, 10, 2)),
        ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}, Usage(1, 10, 2)),
        ({"prompt_tokens": 10}, Usage(1, 10, 0)),
        ({"prompt_tokens": None, "completion_tokens": None}, Usage(1)),
        ({"prompt_tokens": "10"}, Usage(1)),
        ({"prompt_tokens_details": {"cached_tokens": 4}}, Usage(1)),
        ({}, Usage(1)),
        (None, Usage(1)),
    ],
)
def test_call_is_counted_whatever_it_says_about_tokens(
    entry: dict[str, Any] | None, expected: Usage
) -> None:
    """A provider that reports no tokens still was asked."""
    meter = UsageMeter()

    meter.add_usage("openai/gpt-test", entry)

    assert meter.usage == expected


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))))
def test_calls_add_up(calls: list[tuple[int, int]]) -> None:
    """A meter shows the sum of all calls, whatever the model."""
    meter = UsageMeter()

    for number, (asked, answered) in enumerate(calls):
        meter.add_usage(f"m{number}", {"prompt_tokens": asked, "completion_tokens": answered})

    assert meter.usage == Usage(
        len(calls), sum(asked for asked, _ in calls), sum(answered for _, answered in calls)
    )


def test_new_meter_shows_nothing() -> None:
    """Nothing was asked yet."""
    assert UsageMeter().usage == Usage()


ENTRY = {"prompt_tokens": 10, "completion_tokens": 2}


class TestSpent:
    def test_what_was_paid_for_and_answered(self) -> None:
        """Two calls that a model answered took what both took."""
        meter = UsageMeter()
        meter.begin_attempt()
        for _ in range(2):
            meter.add_usage("m", ENTRY)
            meter.note_answer()
        assert meter.spent == Usage(2, 20, 4)

    def test_no_calls_take_nothing(self) -> None:
        """A program that asks no model is known to take nothing."""
        meter = UsageMeter()
        meter.begin_attempt()
        assert meter.spent == Usage()

    def test_an_answer_from_a_cache_is_unknown(self) -> None:
        """It is not 0 tokens."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.note_answer()
        assert meter.spent is None

    def test_an_answer_from_a_cache_that_knows_its_usage(self) -> None:
        """It took what it took when it was asked for, at today's price, and is paid only once."""
        account = Account(prices=Prices({"m": Price(asked=1.0, answered=2.0)}))
        with account.current():
            meter = UsageMeter()
        meter.begin_attempt()
        meter.add_recalled("m", ENTRY)
        meter.note_answer()
        assert meter.spent == Usage(1, 10, 2, priced=1, usd=14e-6)
        assert meter.usage == account.usage == Usage()

    def test_what_is_recalled_again_counts_once(self) -> None:
        """The last attempt's answers are what counts."""
        meter = UsageMeter()
        for _ in range(2):
            meter.begin_attempt()
            meter.add_recalled("m", ENTRY)
            meter.note_answer()
        assert meter.spent == Usage(1, 10, 2)

    def test_a_cache_that_did_not_count_leaves_it_unknown(self) -> None:
        """No tokens are not 0 tokens, in a cache neither."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_recalled("m", {"prompt_tokens": 0, "completion_tokens": 0})
        meter.note_answer()
        assert meter.spent is None

    @pytest.mark.parametrize("entry", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}])
    def test_what_the_provider_did_not_count_is_unknown(self, entry: dict[str, Any] | None) -> None:
        """Nor is it where a provider reports no tokens."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_usage("m", entry)
        meter.note_answer()
        assert meter.spent is None

    def test_an_attempt_that_failed_is_no_part_of_it(self) -> None:
        """A row that was asked again costs what the last attempt took."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_usage("m", ENTRY)
        meter.note_answer()
        meter.begin_attempt()
        for _ in range(2):
            meter.add_usage("m", ENTRY)
            meter.note_answer()
        assert meter.usage.calls == 3
        assert meter.spent == Usage(2, 20, 4)

    def test_what_an_earlier_attempt_paid_for_is(self) -> None:
        """The second attempt found the first call in DSPy's cache, where the first put it."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_usage("m", ENTRY)
        meter.note_answer()
        meter.begin_attempt()
        meter.note_answer()
        meter.add_usage("m", ENTRY)
        meter.note_answer()
        assert meter.spent == Usage(2, 20, 4)


def test_calls_from_several_threads_are_all_counted() -> None:
    """No call is lost when answers arrive at the same time."""
    meter = UsageMeter()

    def count() -> None:
        for _ in range(2000):
            meter.add_usage("m", {"prompt_tokens": 1})

    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(count)

    assert meter.usage == Usage(16_000, 16_000)


def test_copy_for_a_thread_is_the_same_meter() -> None:
    """DSPy copies the tracker in its settings; the count stays in one place."""
    meter = UsageMeter()

    copy.deepcopy({"usage_tracker": meter})["usage_tracker"].add_usage("m", {"prompt_tokens": 3})

    assert meter.usage == Usage(1, 3)


def ask(number: int = 1) -> None:
    """Ask the current model."""
    dspy.Predict("question -> answer")(question=f"{number} + 1")


def test_meter_counts_what_dspy_asks() -> None:
    """In DSPy's settings, a meter sees each answer with its tokens."""
    meter = UsageMeter()

    with dspy.context(lm=scripted_lm(), usage_tracker=meter):
        ask(1)
        ask(2)

    assert meter.usage == Usage(2, 20, 4)


def test_answers_from_the_cache_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request twice is one call."""
    cache = Cache(enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir="")
    monkeypatch.setitem(vars(dspy), "cache", cache)  # not the user's own in their home
    meter, lm = UsageMeter(), scripted_lm(log=tmp_path / "calls", cache=True)

    with dspy.context(lm=lm, usage_tracker=meter):
        ask()
        ask()

    assert (tmp_path / "calls").read_text() == "call\n"
    assert meter.usage == Usage(1, 10, 2)


class Parallel(dspy.Module):
    """Asks three times at once, with DSPy's own threads."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self) -> list[Any]:
        example = dspy.Example(question="1 + 1").with_inputs("question")
        work = [(self.predict, example) for _ in range(3)]
        found: list[Any] = dspy.Parallel(num_threads=3, disable_progress_bar=True)(work)
        return found


def dspy_threads() -> None:
    """Ask three times at once, in threads of DSPy."""
    Parallel()()


def our_threads() -> None:
    """Ask three times at once, in threads that copy the context."""
    with ContextThreadPool(3) as threads:
        list(threads.map(ask, range(3)))


@pytest.mark.parametrize("run", [our_threads, dspy_threads], ids=["ours", "dspy.Parallel"])
def test_calls_of_a_programs_threads_are_counted(run: Callable[[], object]) -> None:
    """A program that asks in threads is charged for all of them."""
    meter = UsageMeter()

    with dspy.context(lm=scripted_lm(), usage_tracker=meter):
        run()

    assert meter.usage == Usage(3, 30, 6)


def test_meters_of_two_rows_are_apart() -> None:
    """What one row asks is not charged to another."""
    one, two = UsageMeter(), UsageMeter()

    with dspy.context(lm=scripted_lm()):
        with dspy.context(usage_tracker=one):
            ask()
        with dspy.context(usage_tracker=two):
            ask()
            ask()

    assert (one.usage.calls, two.usage.calls) == (1, 2)
