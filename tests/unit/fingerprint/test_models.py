from __future__ import annotations

import json
from typing import Any

import dspy
import pytest
from fingerprints import length
from scripted import scripted_lm

from pytest_mipro.fingerprint import describe_adapter, describe_model

pytestmark = pytest.mark.uses("dspy", "pydantic")

SECRET = "sk-do-not-show-5f1d"


@pytest.mark.parametrize(
    "kwargs",
    [
        {"api_key": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"extra_headers": {"X-Api-Key": SECRET}},
        {"api_base": f"https://user:{SECRET}@models.example/v1"},
        {"api_base": f"https://{SECRET}@models.example/v1"},
        {"api_base": f"https://models.example/v1?key={SECRET}"},
        {"api_base": f"https://models.example/v1#{SECRET}"},
        {"api_base": f"user:{SECRET}@models.example/v1"},
        {"base_url": f"https://user:{SECRET}@models.example/v1?key={SECRET}"},
        {"extra_query": {"code": SECRET}},
        {"aws_secret_access_key": SECRET},
        {"aws_session_token": SECRET},
        {"vertex_credentials": SECRET},
        {"azure_password": SECRET},
        {"azure_ad_token_provider": lambda: SECRET},
        {"extra_body": {"api_key": SECRET}},
        {"fallbacks": [{"model": "openai/other", "api_key": SECRET}]},
    ],
    ids="-".join,
)
def test_no_secret_in_the_description_of_a_model(kwargs: dict[str, Any]) -> None:
    """A description has no credential, and another credential does not change it."""
    rotated = json.loads(json.dumps(kwargs, default=str).replace(SECRET, "sk-other"))

    description = describe_model(dspy.LM("openai/gpt-test", **kwargs))

    assert SECRET not in json.dumps(description)
    assert description == describe_model(dspy.LM("openai/gpt-test", **rotated))


def test_description_of_a_model_is_readable() -> None:
    """The description has the model, the endpoint and the sampling parameters."""
    lm = dspy.LM("openai/gpt-test", temperature=0.3, max_tokens=5, api_base="http://h:8000/v1?a=b")

    description = describe_model(lm)

    assert description["model"] == "openai/gpt-test"
    assert description["endpoint"] == "http://h:8000/v1"
    assert description["sampling"] == {"temperature": 0.3, "max_tokens": 5}


def test_endpoint_of_the_environment_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway in the environment replaces the provider's endpoint, and loses its credentials."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_BASE", f"https://user:{SECRET}@one.example/v1?key={SECRET}")

    assert describe_model(dspy.LM("openai/gpt-test"))["endpoint"] == "https://one.example/v1"
    assert (
        describe_model(dspy.LM("openai/gpt-test", api_base="http://two/v1"))["endpoint"]
        == "http://two/v1"
    )
    assert describe_model(dspy.LM("anthropic/claude-test"))["endpoint"] is None
    assert describe_model(scripted_lm())["endpoint"] is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_completion_tokens": 5},
        {"stop_token_ids": [1]},
        {"extra_body": {"min_tokens": 3}},
        {"fallbacks": [{"model": "openai/other"}]},
        {"tools": [length]},
    ],
    ids="-".join,
)
def test_parameters_change_the_description(kwargs: dict[str, Any]) -> None:
    """A sampling parameter is described at any depth, though its name resembles a credential's."""
    assert describe_model(dspy.LM("openai/gpt-test", **kwargs)) != describe_model(
        dspy.LM("openai/gpt-test")
    )


def test_engine_is_described_by_class_and_state() -> None:
    """Engines with equal states have equal descriptions; the state changes the description."""
    assert describe_model(scripted_lm(base=30)) == describe_model(scripted_lm(base=30))
    assert describe_model(scripted_lm(base=30)) != describe_model(scripted_lm(base=31))


def test_malformed_endpoint_is_described() -> None:
    """Malformed URLs change the description, too."""
    first, second = (
        describe_model(dspy.LM("openai/gpt-test", api_base=url))
        for url in ("http://[::1", "http://[::2")
    )

    assert first != second


class _Quiet(dspy.ChatAdapter):
    def __init__(self, tone: object) -> None:
        super().__init__()
        self.tone = tone
        self._calls = tone


def test_adapter_is_described_by_class_and_public_attributes() -> None:
    """The class and public attributes change the description, private attributes do not."""
    quiet = _Quiet("calm")
    quiet._calls = 7

    assert describe_adapter(quiet) == describe_adapter(_Quiet("calm"))
    assert describe_adapter(quiet) != describe_adapter(_Quiet("sharp"))
    assert describe_adapter(quiet) != describe_adapter(dspy.ChatAdapter())
    assert describe_adapter(None) is None


def test_adapter_with_a_model_is_described_by_the_model() -> None:
    """A model inside an adapter is described by its content, without its credentials."""
    original, rotated, changed = (
        describe_adapter(dspy.TwoStepAdapter(dspy.LM(name, api_key=key)))
        for name, key in (("openai/a", SECRET), ("openai/a", "other"), ("openai/b", "other"))
    )

    assert original == rotated != changed
    assert SECRET not in json.dumps(original)
