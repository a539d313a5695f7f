from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dspy
import pytest

from pytest_mipro.fingerprint import describe_model
from pytest_mipro.fingerprint.parameters import describe_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.uses("dspy", "pydantic")

SECRET = "sk-do-not-show-5f1d"


@pytest.mark.parametrize(
    "url, expected",
    [
        ("https://one.example/v1", "https://one.example/v1"),
        (f"https://me:{SECRET}@one.example/v1?key={SECRET}#{SECRET}", "https://one.example/v1"),
        (f"https://one.example/v1#{SECRET}", "https://one.example/v1"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_endpoint_without_credentials(url: str, expected: str) -> None:
    """Scheme, host and path stay, also those of a malformed URL."""
    assert describe_endpoint(url) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda text: {"extra_headers": {"x-portkey-config": text}},
        lambda text: {"headers": {"x-portkey-virtual-key": text}},
        lambda text: {"extra_headers": {"Authorization": SECRET, "x-tenant": text}},
        lambda text: {"extra_query": {"deployment": text}},
        lambda text: {"extra_body": {"author_style": text}},
        lambda text: {"extra_body": {"eos_token": text}},
        lambda text: {"extra_body": {"nested": [{"system_header": text}]}},
        lambda text: {"pad_token": text},
        lambda text: {"api_base": f"https://one.example/v1?deployment={text}"},
    ],
)
def test_parameter_that_may_be_a_credential_counts_as_a_digest(
    make: Callable[[str], dict[str, Any]],
) -> None:
    """It may choose the model behind a gateway, so it changes the description, without its text."""
    first, same, other_text = (
        describe_model(dspy.LM("openai/one", **make(text)))
        for text in ("quiet-owl", "quiet-owl", "loud-jay")
    )

    assert first == same != other_text
    if not any(name in str(make("")) for name in ("style", "eos_", "pad_")):
        assert "quiet-owl" not in json.dumps(first)
