"""The checksum of a stored record, and its JSON text."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

_SIZE = 8
"""Bytes of a checksum: one damaged record in 10¹⁹ passes by chance."""


class Storable(Protocol):
    """A record with a key that can be written as JSON data and read back."""

    @property
    def key(self) -> str:
        """The digest of everything that the record depends on."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON data."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the record that ``to_dict`` made ``data`` of; wrong data raises ValueError."""


RecordT = TypeVar("RecordT", bound=Storable)


class DamagedRecord(Exception):
    """A record is not as it was written; the message names the record."""


def text_of(record: Storable) -> str:
    """Return ``record`` as JSON text; fields keep their order, which a prompt depends on."""
    return json.dumps(record.to_dict(), separators=(",", ":"), allow_nan=False)


def checksum(names: Sequence[object], created: object, text: object) -> str:
    """Return the checksum of a record: its lookup columns, its time of writing, and its text."""
    content = blake2b(digest_size=_SIZE)
    for value in (*names, created):
        content.update(f"{value}\n".encode("utf-8", "surrogatepass"))
    content.update(str(text).encode("utf-8", "surrogatepass"))  # which may be long
    return content.hexdigest()


def parse_record(record_type: type[RecordT], label: str, text: str) -> RecordT:
    """Return the record of a JSON text.

    Raises:
        DamagedRecord: The checksum fits the text, but the text is no record of this type:
            another program wrote it.
    """
    try:
        return record_type.from_dict(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        message = f"{label} holds something that is no {record_type.__name__}"
        raise DamagedRecord(message) from error


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which are no JSON, and which ``text_of`` never writes."""
    message = f"{name} is no JSON"
    raise ValueError(message)
