"""
One spelling for every value: plain data → canonical JSON → digest.

Two values that mean the same have the same digest on every machine, in every
process and under every hash seed; that is what makes keys comparable.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from pydantic_core import PydanticSerializationError, to_jsonable_python

from pytest_mipro.errors import FingerprintError

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"
Fallback: TypeAlias = Callable[[Any], Any]


def canonical_json(value: JSON) -> str:
    """Return the one JSON text for ``value``: sorted keys, no spaces, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: JSON) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of ``value``'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:32]


def plain(value: object, fallback: Fallback | None = None) -> JSON:
    """
    Reduce ``value`` to JSON data that says the same on every machine.

    Containers are walked here because sets need an order and non-finite
    numbers need a spelling; everything else (dates, enums, pydantic models,
    dataclasses, paths, …) is pydantic's job.

    Args:
        value: Anything.
        fallback: Called with a value that has no JSON form; what it returns
            is reduced in turn.

    Raises:
        FingerprintError: A value has no JSON form and there is no fallback.

    """
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}
    if isinstance(value, int | float):
        return value.real
    if hasattr(value, "toDict"):
        return plain(value.toDict(), fallback)
    if isinstance(value, Mapping):
        return {_name(key): plain(item, fallback) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((plain(item, fallback) for item in value), key=canonical_json)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, fallback) for item in value]
    return _leaf(value, fallback)


def _name(key: object) -> str:
    return key if isinstance(key, str) else canonical_json(plain(key))


def _leaf(value: object, fallback: Fallback | None) -> JSON:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return plain(item(), fallback)
    try:
        return plain(to_jsonable_python(value, bytes_mode="base64"), fallback)
    except (PydanticSerializationError, ValueError) as error:
        if fallback is not None:
            return plain(fallback(value), fallback)
        message = (
            f"a value of type {type(value).__module__}.{type(value).__qualname__} "
            f"has no JSON form: {value!r:.120}"
        )
        raise FingerprintError(message) from error
