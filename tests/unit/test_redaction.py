from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dspy
import pytest

from pytest_mipro.redaction import credentials, is_secret, redact, snake_case

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON

SECRET = "sk-do-not-show-5f1d"


pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the credentials that the environment of the tests may have."""
    for name in list(os.environ):
        if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "API-KEY", "key", "keys", "X-Api-Key", "aws_access_key_id"),
        *("aws_secret_access_key", "azure_password", "passwd", "vertex_credentials"),
        *("Authorization", "auth", "headers", "extra_headers", "cookie", "bearer"),
        *("token", "aws_session_token", "azure_ad_token_provider", "token_file", "authToken"),
    ],
)
def test_names_of_credentials_are_secret(name: str) -> None:
    """A parameter of such a name holds a credential, in any spelling."""
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("max_tokens", "max_completion_tokens", "stop_token_ids", "min_tokens", "temperature"),
        *("model", "monkey", "keyboard", "tokenizer", 3),
    ],
)
def test_names_of_parameters_are_not_secret(name: object) -> None:
    """A parameter whose name resembles that of a credential is public."""
    assert not is_secret(name)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("maxTokens", "max_tokens"),
        ("X-Api-Key", "x_api_key"),
        ("api base", "api_base"),
        ("top_p", "top_p"),
        (7, "7"),
    ],
)
def test_snake_case_joins_words_by_underscores(name: object, expected: str) -> None:
    """Camel case, hyphens and spaces separate words."""
    assert snake_case(name) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"api_key": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"extra_body": {"api_key": SECRET}},
    ],
    ids=["parameter", "headers", "nested"],
)
def test_credentials_of_a_model_are_found(parameters: dict[str, Any]) -> None:
    """A credential is found at any depth, and without the scheme of a header."""
    assert SECRET in credentials([dspy.LM("openai/gpt-test", **parameters)])


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "CLIENT_SECRET", "PGPASSWORD"])
def test_credentials_of_the_environment_are_found(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A variable with the name of a credential is one, though no model uses it."""
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("HOME_PAGE", "https://one.example")

    assert credentials([]) == {SECRET}


def test_short_values_are_no_credentials() -> None:
    """A placeholder such as "none" is left in texts."""
    assert credentials([dspy.LM("openai/gpt-test", api_key="none")]) == set()


def test_parameters_are_no_credentials() -> None:
    """A long value under a public name is left in texts."""
    lm = dspy.LM("openai/gpt-test", api_base="https://one.example/v1", stop=["a long stop word"])

    assert credentials([lm]) == set()


def test_redact_replaces_secrets_in_all_texts() -> None:
    """Texts at any depth lose the secret, and other values stay as they are."""
    value: JSON = {"message": f"401 for ?key={SECRET}", "rows": [SECRET, 3, None, True], "n": 0.5}

    assert redact(value, [SECRET]) == {
        "message": "401 for ?key=***",
        "rows": ["***", 3, None, True],
        "n": 0.5,
    }


def test_redact_replaces_the_longest_secret_first() -> None:
    """A secret that contains another secret is replaced as a whole."""
    assert redact(f"Bearer {SECRET}!", [SECRET, f"Bearer {SECRET}"]) == "***!"


def test_redact_without_secrets_returns_the_value() -> None:
    """Without a secret, nothing is copied."""
    value = {"message": SECRET}

    assert redact(value, []) is value
