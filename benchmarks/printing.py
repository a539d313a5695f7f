"""Tables on standard output, and lists on a command line."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Table:
    """A table on standard output.

    Args:
        columns: The headings and the least widths of their columns.
    """

    def __init__(self, columns: dict[str, int]) -> None:
        self._widths = [max(len(name), width) for name, width in columns.items()]
        self.row(list(columns))
        self.row(["-" * width for width in self._widths])

    def row(self, cells: Sequence[object]) -> None:
        """Print a row, aligned to the right."""
        texts = [f"{cell:>{width}}" for cell, width in zip(cells, self._widths, strict=True)]
        print("  ".join(texts), flush=True)


class Listed(Generic[T]):
    """Parses a list such as ``16,64``.

    Args:
        convert: Makes a value of an item.
        choices: The values allowed; None allows all.
    """

    def __init__(self, convert: Callable[[str], T], choices: Sequence[T] | None = None) -> None:
        self._convert = convert
        self._choices = choices

    def __call__(self, text: str) -> list[T]:
        """Return the values in ``text``."""
        values = [self._convert(item) for item in text.split(",")]
        for value in values:
            if self._choices is not None and value not in self._choices:
                allowed = ", ".join(map(str, self._choices))
                message = f"{value!r} is none of: {allowed}"
                raise ArgumentTypeError(message)
        return values
