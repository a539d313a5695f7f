"""The record of a language model's response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_mipro.canonical import Record


@dataclass(frozen=True)
class Response(Record):
    """One response, as the JSON data that DSPy reads it back from."""

    key: str
    content: Any

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON data, which its content is already."""
        return {"key": self.key, "content": self.content}
