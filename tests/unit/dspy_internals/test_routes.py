from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import dspy
import pytest
from dspy.clients import capabilities

from pytest_mipro.dspy_internals import quick_calls
from pytest_mipro.dspy_internals.routes import resolve


def of_dspy(lm: dspy.BaseLM) -> Any:
    """Return the route that DSPy finds."""
    assert vars(capabilities)["resolve"] is not resolve
    return capabilities.resolve(lm)


@pytest.mark.parametrize(
    "model, model_type",
    [
        *(("openai/gpt-4o-mini", "chat"), ("openai/my-model", "chat"), ("gpt-4o-mini", "chat")),
        *(("openai/gpt-4o-mini", "responses"), ("anthropic/claude-sonnet-4-5", "chat")),
        *(("ollama_chat/llama3", "chat"), ("gemini/gemini-2.5-pro", "chat")),
    ],
)
def test_routes_are_the_same(model: str, model_type: Any) -> None:
    """The first and later ones in a block are equal to DSPy's, and the later ones the same."""
    lm, again = (dspy.LM(model, model_type=model_type) for _ in range(2))
    outside = of_dspy(lm)
    with quick_calls():
        first = capabilities.resolve(lm)
        assert first is capabilities.resolve(again)
    assert first == outside
    with pytest.raises(FrozenInstanceError):
        first.model = "changed"


def test_an_error_is_not_kept() -> None:
    """A model that no provider has is looked up again."""
    lm = dspy.LM("nobodys-model")
    messages = []
    for block in (quick_calls(), quick_calls()):
        with block, pytest.raises(dspy.lm15.LM15Error) as caught:
            capabilities.resolve(lm)
        messages.append(str(caught.value))
    with pytest.raises(dspy.lm15.LM15Error) as caught:
        of_dspy(lm)
    assert messages == [str(caught.value)] * 2


def test_a_declared_provider_is_looked_up_each_time() -> None:
    """Two models of one name may have been made with different declarations."""
    lm = dspy.LM("openai/gpt-4o-mini")
    calls: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_mipro.dspy_internals.routes._resolve", calls.append)
        vars(lm)["_providers"] = (object(),)
        resolve(lm)
        resolve(lm)
    assert calls == [lm, lm]
