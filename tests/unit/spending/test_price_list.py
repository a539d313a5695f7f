from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from dspy import lm15
from dspy.clients import capabilities, costs
from dspy.clients.model_metadata import model_info

from pytest_mipro.evaluate import retry_lm_errors
from pytest_mipro.spending.price_list import CachedLookup, Replacement, cached_price_list

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("packaged_list")


@pytest.fixture
def packaged_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have DSPy read the price list it came with, not the one on the network."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


class Search:
    """A lookup that takes a moment, and counts."""

    def __init__(self) -> None:
        self.models: list[str] = []

    def __call__(
        self, provider: str, model: str, *, namespaces: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """Return an entry that says what it was looked up by."""
        self.models.append(model)
        time.sleep(0.002)  # For other threads to come in between.
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

    def test_what_an_entry_depends_on_is_told_apart(self) -> None:
        """A provider, a model and namespaces each have entries of their own."""
        lookup = CachedLookup(Search())
        assert lookup("vllm", "mine")["by"] == ["vllm", "mine"]
        assert lookup("openai", "mine")["by"] == ["openai", "mine"]
        assert lookup("openai", "other")["by"] == ["openai", "other"]
        assert lookup("openai", "other", namespaces=("xai",))["namespaces"] == ("xai",)

    def test_a_changed_entry_stays_with_who_changed_it(self) -> None:
        """A caller gets a copy, down to the lists in it."""
        lookup = CachedLookup(Search())
        changed = lookup("openai", "mine")
        changed["by"].append("changed")
        changed["new"] = True
        assert lookup("openai", "mine") == {"by": ["openai", "mine"], "namespaces": None}

    def test_threads_that_begin_together_search_once(self) -> None:
        """The first of them looks the model up, and the others wait for it."""
        search, start = Search(), Barrier(8)
        lookup = CachedLookup(search)

        def ask() -> dict[str, Any]:
            start.wait()
            return lookup("openai", "mine")

        with ThreadPoolExecutor(8) as threads:
            entries = [asked.result() for asked in [threads.submit(ask) for _ in range(8)]]
        assert entries == [{"by": ["openai", "mine"], "namespaces": None}] * 8
        assert search.models == ["mine"]

    def test_an_error_is_not_kept(self) -> None:
        """It is raised as DSPy raises it, and the list is searched again."""
        search = Search()
        lookup = CachedLookup(search)
        for _ in range(2):
            with pytest.raises(ValueError, match="damaged"):
                lookup("openai", "damaged")
        assert search.models == ["damaged"] * 2

    def test_what_has_no_hash_is_looked_up_each_time(self) -> None:
        """DSPy takes a list of namespaces as well as a tuple."""
        lookup: Callable[..., dict[str, Any]] = CachedLookup(Search())
        assert lookup("openai", "mine", namespaces=["xai"])["namespaces"] == ["xai"]

    def test_wrong_arguments_are_refused_by_dspy(self) -> None:
        """Who leaves out the model sees the error of DSPy's function."""
        with pytest.raises(TypeError, match="model"):
            CachedLookup(Search())("openai")


def slow() -> str:
    """Stand for what is replaced."""
    return "slow"


def fast() -> str:
    """Stand for what it is replaced by."""
    return "fast"


@pytest.fixture
def modules() -> tuple[ModuleType, ModuleType]:
    """Return two modules that have imported ``slow``."""
    first, second = ModuleType("first"), ModuleType("second")
    first.slow = second.slow = slow  # type: ignore[attr-defined]
    return first, second


class TestReplacement:
    def test_it_lasts_as_long_as_the_block(self, modules: tuple[ModuleType, ModuleType]) -> None:
        """All modules have the other function in the block, and their own after it."""
        with Replacement(modules, slow, fast).active():
            assert [module.slow for module in modules] == [fast, fast]
        assert [module.slow for module in modules] == [slow, slow]

    def test_an_error_ends_it(self, modules: tuple[ModuleType, ModuleType]) -> None:
        """A block that raises restores the function, too."""
        replacement = Replacement(modules, slow, fast)
        with pytest.raises(KeyError), replacement.active():
            raise KeyError
        assert modules[0].slow is slow

    def test_the_last_of_several_blocks_ends_it(
        self, modules: tuple[ModuleType, ModuleType]
    ) -> None:
        """Blocks of several threads overlap in any order."""
        replacement = Replacement(modules, slow, fast)
        first, second = ExitStack(), ExitStack()
        first.enter_context(replacement.active())
        second.enter_context(replacement.active())
        first.close()
        assert modules[0].slow is fast
        second.close()
        assert modules[0].slow is slow

    def test_many_threads_leave_the_modules_as_they_were(
        self, modules: tuple[ModuleType, ModuleType]
    ) -> None:
        """In a block of any thread, the function is replaced all the time."""
        replacement = Replacement(modules, slow, fast)

        def enter_and_leave() -> set[str]:
            answers = set()
            for _ in range(200):
                with replacement.active():
                    answers |= {module.slow() for module in modules}
            return answers

        with ThreadPoolExecutor(8) as threads:
            for answers in [threads.submit(enter_and_leave) for _ in range(8)]:
                assert answers.result() == {"fast"}
        assert [module.slow for module in modules] == [slow, slow]

    def test_what_somebody_else_has_replaced_stays(
        self, modules: tuple[ModuleType, ModuleType]
    ) -> None:
        """A module that has another function keeps it, before, in and after a block."""
        first, second = modules
        first.slow = str  # type: ignore[attr-defined]
        with Replacement(modules, slow, fast).active():
            assert first.slow is str
            second.slow = int  # type: ignore[attr-defined]
        assert (first.slow, second.slow) == (str, int)

    def test_a_module_without_the_function_gets_none(self) -> None:
        """Another DSPy may import it elsewhere: it is slow there, and works."""
        module = ModuleType("other")
        before = dict(vars(module))
        with Replacement((module,), slow, fast).active():
            assert vars(module) == before
        assert vars(module) == before


def lookups() -> list[object]:
    """Return the functions by which DSPy looks models up now."""
    return [vars(module)["model_info"] for module in (capabilities, costs)]


class TestCachedPriceList:
    def test_dspy_is_as_it_was_outside_of_a_block(self) -> None:
        """Importing this package changes nothing in DSPy, and no block leaves a trace."""
        assert lookups() == [model_info, model_info]
        with cached_price_list():
            assert model_info not in lookups()
        assert lookups() == [model_info, model_info]

    def test_work_with_models_looks_them_up_once(self) -> None:
        """All that the evaluation of rows asks persistently is in a block."""
        assert model_info not in retry_lm_errors(lookups, "looking")
        assert lookups() == [model_info, model_info]

    def test_work_that_fails_restores_dspy(self) -> None:
        """A program that raises does not keep the block open."""

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
    """Return DSPy's estimate of the cost of an answer, and where it has it from."""
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
def test_cost_is_what_dspy_says_without(
    provider: str,
    model: str,
    usage: lm15.Usage,
    tier: str,
    namespaces: tuple[str, ...] | list[str] | None,
    *,
    is_priced: bool,
) -> None:
    """The first answer in a block and later ones cost what they cost outside of it."""

    def priced() -> tuple[float | None, dict[str, Any]]:
        return estimate(provider, model, usage, tier, namespaces=namespaces)

    outside = priced()
    with cached_price_list():
        inside = [priced() for _ in range(2)]
    assert inside == [outside] * 2
    assert (outside[0] is not None) is is_priced
