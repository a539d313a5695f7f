"""Texts as wide as a terminal has room: counted in columns, cut, broken into lines."""

from __future__ import annotations

import unicodedata
from itertools import chain, islice
from typing import TYPE_CHECKING

from pytest_mipro.report.escaping import neutral
from pytest_mipro.report.formatting import ELLIPSIS

if TYPE_CHECKING:
    from collections.abc import Iterator

_WINDOW = 8
"""Characters looked at for each column of a line: many may take no room."""


def columns(text: str) -> int:
    """
    Return how many columns ``text`` takes, if it is safe for a terminal.

    That is what pytest counts, too, whose function for it is private. Where
    terminals disagree (emoji of several characters), it is rather too much.
    """
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, width: int) -> str:
    """Return ``text``, or as much of its beginning as fits."""
    if columns(text) <= width:
        return text
    return text[: _fitting(text, width - 1)] + ELLIPSIS


def columns_cut(text: str, width: int) -> str:
    """Return ``text``, cut and filled to be ``width`` columns wide."""
    shown = cut(text, width)
    return shown + " " * (width - columns(shown))


def cut_middle(text: str, width: int) -> str:
    """Return ``text``, or its beginning and end: names of tests differ at the end."""
    if columns(text) <= width:
        return text
    half = (width - 1) // 2
    end = text[::-1][: _fitting(text[::-1], half)][::-1]
    return text[: _fitting(text, width - 1 - half)] + ELLIPSIS + end


def hung(head: str, text: str, width: int, most: int | None = None) -> list[str]:
    """
    Return ``head`` and ``text``, which goes on below itself.

    Args:
        head: What stands before it.
        text: Safe to show.
        width: Columns of all of it.
        most: Lines to show; None for all.

    """
    room = max(width - len(head), 1)
    if most == 1:
        # Of a long word, its beginning says more than nothing.
        first, _, more = text.partition("\n")
        return [f"{head}{cut(first + ELLIPSIS if more else first, room)}".rstrip()]
    lines = list(islice(_folded(text, room), None if most is None else most + 1))
    if most is not None and len(lines) > most:
        lines[most - 1 :] = [cut(lines[most - 1] + ELLIPSIS, room)]
    heads = chain([head], iter(lambda: " " * len(head), None))
    return [f"{before}{line}".rstrip() for before, line in zip(heads, lines, strict=False)]


def _cells(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"F", "W"} else 1


def _fitting(text: str, width: int) -> int:
    """Return how many characters of ``text`` fit into ``width`` columns."""
    if text.isascii():
        return min(len(text), width)
    used = 0
    for index, character in enumerate(text):
        used += _cells(character)
        if used > width:
            return index
    return len(text)


def _folded(text: str, width: int) -> Iterator[str]:
    """Yield ``text`` in lines that fit, broken between words where that can be."""
    for line in text.split("\n"):
        start, stop = 0, -1
        while stop < len(line):
            stop, following = _break(line, start, width)
            piece = line[start:stop].rstrip()
            # What begins a line now may be a command there.
            shown = neutral(piece)
            yield from [shown] if columns(shown) <= width else _folded(shown, width)
            start = following


def _break(line: str, start: int, width: int) -> tuple[int, int]:
    """Return where a line that begins at ``start`` stops, and where the next begins."""
    window = line[start : start + _WINDOW * width]
    stop = start + max(_fitting(window, width), 1)
    if stop >= len(line):
        return len(line), len(line)
    space = line.rfind(" ", start, stop + 1)
    if line[start : max(space, start)].strip():
        return space, space + 1
    # Two colons in a test's name stay what they are as long as they begin no line.
    stop -= line.startswith("::", stop) and stop - start > 1
    return stop, stop
