from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dspy
import pytest
from scripted import scripted_lm

from pytest_mipro import fingerprint
from pytest_mipro.errors import DeclarationError, ModelError
from pytest_mipro.models.local.line_adapter import LineAdapter
from pytest_mipro.models.resolution import DEFAULT_TIMEOUT, Model, resolve_model


@pytest.mark.parametrize("spec", [None, ""])
def test_no_model_is_refused_with_the_three_ways(spec: str | None) -> None:
    """The error shows the flag, the ini option, the fixture, and the model that needs no key."""
    with pytest.raises(ModelError) as caught:
        resolve_model(spec)

    message = str(caught.value)
    for way in ("--mipro-lm openai/", "mipro_lm = openai/", "def mipro_lm(): return dspy.LM("):
        assert way in message
    assert 'pip install "pytest-mipro[local]"' in message
    assert isinstance(caught.value, DeclarationError)


class Own(dspy.LM):
    """A model of a user's own class."""


@pytest.mark.parametrize("make", [scripted_lm, lambda: Own("openai/gpt-test")])
def test_model_with_an_engine_or_class_of_its_own_is_taken_as_it_is(make: Any) -> None:
    """An LM of another class or engine keeps its timeout, its retries and its identity."""
    lm = make()
    kwargs, retries = dict(lm.kwargs), lm.num_retries

    model = resolve_model(lm, timeout=9.0)

    assert model == Model(lm, adapter=None, threads=None)
    assert (lm.kwargs, lm.num_retries) == (kwargs, retries)


@pytest.mark.parametrize(
    "own, timeout", [({}, 9.0), ({"timeout": 3}, 3), ({"timeout": None}, None)]
)
def test_users_model_gets_a_timeout_where_it_has_none(own: Any, timeout: float | None) -> None:
    """A dspy.LM is bounded like one made from a name; its own timeout wins."""
    lm = dspy.LM("openai/gpt-test", api_key="x", max_tokens=50, num_retries=8, **own)

    model = resolve_model(lm, timeout=9.0).lm

    assert model.kwargs["timeout"] == timeout
    assert model.num_retries == 0
    assert model.kwargs["max_tokens"] == 50
    assert (lm.kwargs.get("timeout"), lm.num_retries) == (own.get("timeout"), 8)


def test_timeout_leaves_the_keys_alone() -> None:
    """A model with another timeout is the same model to the store."""
    lm = dspy.LM("openai/gpt-test", api_key="x")

    assert fingerprint.describe_model(
        resolve_model(lm, timeout=9.0).lm
    ) == fingerprint.describe_model(lm)


def test_model_string_makes_a_model_with_a_timeout() -> None:
    """A model from a string has a timeout and no retries."""
    model = resolve_model("openai/gpt-4o-mini")

    assert isinstance(model.lm, dspy.LM)
    assert model.lm.model == "openai/gpt-4o-mini"
    assert model.lm.kwargs["timeout"] == DEFAULT_TIMEOUT
    assert model.lm.num_retries == 0
    assert 0 < DEFAULT_TIMEOUT <= 120
    assert (model.adapter, model.threads) == (None, None)


def test_timeout_can_be_chosen() -> None:
    """The caller's timeout is the model's."""
    lm = resolve_model("anthropic/claude-test", timeout=5).lm

    assert lm.kwargs["timeout"] == 5


@pytest.mark.parametrize(
    "name", ["ollama_chat/llama3.2:1b", "openrouter/meta/llama-3", "groq/llama-3.1-8b-instant"]
)
def test_provider_may_be_any(name: str) -> None:
    """The text after the first slash is not checked, and no call is made."""
    assert resolve_model(name).lm.model == name


@pytest.mark.parametrize(
    "spec, words",
    [
        ("gpt-4o-mini", ["lm='gpt-4o-mini'", "PROVIDER/MODEL", "openai/gpt-4o-mini", "'local'"]),
        ("Local", ["lm='Local'", "'local'"]),
        ("openai/", ["lm='openai/'", "no model id"]),
        (3, ["lm=3", "a model string, 'local' or a dspy.LM"]),
        (dspy.LM, ["lm=<class", "a model string, 'local' or a dspy.LM"]),
        (["openai/gpt"], ["lm=['openai/gpt']", "a model string"]),
        (Path("openai/gpt"), ["Path(", "a model string"]),
    ],
)
def test_what_is_no_model_is_refused(spec: Any, words: list[str]) -> None:
    """The error names the value and what a model may be."""
    with pytest.raises(ModelError) as caught:
        resolve_model(spec)

    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["/gpt-4o", " /gpt-4o"])
def test_missing_provider_is_refused(name: str) -> None:
    """A slash alone names no provider."""
    with pytest.raises(ModelError, match="PROVIDER/MODEL"):
        resolve_model(name)


def test_local_is_the_embedded_model_and_how_to_drive_it() -> None:
    """The embedded model has its adapter, takes two calls at a time, and is not loaded yet."""
    pytest.importorskip("xllamacpp")

    model = resolve_model("local")

    assert isinstance(model.lm, dspy.LM)
    assert "smollm2" in model.lm.model
    assert isinstance(model.adapter, LineAdapter)
    assert model.threads == min(2, os.cpu_count() or 1)
