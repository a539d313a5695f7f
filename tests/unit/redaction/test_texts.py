from __future__ import annotations

import time

import pytest

from pytest_mipro.redaction.texts import (
    secrets_in_url,
    secrets_in_urls,
    url_without_secrets,
    without_credentials,
    without_url_secrets,
)

URLS = [
    ("postgresql://svc:pw-1@db/x", "postgresql://svc:***@db/x"),
    ("redis://:pw-1@db:6379/0", "redis://:***@db:6379/0"),
    ("at postgresql://a:p@ss/w#?@db/x, and y@z", "at postgresql://a:***@db/x, and y@z"),
    ("https://ghp_abc123@github.com/o/r", "https://***@github.com/o/r"),
    ("https://ghp_abc123:x-oauth-basic@github.com", "https://***:***@github.com"),
    ("ssh://git@github.com/o/r", "ssh://git@github.com/o/r"),
    ("postgresql:/me:pw-1@db", "postgresql:/me:***@db"),
    ("https://host/v1?key=abc&page=2", "https://host/v1?key=***&page=2"),
    ("postgresql://db/x?sslpassword=ab", "postgresql://db/x?sslpassword=***"),
    ("https://s3/x?X-Amz-Signature=1&sig=2", "https://s3/x?X-Amz-Signature=***&sig=***"),
]
PUBLIC = [
    "http://localhost:8000/v1/@x",
    "https://host/v1?page=2&max_tokens=3",
    "mail a@b.example, see https://host",
    "a::b@c",
]


@pytest.mark.parametrize("text, expected", URLS)
def test_secrets_in_urls_are_replaced(text: str, expected: str) -> None:
    """A password may have any character, and a token may be the user."""
    assert without_url_secrets(text) == expected
    assert without_url_secrets(expected) == expected


@pytest.mark.parametrize("text", PUBLIC)
def test_other_texts_stay(text: str) -> None:
    """A port, an address of a person and a public parameter are no secrets."""
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    "text, expected",
    [
        ("host=db password=hunter2 dbname=x", "host=db password=*** dbname=x"),
        ("Client(api_key='sk-1', n=3)", "Client(api_key='***', n=3)"),
        ('{"password": "a b c", "n": 1}', '{"password": "***", "n": 1}'),
        ("{'Authorization': 'Token x1'}", "{'Authorization': '***'}"),
        ("Authorization: Bearer abc123", "Authorization: Bearer ***"),
        ("Authorization: Basic dTpwdzE=", "Authorization: Basic ***"),
        ("Password: please call us", "Password: please call us"),
        ("a bearer understanding of basic understanding", None),
        ("token=question key=answer", None),
        ("max_tokens=100", None),
    ],
)
def test_credentials_in_errors_are_replaced(text: str, expected: str | None) -> None:
    """What a message calls a password, a key or a token is replaced; sentences stay."""
    assert without_credentials(text) == (text if expected is None else expected)


def test_secrets_in_urls_are_found() -> None:
    """Those that a text may cite alone, decoded or not, or as basic authentication."""
    assert secrets_in_urls("postgresql://svc:pw%2B12@db/x?sslpassword=ab12") == {
        "pw%2B12",
        "pw+12",
        "c3ZjOnB3KzEy",
        "ab12",
    }
    assert secrets_in_urls("https://ghp_abc123@host") == {"ghp_abc123"}
    assert secrets_in_urls("ssh://git@host and postgresql://readonly@db") == set()


@pytest.mark.parametrize(
    "url, shown",
    [
        ("sqlite:///a.db?timeout=9", "sqlite:///a.db?timeout=9"),
        ("sqlite:////home/a@b/x.db", "sqlite:////home/a@b/x.db"),
        ("store.db", "store.db"),
        ("postgresql://me:hunter2@host/db", "postgresql://host/db"),
        ("postgresql+psycopg://me:hunter 2@host/db", "postgresql+psycopg://host/db"),
        ("postgresql://me:hun@ter/2@host/db?sslmode=x", "postgresql://host/db?sslmode=x"),
        ("postgresql://host/db?password=hunter2&a=b", "postgresql://host/db?password=***&a=b"),
        (
            "postgresql://host/db?a=b&sslpassword=hunter2",
            "postgresql://host/db?a=b&sslpassword=***",
        ),
        ("postgresql:/me:hunter2@host/db", "postgresql:…"),
        ("postgresql//me:hunter2@host/db", "…"),
        ("me:hunter2@host/db", "…"),
        ("hunter2@host", "…"),
        ("host=db password=hunter2", "…"),
    ],
)
def test_a_url_for_people(url: str, shown: str) -> None:
    """It has no credential, also if it is mistyped."""
    assert url_without_secrets(url) == shown


@pytest.mark.parametrize(
    "url", ["postgresql:/me:hunter2@host", "me:hunter2@host/db", "hunter2@host", "x//a:hunter2@h"]
)
def test_secrets_of_a_mistyped_url(url: str) -> None:
    """What may be a password is one; the scheme is none."""
    assert "hunter2" in secrets_in_url(url)
    assert "postgresql" not in secrets_in_url(url)


@pytest.mark.parametrize("text", ["x" * 200_000 + "@=", "://" * 20_000 + "@", "a=" * 50_000])
def test_long_texts_take_no_time(text: str) -> None:
    """No pattern looks at a text again and again."""
    start = time.process_time()
    without_credentials(text)
    assert time.process_time() - start < 5
