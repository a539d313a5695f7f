"""What annotations say and reach: their texts, the classes in them, and what is added to these."""

from __future__ import annotations

from dataclasses import is_dataclass
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pytest_mipro.fingerprint.process_values import without_addresses
from pytest_mipro.fingerprint.source import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_OF_RECORDS = ("__total__", "_fields")
"""Attributes that the classes of typed dictionaries and named tuples have."""


def annotation_text(annotation: object) -> str:
    """Return the text of an annotation: that of equal ones is the same on every Python.

    It has the types alone; ``metadata_in`` returns what ``Annotated`` adds to them.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        if isinstance(annotation, list):  # the parameters of a callable
            return f"[{', '.join(map(annotation_text, annotation))}]"
        if isinstance(annotation, type):
            return path_of(annotation)
        return without_addresses(str(annotation))
    if origin in {Union, UnionType}:
        return " | ".join(map(annotation_text, arguments))
    if origin is Annotated:
        return f"Annotated[{annotation_text(arguments[0])}]"
    texts = map(repr if origin is Literal else annotation_text, arguments)
    return f"{annotation_text(origin)}[{', '.join(texts)}]"


def classes_in(annotation: object) -> Iterator[type]:
    """Yield the classes in an annotation, at any depth."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    for argument in _types_in(annotation):
        yield from classes_in(argument)


def metadata_in(annotation: object) -> Iterator[object]:
    """Yield what ``Annotated`` adds to the types in an annotation, such as validators."""
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    for argument in _types_in(annotation):
        yield from metadata_in(argument)


def fields_of(cls: type) -> Mapping[str, object]:
    """Return the annotations of a class whose instances are checked or converted by them.

    It is a model of Pydantic, a dataclass, a typed dictionary or a named tuple.
    """
    fields: Mapping[str, Any] | None = vars(cls).get("__pydantic_fields__")
    if fields is not None:
        return {name: _annotation_of(field) for name, field in fields.items()}
    if not (is_dataclass(cls) or any(hasattr(cls, name) for name in _OF_RECORDS)):
        return {}
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception:  # ruff: ignore[blind-except] - an annotation of the user may raise anything
        return {}


def _annotation_of(field: Any) -> object:  # ruff: ignore[any-type] - Pydantic's
    """Return the annotation of a field with the metadata that Pydantic took out of it."""
    annotation = field.annotation
    for item in field.metadata:
        annotation = Annotated[annotation, item]
    return annotation


def _types_in(annotation: object) -> Iterable[object]:
    """Return the types that an annotation consists of."""
    if isinstance(annotation, list):  # the parameters of a callable
        return annotation
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return ()
    return arguments[:1] if origin is Annotated else arguments
