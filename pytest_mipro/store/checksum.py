"""What is in the store is what was written: a checksum beside each record."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

_SIZE = 8
"""Bytes of a checksum: chance lets one damaged record in 10¹⁹ pass."""


class Storable(Protocol):
    """What can be written as JSON data and read back."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return what ``to_dict`` was called on; wrong data raises ValueError."""


S = TypeVar("S", bound=Storable)


class DamagedRecord(Exception):
    """A record is not what was written; says which."""


def text_of(record: Storable) -> str:
    """Return ``record`` as JSON text; fields keep their order, which a prompt depends on."""
    return json.dumps(record.to_dict(), separators=(",", ":"), allow_nan=False)


def checksum(names: Sequence[object], created: object, text: object) -> str:
    """Return the checksum of a record: its names, when it was written, and its text."""
    sealed = "\n".join(map(str, (*names, created, text)))
    return blake2b(sealed.encode("utf-8", "surrogatepass"), digest_size=_SIZE).hexdigest()


def opened(record: type[S], label: str, text: str) -> S:
    """
    Return the record that ``text`` was made of.

    Raises:
        Damaged: There is another text under a checksum that fits it: this
            record was not written by us.

    """
    try:
        return record.from_dict(json.loads(text))
    except ValueError as error:
        message = f"{label} holds something that is no {record.__name__}"
        raise DamagedRecord(message) from error
