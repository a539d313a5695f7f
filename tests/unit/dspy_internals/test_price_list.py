from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from dspy import lm15
from dspy.clients import capabilities, costs
from dspy.clients.model_metadata import model_info

from pytest_mipro.dspy_internals import quick_calls
from pytest_mipro.dspy_internals.price_list import CachedLookup
from pytest_mipro.evaluate import retry_lm_errors

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("packaged_list")


@pytest.fixture
def packaged_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let DSPy read the price list that it ships, not the one on the network."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


class Search:
    """A slow lookup that records the models."""

    def __init__(self) -> None:
        self.models: list[str] = []

    def __call__(
        self, provider: str, model: str, *, namespaces: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """Return an entry that has the arguments."""
        self.models.append(model)
        time.sleep(0.002)  # So that other threads can run in between.
        if model == "damaged":
            raise ValueError(model)
        return {"by": [provider, model], "namespaces": namespaces}


class TestCachedLookup:
    def test_a_model_is_looked_up_once(self) -> None:
        """The second time, the entry comes from the cache."""
        search = Search()
        lookup = CachedLookup(search)
        entries = [lookup("openai", "mine", namespaces=None) for _ in range(3)]
        assert entries == [{"by": ["openai", "mine"], "namespaces": None}] * 3
        assert search.models == ["mine"]

    def test_all_arguments_are_part_of_the_key(self) -> None:
        """Another provider, model or namespace has another entry."""
        lookup = CachedLookup(Search())
        assert lookup("vllm", "mine")["by"] == ["vllm", "mine"]
        assert lookup("openai", "mine")["by"] == ["openai", "mine"]
        assert lookup("openai", "other")["by"] == ["openai", "other"]
        assert lookup("openai", "other", namespaces=("xai",))["namespaces"] == ("xai",)

    def test_a_caller_cannot_change_the_cached_entry(self) -> None:
        """A caller gets a deep copy."""
        lookup = CachedLookup(Search())
        changed = lookup("openai", "mine")
        changed["by"].append("changed")
        changed["new"] = True
        assert lookup("openai", "mine") == {"by": ["openai", "mine"], "namespaces": None}

    def test_threads_that_start_together_search_once(self) -> None:
        """The first thread looks the model up, and the others wait for its result."""
        search, start = Search(), Barrier(8)
        lookup = CachedLookup(search)

        def look_up() -> dict[str, Any]:
            start.wait()
            return lookup("openai", "mine")

        with ThreadPoolExecutor(8) as threads:
            entries = [future.result() for future in [threads.submit(look_up) for _ in range(8)]]
        assert entries == [{"by": ["openai", "mine"], "namespaces": None}] * 8
        assert search.models == ["mine"]

    def test_an_error_is_not_cached(self) -> None:
        """The error of DSPy's function is raised, and the next call searches again."""
        search = Search()
        lookup = CachedLookup(search)
        for _ in range(2):
            with pytest.raises(ValueError, match="damaged"):
                lookup("openai", "damaged")
        assert search.models == ["damaged"] * 2

    def test_arguments_without_a_hash_are_not_cached(self) -> None:
        """DSPy accepts namespaces as a list, too."""
        lookup: Callable[..., dict[str, Any]] = CachedLookup(Search())
        assert lookup("openai", "mine", namespaces=["xai"])["namespaces"] == ["xai"]

    def test_wrong_arguments_raise_the_error_of_dspy(self) -> None:
        """Without a model the error is that of DSPy's function."""
        with pytest.raises(TypeError, match="model"):
            CachedLookup(Search())("openai")


def lookups() -> list[object]:
    """Return the functions with which DSPy looks models up at present."""
    return [vars(module)["model_info"] for module in (capabilities, costs)]


class TestCachedPriceList:
    def test_dspy_is_unchanged_outside_of_a_block(self) -> None:
        """DSPy has its own function before and after a block."""
        assert lookups() == [model_info, model_info]
        with quick_calls():
            assert model_info not in lookups()
        assert lookups() == [model_info, model_info]

    def test_retried_work_is_in_a_block(self) -> None:
        """Each attempt at a row uses the cached price list."""
        assert model_info not in retry_lm_errors(lookups, "looking")
        assert lookups() == [model_info, model_info]

    def test_failing_work_restores_dspy(self) -> None:
        """A program that raises ends the block."""

        def fail() -> None:
            assert model_info not in lookups()
            raise KeyError

        with pytest.raises(KeyError):
            retry_lm_errors(fail, "failing")
        assert lookups() == [model_info, model_info]


USAGE = lm15.Usage(input_tokens=1000, output_tokens=50, total_tokens=1050)
CACHING = lm15.Usage(
    input_tokens=1000,
    output_tokens=50,
    total_tokens=1050,
    cache_read_tokens=300,
    cache_write_tokens=200,
)
LONG = lm15.Usage(input_tokens=250_000, output_tokens=50, total_tokens=250_050)


def estimate(
    provider: str, model: str, usage: lm15.Usage, tier: str, **options: Any
) -> tuple[float | None, dict[str, Any]]:
    """Return DSPy's estimate of the cost of a response, and its source."""
    response = lm15.Response(
        id="1",
        model=model,
        message=lm15.Message.assistant("yes"),
        finish_reason="stop",
        usage=usage,
        provider_data={"service_tier": tier},
    )
    estimated: tuple[float | None, dict[str, Any]] = costs.estimate_cost(
        response, provider=provider, requested_model="gpt-4o-mini", **options
    )
    return estimated


@pytest.mark.parametrize(
    "provider, model, usage, tier, namespaces, is_priced",
    [
        ("openai", "gpt-4o-mini", USAGE, "default", None, True),
        ("openai", "gpt-4o-mini", CACHING, "default", None, True),
        ("openai", "gpt-4o-mini", USAGE, "priority", None, True),
        ("openai", "gpt-4o-mini", USAGE, "flex", None, False),
        ("openai", "gpt-4o-mini-of-my-own", USAGE, "default", None, True),  # The requested one.
        ("anthropic", "claude-sonnet-4-5", CACHING, "default", None, True),
        ("gemini", "gemini-2.5-pro", USAGE, "default", None, True),
        ("gemini", "gemini-2.5-pro", LONG, "default", None, True),
        ("vllm", "my-model", USAGE, "default", None, False),
        ("mine", "gpt-4o-mini", USAGE, "default", ("openai",), True),
        ("mine", "gpt-4o-mini", USAGE, "default", ["openai"], True),
        ("mine", "my-model", USAGE, "default", (), False),
    ],
)
def test_costs_are_the_same_outside_of_a_block(
    provider: str,
    model: str,
    usage: lm15.Usage,
    tier: str,
    namespaces: tuple[str, ...] | list[str] | None,
    *,
    is_priced: bool,
) -> None:
    """The first response in a block and later ones have the cost that DSPy estimates."""

    def priced() -> tuple[float | None, dict[str, Any]]:
        return estimate(provider, model, usage, tier, namespaces=namespaces)

    outside = priced()
    with quick_calls():
        inside = [priced() for _ in range(2)]
    assert inside == [outside] * 2
    assert (outside[0] is not None) is is_priced
