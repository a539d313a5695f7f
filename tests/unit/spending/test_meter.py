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

from pytest_mipro.evaluate.thread_pool import ContextThreadPool
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
def test_a_call_counts_with_and_without_tokens(
    entry: dict[str, Any] | None, expected: Usage
) -> None:
    """A call counts also if the provider reports no tokens."""
    meter = UsageMeter()

    meter.add_usage("openai/gpt-test", entry)

    assert meter.usage == expected


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))))
def test_calls_add_up(calls: list[tuple[int, int]]) -> None:
    """The usage is the sum over all calls of all models."""
    meter = UsageMeter()

    for number, (prompt_tokens, completion_tokens) in enumerate(calls):
        entry = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        meter.add_usage(f"m{number}", entry)

    prompt_total = sum(prompt_tokens for prompt_tokens, _ in calls)
    completion_total = sum(completion_tokens for _, completion_tokens in calls)
    assert meter.usage == Usage(len(calls), prompt_total, completion_total)


def test_a_new_meter_has_no_usage() -> None:
    """It has not counted a call."""
    assert UsageMeter().usage == Usage()


ENTRY = {"prompt_tokens": 10, "completion_tokens": 2}


class TestSpent:
    def test_it_is_the_sum_of_the_calls(self) -> None:
        """An attempt of two calls has the usage of both."""
        meter = UsageMeter()
        meter.begin_attempt()
        for _ in range(2):
            meter.add_usage("m", ENTRY)
            meter.count_response()
        assert meter.spent == Usage(2, 20, 4)

    def test_it_is_zero_without_calls(self) -> None:
        """The usage of a program without a model is known."""
        meter = UsageMeter()
        meter.begin_attempt()
        assert meter.spent == Usage()

    def test_it_is_unknown_after_a_cached_response(self) -> None:
        """A cached response without usage does not count as 0 tokens."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.count_response()
        assert meter.spent is None

    def test_it_has_the_usage_of_a_cached_response(self) -> None:
        """A cached response has its original tokens at the present price, and is not charged."""
        account = Account(prices=Prices({"m": Price(prompt=1.0, completion=2.0)}))
        with account.current():
            meter = UsageMeter()
        meter.begin_attempt()
        meter.add_cached("m", ENTRY)
        meter.count_response()
        assert meter.spent == Usage(1, 10, 2, priced=1, usd=14e-6)
        assert meter.usage == account.usage == Usage()

    def test_a_cached_response_counts_once(self) -> None:
        """Only the responses of the last attempt count."""
        meter = UsageMeter()
        for _ in range(2):
            meter.begin_attempt()
            meter.add_cached("m", ENTRY)
            meter.count_response()
        assert meter.spent == Usage(1, 10, 2)

    def test_it_is_unknown_if_a_cached_response_has_no_tokens(self) -> None:
        """A cached entry of 0 tokens was not counted by the provider."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_cached("m", {"prompt_tokens": 0, "completion_tokens": 0})
        meter.count_response()
        assert meter.spent is None

    @pytest.mark.parametrize("entry", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}])
    def test_it_is_unknown_if_the_provider_did_not_count(
        self, entry: dict[str, Any] | None
    ) -> None:
        """A response without tokens does not count as 0 tokens."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_usage("m", entry)
        meter.count_response()
        assert meter.spent is None

    def test_it_leaves_out_failed_attempts(self) -> None:
        """A retried row has the usage of its last attempt."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_usage("m", ENTRY)
        meter.count_response()
        meter.begin_attempt()
        for _ in range(2):
            meter.add_usage("m", ENTRY)
            meter.count_response()
        assert meter.usage.calls == 3
        assert meter.spent == Usage(2, 20, 4)

    def test_it_includes_cached_calls_of_an_earlier_attempt(self) -> None:
        """The second attempt reads the response of the first from DSPy's cache."""
        meter = UsageMeter()
        meter.begin_attempt()
        meter.add_usage("m", ENTRY)
        meter.count_response()
        meter.begin_attempt()
        meter.count_response()
        meter.add_usage("m", ENTRY)
        meter.count_response()
        assert meter.spent == Usage(2, 20, 4)


def test_calls_from_several_threads_are_all_counted() -> None:
    """No call is lost if responses arrive at the same time."""
    meter = UsageMeter()

    def count() -> None:
        for _ in range(2000):
            meter.add_usage("m", {"prompt_tokens": 1})

    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(count)

    assert meter.usage == Usage(16_000, 16_000)


def test_a_copy_for_a_thread_is_the_same_meter() -> None:
    """DSPy copies its settings per thread, and all copies count in one meter."""
    meter = UsageMeter()

    copy.deepcopy({"usage_tracker": meter})["usage_tracker"].add_usage("m", {"prompt_tokens": 3})

    assert meter.usage == Usage(1, 3)


def call_model(number: int = 1) -> None:
    """Call the current model."""
    dspy.Predict("question -> answer")(question=f"{number} + 1")


def test_a_meter_counts_the_calls_of_dspy() -> None:
    """In DSPy's settings, a meter gets each response with its tokens."""
    meter = UsageMeter()

    with dspy.context(lm=scripted_lm(), usage_tracker=meter):
        call_model(1)
        call_model(2)

    assert meter.usage == Usage(2, 20, 4)


def test_cached_responses_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated request is one call."""
    cache = Cache(enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir="")
    monkeypatch.setitem(vars(dspy), "cache", cache)  # and not the user's cache
    meter, lm = UsageMeter(), scripted_lm(log=tmp_path / "calls", cache=True)

    with dspy.context(lm=lm, usage_tracker=meter):
        call_model()
        call_model()

    assert (tmp_path / "calls").read_text() == "call\n"
    assert meter.usage == Usage(1, 10, 2)


class Parallel(dspy.Module):
    """A program that makes three calls at the same time, in threads of DSPy."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self) -> list[Any]:
        example = dspy.Example(question="1 + 1").with_inputs("question")
        work = [(self.predict, example) for _ in range(3)]
        predictions: list[Any] = dspy.Parallel(num_threads=3, disable_progress_bar=True)(work)
        return predictions


def dspy_threads() -> None:
    """Make three calls at the same time, in threads of DSPy."""
    Parallel()()


def our_threads() -> None:
    """Make three calls at the same time, in threads that copy the context."""
    # Python's parser, which makes signatures, raises SystemError in threads at times.
    predict = dspy.Predict("question -> answer")
    with ContextThreadPool(3) as threads:
        list(threads.map(lambda number: predict(question=f"{number} + 1"), range(3)))


@pytest.mark.parametrize("run", [our_threads, dspy_threads], ids=["ours", "dspy.Parallel"])
def test_calls_of_a_programs_threads_are_counted(run: Callable[[], object]) -> None:
    """The usage of a row includes the calls of its program's threads."""
    meter = UsageMeter()

    with dspy.context(lm=scripted_lm(), usage_tracker=meter):
        run()

    assert meter.usage == Usage(3, 30, 6)


def test_two_rows_have_separate_meters() -> None:
    """A call counts in the meter of its own row."""
    first, second = UsageMeter(), UsageMeter()

    with dspy.context(lm=scripted_lm()):
        with dspy.context(usage_tracker=first):
            call_model()
        with dspy.context(usage_tracker=second):
            call_model()
            call_model()

    assert (first.usage.calls, second.usage.calls) == (1, 2)
