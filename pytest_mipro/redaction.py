"""Credentials as they are, so that no text that is shown or kept repeats them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import dspy

    from pytest_mipro.canonical import JSON

_SECRET = re.compile(
    r"secret|passw|credential|auth|header|cookie|bearer"
    r"|(^|_)(api)?keys?(_|$)|(^|_)token(_(provider|file|path))?$"
)
"""Names of secrets, in snake case; ``max_tokens`` and ``stop_token_ids`` are none."""
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_LEAST = 12
"""Characters; what is shorter is a placeholder, or a word that texts have for other reasons."""
_VEIL = "***"


def is_secret(name: object) -> bool:
    """Whether a parameter of that name is a credential."""
    return bool(_SECRET.search(snake_case(name)))


def snake_case(name: object) -> str:
    """Return a parameter's name in lower case, its words joined by underscores."""
    return _WORD_BOUNDARY.sub("_", str(name)).lower()


def credentials(models: Iterable[dspy.BaseLM]) -> frozenset[str]:
    """Return what ``models`` and the environment hold under the names that credentials have."""
    found = {value for name, value in os.environ.items() if _VARIABLE.search(name)}
    for model in models:
        found.update(_hidden(model.kwargs))
    words = {word for value in found for word in [value, *value.split()]}
    return frozenset(word for word in words if len(word) >= _LEAST)


def redact(value: JSON, secrets: Iterable[str]) -> JSON:
    """Return ``value`` with each of ``secrets`` replaced, wherever a text has it."""
    longest_first = sorted(secrets, key=len, reverse=True)
    return _veiled(value, longest_first) if longest_first else value


def _veiled(value: JSON, secrets: list[str]) -> JSON:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _VEIL)
        return value
    if isinstance(value, dict):
        return {name: _veiled(item, secrets) for name, item in value.items()}
    return [_veiled(item, secrets) for item in value] if isinstance(value, list) else value


def _hidden(value: Any) -> Iterator[str]:  # ruff: ignore[any-type]  # parameters can be anything
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item) if is_secret(name) else _hidden(item)


def _texts(value: Any) -> Iterator[str]:  # ruff: ignore[any-type]  # the same
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
