from __future__ import annotations

import pytest

from pytest_mipro.fingerprint.credentials import is_credential


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key"),
        *("Ocp-Apim-Subscription-Key", "aws_secret_access_key", "aws_access_key_id"),
        *("aws_session_token", "vertex_credentials", "azure_ad_token_provider", "client_secret"),
        *("password", "db_passwd", "key", "token", "code", "access_token", "x-auth-token", "sig"),
    ],
)
def test_name_of_a_credential(name: str) -> None:
    """A parameter of this name says only who asks."""
    assert is_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        *("author_style", "eos_token", "pad_token", "stop_token_ids", "max_tokens", "tokens"),
        *("x-portkey-config", "x-portkey-virtual-key", "system_header", "auth_mode", "encoder"),
        *("key_points", "keyword", "tokenizer", "cookies_allowed_in_answers", "model"),
        *("signature_style", "SIGNATURE_MODE", "cookie_policy"),
    ],
)
def test_other_name(name: str) -> None:
    """A parameter of this name may decide an answer."""
    assert not is_credential(name)
