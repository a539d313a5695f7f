"""Canonical JSON of a value, its digest, and the JSON data of records.

Equal values have equal digests on every machine, in every process and under every hash
seed, so that keys can be compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from pytest_mipro.errors import FingerprintError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from typing_extensions import Self

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"
Fallback: TypeAlias = Callable[[Any], Any]

# Made once: json.dumps makes one for each text, which takes longer than most texts.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: JSON) -> str:
    """Return the JSON text of ``value`` with sorted keys, no spaces and finite numbers."""
    return _CANONICAL.encode(value)


def readable_json(value: JSON) -> str:
    """Return the canonical JSON of ``value`` with its text unescaped, for a message."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates


def digest(value: JSON) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of ``value``'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:32]


def is_json(value: object) -> bool:
    """Whether ``value`` survives a JSON round trip; a subclass or a tuple does not."""
    try:
        if type(value) is dict:
            return all(type(key) is str for key in value) and all(map(is_json, value.values()))
        if type(value) is list:
            return all(map(is_json, value))
    except RecursionError:
        return False
    if type(value) is float:
        return math.isfinite(value)
    return type(value) in {str, int, bool, type(None)}


def plain(value: object, fallback: Fallback | None = None) -> JSON:
    """Return ``value`` as JSON data that is the same on every machine.

    Containers are converted here, because sets need an order and non-finite numbers
    a representation; Pydantic converts all other values, such as dates and paths.
    An iterator has no JSON form, because reading it would exhaust it.

    Args:
        value: Any object.
        fallback: Called with a value that has no JSON form; its result is
            converted in turn.

    Raises:
        FingerprintError: A value has no JSON form and there is no fallback.
    """
    try:
        return _plain(value, fallback)
    except RecursionError as error:
        return _use_fallback(value, fallback, error)


class Record:
    """The base class of records: the round trip of a frozen dataclass to plain JSON data."""

    def to_dict(self) -> dict[str, Any]:
        """Return this record as JSON data."""
        data = _data(self)
        assert isinstance(data, dict)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the record with this dictionary; ValueError if the data is wrong."""
        record: Self = cls._adapter().validate_python(data)
        return record

    @classmethod
    @cache
    def _adapter(cls) -> TypeAdapter[Any]:
        return TypeAdapter(cls)


def _data(value: object) -> JSON:
    # Pydantic's serializer refuses the lone surrogates that models write into names.
    if _is_json_as_it_is(value):
        return value
    kind: type[Any] = type(value)
    if dataclasses.is_dataclass(kind):
        return {name: _data(getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, dict):
        return {name: _data(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return float(value) if isinstance(value, float) else plain(value)


@cache
def _field_names(record_type: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record_type))


def scalars(value: object) -> Iterator[object]:
    """Yield the texts, numbers and other single values inside ``value``, and its mappings' keys."""
    parts = value if isinstance(value, _SCALARS) else _parts(value)
    if parts is not value:
        yield from scalars(parts)
    elif isinstance(parts, Mapping):
        for pair in parts.items():
            yield from scalars(pair)
    elif _is_list(parts):
        for item in parts:
            yield from scalars(item)
    else:
        yield parts


def cut_texts(value: JSON, length: int) -> Any:  # ruff: ignore[any-type] - any JSON data
    """Return JSON data whose texts have at most ``length`` characters, and a note if cut."""
    if isinstance(value, dict):
        return {name: cut_texts(item, length) for name, item in value.items()}
    if isinstance(value, list):
        return [cut_texts(item, length) for item in value]
    if isinstance(value, str) and len(value) > length:
        return f"{value[:length]}... ({len(value) - length} more characters)"
    return value


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Whether the value is a list or a set, and no text."""
    texts = bytes | bytearray | memoryview | str
    return isinstance(value, AbstractSet | Sequence) and not isinstance(value, texts)


def _plain(value: object, fallback: Fallback | None) -> JSON:
    if _is_json_as_it_is(value):
        return value
    try:
        return _scalar(value) if isinstance(value, _SCALARS) else _compound(value, fallback)
    except _NoJsonForm as error:
        return _use_fallback(value, fallback, error)


def _is_json_as_it_is(value: object) -> TypeGuard[str | int | None]:
    """Whether nearly all work on a value can be spared: a subclass may have another text."""
    kind = type(value)  # Compared by identity: not every class has a hash.
    return kind is str or kind is int or kind is bool or value is None


_SCALARS = (str, int, float, type(None))


class _NoJsonForm(Exception):
    """A value has no JSON form."""


def _scalar(value: str | float | None) -> JSON:
    # A subclass may have a text or a number other than its value.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if math.isfinite(value) else {"float": repr(float(value))}


def _compound(value: object, fallback: Fallback | None) -> JSON:
    parts = _parts(value)
    if isinstance(parts, Mapping):
        return _mapping(parts, fallback)
    if isinstance(parts, AbstractSet):
        return sorted((_plain(item, fallback) for item in parts), key=canonical_json)
    if _is_list(parts):
        return [_plain(item, fallback) for item in parts]
    return _plain(_leaf(parts), fallback) if parts is value else _plain(parts, fallback)


def _parts(value: object) -> object:
    """Return ``value`` as a container or a simpler value; itself if it is neither."""
    if isinstance(value, type):
        return value
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "toDict"):
        return value.toDict()
    if isinstance(value, BaseModel):
        return _dumped(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    is_array = hasattr(value, "__array_interface__") or getattr(value, "shape", None) == ()
    return value.tolist() if is_array and hasattr(value, "tolist") else value


def _dumped(model: BaseModel) -> object:
    try:
        return model.model_dump(serialize_as_any=True, warnings=False)
    except PydanticSerializationError as error:
        raise _NoJsonForm from error


def _mapping(value: Mapping[Any, Any], fallback: Fallback | None) -> JSON:
    items = [(key, _plain(item, fallback)) for key, item in value.items()]
    named = {_name(key, fallback): item for key, item in items}
    if len(named) == len(items):
        return named
    # Two keys have the same text, as 1 and "1" do.
    pairs: list[JSON] = [[_plain(key, fallback), item] for key, item in items]
    return {"items": sorted(pairs, key=canonical_json)}


def _name(key: object, fallback: Fallback | None) -> str:
    return _text(key) if isinstance(key, str) else canonical_json(_plain(key, fallback))


def _text(value: str) -> str:
    # ruff: ignore[unnecessary-dunder-call]: str(value) would call the subclass
    return str.__str__(value)


def _leaf(value: object) -> JSON:
    if isinstance(value, Iterator):
        raise _NoJsonForm
    try:
        data: JSON = to_jsonable_python(value, bytes_mode="base64")
    except (PydanticSerializationError, ValueError) as error:
        raise _NoJsonForm from error
    return data


def _use_fallback(value: object, fallback: Fallback | None, error: Exception) -> JSON:
    if fallback is not None:
        return _plain(fallback(value), fallback)
    message = (
        f"a value of type {type(value).__module__}.{type(value).__qualname__} "
        f"has no JSON form: {_shown(value):.120}"
    )
    raise FingerprintError(message) from error


def _shown(value: object) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "it contains itself, or is nested too deeply"
