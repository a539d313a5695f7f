from __future__ import annotations

from typing import Any

import dspy
import pytest

from pytest_mipro.fingerprint.rendering import adapter_name, rendering_key

pytestmark = pytest.mark.uses("dspy")


class Shouting(dspy.ChatAdapter):
    """Renders the instruction in capitals."""

    def format_task_description(self, signature: Any) -> str:
        """Return the instruction."""
        return str(super().format_task_description(signature)).upper()


class Silent(dspy.ChatAdapter):
    """Renders nothing without a model."""

    def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
        """Raise an error."""
        message = "ask a model first"
        raise RuntimeError(message)


def program(**demo: str) -> dspy.Module:
    """Return a program, with a demo if there is one."""
    predictor = dspy.Predict("question -> answer")
    predictor.demos = [dspy.Example(**demo)] if demo else []
    return predictor


def test_an_adapter_that_is_not_declared_is_that_of_dspy() -> None:
    """That of its settings precedes its default."""
    assert adapter_name(None) == "ChatAdapter"
    with dspy.context(adapter=dspy.JSONAdapter()):
        assert adapter_name(None) == "JSONAdapter"
        assert adapter_name(dspy.ChatAdapter()) == "ChatAdapter"


def test_the_key_is_that_of_the_texts() -> None:
    """Another adapter with the same texts has it, and another prompt or text has not."""

    class Same(dspy.ChatAdapter):
        pass

    key = rendering_key(program(), None)
    assert key == rendering_key(program(), Same())
    keys = {
        key,
        rendering_key(program(), Shouting()),
        rendering_key(program(), dspy.JSONAdapter()),
        rendering_key(program(question="1 + 1", answer="2"), None),
    }
    assert len(keys) == 4


def test_a_prompt_that_needs_a_model_has_no_key() -> None:
    """So a comparison does not claim to know."""
    assert not rendering_key(program(), Silent())
