from __future__ import annotations

from pathlib import Path

import pytest

from pytest_mipro.redaction.names import Strength, is_secret, is_secret_value, snake_case, strength


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "API-KEY", "key", "keys", "X-Api-Key", "aws_access_key_id"),
        *("aws_secret_access_key", "azure_password", "passwd", "vertex_credentials"),
        *("Authorization", "auth", "headers", "extra_headers", "cookie", "bearer"),
        *("token", "aws_session_token", "azure_ad_token_provider", "token_file", "authToken"),
        *("MY_PAT", "my_api_key", "DB_PASS", "sslpassword", "DB_PWD", "SENTRY_DSN"),
    ],
)
def test_names_of_credentials_are_secret(name: str) -> None:
    """A parameter of such a name may hold a credential, in any spelling."""
    assert is_secret(name)
    assert strength(name) > Strength.PUBLIC


@pytest.mark.parametrize(
    "name",
    [
        *("max_tokens", "max_completion_tokens", "stop_token_ids", "min_tokens", "temperature"),
        *("model", "monkey", "keyboard", "tokenizer", "path", "first_pass_rate", 3),
    ],
)
def test_names_of_parameters_are_not_secret(name: object) -> None:
    """A parameter whose name resembles that of a credential is public."""
    assert not is_secret(name)


@pytest.mark.parametrize(
    "name", ["author_style", "GIT_AUTHOR_NAME", "eos_token", "sort_key", "PWD"]
)
def test_names_that_resemble_those_of_credentials_are_public(name: str) -> None:
    """Their values stay in texts."""
    assert strength(name) is Strength.PUBLIC


def test_users_name_more() -> None:
    """A pattern matches names in any spelling."""
    assert strength("DEPLOY_PIN", ["*_pin"]) is Strength.NAMED
    assert strength("deployPin", ["*_pin"]) is Strength.NAMED
    assert strength("pinned", ["*_pin"]) is Strength.PUBLIC


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
    "text, name, is_secret_text",
    [
        ("hunter2", "password", True),
        ("swordfish", "password", True),
        ("abc", "password", False),
        ("none", "api_key", False),
        ("EMPTY", "api_key", False),
        ("sk-no-key-required", "api_key", False),
        ("question", "key", False),
        ("document_id", "key", False),
        ("2024", "key", False),
        ("tok-123", "token", True),
        ("kjhgfdsazxcvbnmlqwert", "token", True),
        ("anything at all", "temperature", False),
        (str(Path(__file__)), "SSH_AUTH_SOCK", False),
        ("/not-a-file+but=a/key", "SECRET", True),
    ],
)
def test_values(text: str, name: str, is_secret_text: bool) -> None:
    """A word under a name that has other values, too, a placeholder and a path are no secrets."""
    assert is_secret_value(text, strength(name)) is is_secret_text


def test_a_value_that_the_user_names_is_secret_whatever_it_is() -> None:
    """Only an empty text is none."""
    assert is_secret_value("7", Strength.NAMED)
    assert not is_secret_value("", Strength.NAMED)
