"""Find the credentials of models and the environment, and replace them in JSON values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import dspy

    from pytest_mipro.canonical import JSON

_CREDENTIAL = re.compile(
    r"secret|passw|credential|auth|header|cookie|bearer"
    r"|(^|_)(api)?keys?(_|$)|(^|_)token(_(provider|file|path))?$"
)
"""Matches names of credentials in snake case, but not ``max_tokens`` or ``stop_token_ids``."""
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_MIN_LENGTH = 12
"""A shorter value is a placeholder, or a word that texts have for another reason."""
_REPLACEMENT = "***"


def is_secret(name: object) -> bool:
    """Whether a parameter of this name holds a credential."""
    return bool(_CREDENTIAL.search(snake_case(name)))


def snake_case(name: object) -> str:
    """Return a parameter's name in lower case, its words joined by underscores."""
    return _WORD_BOUNDARY.sub("_", str(name)).lower()


def credentials(models: Iterable[dspy.BaseLM]) -> frozenset[str]:
    """Return the credentials in the parameters of ``models`` and in the environment."""
    values = {value for name, value in os.environ.items() if _VARIABLE.search(name)}
    for model in models:
        values.update(_credentials_in(model.kwargs))
    # The credential may follow a scheme, as in "Bearer sk-...".
    words = {word for value in values for word in [value, *value.split()]}
    return frozenset(word for word in words if len(word) >= _MIN_LENGTH)


def redact(value: JSON, secrets: Iterable[str]) -> JSON:
    """Return ``value`` with all ``secrets`` in its texts replaced."""
    # The longest first: a secret may be part of another one.
    ordered_secrets = sorted(secrets, key=len, reverse=True)
    return _redacted(value, ordered_secrets) if ordered_secrets else value


def _redacted(value: JSON, secrets: list[str]) -> JSON:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _REPLACEMENT)
        return value
    if isinstance(value, dict):
        return {name: _redacted(item, secrets) for name, item in value.items()}
    return [_redacted(item, secrets) for item in value] if isinstance(value, list) else value


def _credentials_in(value: Any) -> Iterator[str]:  # ruff: ignore[any-type]  # of any type
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts_in(item) if is_secret(name) else _credentials_in(item)


def _texts_in(value: Any) -> Iterator[str]:  # ruff: ignore[any-type]  # of any type
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_in(item)
