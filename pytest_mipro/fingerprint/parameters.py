"""Descriptions of the parameters of models and engines, without credentials.

A credential is left out, so that another one changes no key. What only might be a credential,
such as a header, is described by its digest: it may choose the model behind a gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from pytest_mipro.canonical import digest
from pytest_mipro.fingerprint.credentials import is_credential
from pytest_mipro.redaction import is_secret, snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import CodeWalker

_APART = re.compile(r"(^|_)(headers|query)$")
"""Matches names of parameters whose items may each be a credential."""
_URL = re.compile(r"(^|_)(base|url|uri|endpoint|proxy)$")


def describe_parameters(
    parameters: Mapping[str, object], walker: CodeWalker, label: str
) -> dict[str, JSON]:
    """Describe parameters by name, in order, without credentials.

    Args:
        parameters: The parameters of a model or the attributes of an engine.
        walker: Describes the values.
        label: What the parameters belong to, in messages.
    """
    items = sorted((str(name), value) for name, value in parameters.items())
    return {
        name: _describe(name, value, walker, f"{name} of the {label}")
        for name, value in items
        if not (is_credential(name) or _has_only_credentials(value))
    }


def describe_endpoint(url: str) -> str:
    """Return scheme, host and path of a URL, also of a malformed one, and its query's digest."""
    address, _, rest = url.partition("?")
    scheme, separator, host_and_path = address.partition("#")[0].rpartition("://")
    host, slash, path = host_and_path.partition("/")
    query = {name: digest(value) for name, value in _query_of(rest)}
    suffix = f"?{digest(query)}" if query else ""
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}{suffix}"


def _has_only_credentials(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(is_credential, value))


def _query_of(text: str) -> Iterator[tuple[str, str]]:
    query = urlsplit(f"?{text}").query
    return (item for item in parse_qsl(query, keep_blank_values=True) if not is_credential(item[0]))


def _describe(name: str, value: object, walker: CodeWalker, label: str) -> JSON:
    if isinstance(value, str) and _URL.search(snake_case(name)):
        return describe_endpoint(value)
    if isinstance(value, Mapping):
        parts = describe_parameters(value, walker, label)
        is_apart = _APART.search(snake_case(name))
        return {key: digest(part) for key, part in parts.items()} if is_apart else parts
    if isinstance(value, list | tuple):
        items: list[JSON] = [_describe("", item, walker, label) for item in value]
        return digest(items) if is_secret(name) else items
    description = walker.describe(value, label)
    return digest(description) if is_secret(name) else description
