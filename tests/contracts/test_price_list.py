"""What ``pytest_mipro.dspy_internals.price_list`` relies on in DSPy, and why it is there at all."""

from __future__ import annotations

import inspect
import sys
from collections import UserDict
from collections.abc import ItemsView
from typing import TYPE_CHECKING, Any

import dspy
import faulty
import pytest
from dspy.clients import capabilities, costs, model_metadata

from pytest_mipro.dspy_internals import quick_calls

if TYPE_CHECKING:
    from collections.abc import Iterator


class CountedList(UserDict[str, Any]):
    """A price list that counts how often it is searched."""

    def __init__(self, entries: dict[str, Any]) -> None:
        super().__init__(entries)
        self.searches = 0

    def items(self) -> ItemsView[str, Any]:
        """Begin a search."""
        self.searches += 1
        return ItemsView(self)


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> CountedList:
    """Return the list in which DSPy looks models up during the test."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    model_metadata.source_info()  # It loads the list.
    counted = CountedList(vars(model_metadata)["_data"])
    monkeypatch.setattr(model_metadata, "_data", counted)
    return counted


@pytest.fixture(scope="module")
def server() -> Iterator[faulty.Server]:
    """Return a server that answers under any model name."""
    with faulty.Server.running() as running:
        yield running


def served(server: faulty.Server, model: str) -> dspy.LM:
    """Return an LM on the server."""
    return dspy.LM(
        f"openai/{model}", api_base=server.address, api_key="x", engine="lm15", cache=False
    )


def ask(lm: dspy.LM, number: int = 1) -> None:
    """Call the model once."""
    with dspy.context(lm=lm):
        dspy.Predict("question -> answer")(question=f"{number} + 1")


def test_dspy_searches_its_list_at_each_call(
    server: faulty.Server, price_list: CountedList
) -> None:
    """Where this fails, DSPy looks a model up once by itself: delete ``price_list.py``."""
    lm = served(server, "unlisted-outside")
    ask(lm, 1)
    first = price_list.searches
    ask(lm, 2)
    assert price_list.searches - first >= 1


def test_later_calls_in_a_block_search_nothing(
    server: faulty.Server, price_list: CountedList
) -> None:
    """Where this fails, calls look models up by another way than what is replaced."""
    lm = served(server, "unlisted-inside")
    searches = []
    with quick_calls():
        for number in range(4):
            ask(lm, number)
            assert not lm.supports_response_schema
            searches.append(price_list.searches)
    # One for the price, and one for what the model supports.
    assert searches == [2, 2, 2, 2]


@pytest.mark.parametrize("model", ["gpt-4o-mini", "unlisted"])
def test_the_history_is_the_same(server: faulty.Server, model: str) -> None:
    """A call records the cost, and where it is from, that it records outside of a block."""
    lm = served(server, model)
    ask(lm)
    with quick_calls():
        ask(lm)
    outside, inside = (
        {name: call[name] for name in ("cost", "cost_details", "usage")} for call in lm.history
    )
    assert inside == outside
    assert (inside["cost"] is not None) is (model == "gpt-4o-mini")


def test_the_modules_that_look_models_up_are_those_replaced(server: faulty.Server) -> None:
    """Nothing else that a call loads has the function under a name of its own."""
    ask(served(server, "gpt-4o-mini"))
    function = model_metadata.model_info
    readers = {
        name
        for name, module in list(sys.modules.items())
        if name.startswith("dspy.") and function in vars(module).values()
    }
    assert readers == {module.__name__ for module in (capabilities, costs, model_metadata)}


def test_the_function_takes_what_decides_its_result() -> None:
    """A provider, a model and namespaces are all that an entry is kept under."""
    parameters = inspect.signature(model_metadata.model_info).parameters.values()
    assert [str(parameter) for parameter in parameters] == ["provider", "model", "namespaces=None"]
