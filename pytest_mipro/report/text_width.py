"""Count the columns of a text on a terminal, clip it to a width, break it into lines."""

from __future__ import annotations

from itertools import chain, islice, starmap
from typing import TYPE_CHECKING

from pytest_mipro.escaping import neutral
from pytest_mipro.report.formatting import ELLIPSIS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GAP = "  "
_WINDOW = 8
"""Characters that are read for each column of a line: many may take no room."""


def columns(text: str) -> int:
    """Return how many columns a text takes that is safe for a terminal."""
    if text.isascii():
        return len(text)
    from wcwidth import width

    return width(text)


def cut(text: str, width: int) -> str:
    """Return ``text``, or as much of its beginning as fits and an ellipsis."""
    if columns(text) <= width:
        return text
    return _beginning(text, width - 1) + ELLIPSIS


def filled(text: str, width: int) -> str:
    """Return ``text``, cut and filled to be ``width`` columns wide."""
    text = cut(text, width)
    return text + " " * (width - columns(text))


def cut_middle(text: str, width: int) -> str:
    """Return ``text``, or its beginning and its end: test names differ at the end."""
    if columns(text) <= width:
        return text
    half = (width - 1) // 2
    return _beginning(text, width - 1 - half) + ELLIPSIS + _end(text, half)


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are safe to show, each column as wide as needed."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(starmap(filled, zip(cells, widths, strict=True))).rstrip() for cells in rows]


def hung(head: str, text: str, width: int, most: int | None = None) -> list[str]:
    """Return the lines of ``text``, indented by the width of ``head``, which begins the first.

    Args:
        head: What the first line begins with.
        text: Safe to show.
        width: Columns of a line, with its indentation.
        most: Lines to show; None for all.
    """
    room = max(width - len(head), 1)
    if most == 1:
        # Of a long word, its beginning says more than nothing.
        first, _, more = text.partition("\n")
        return [f"{head}{cut(first + ELLIPSIS if more else first, room)}".rstrip()]
    lines = list(islice(_wrapped(text, room), None if most is None else most + 1))
    if most is not None and len(lines) > most:
        lines[most - 1 :] = [cut(lines[most - 1] + ELLIPSIS, room)]
    heads = chain([head], iter(lambda: " " * len(head), None))
    return [f"{start}{line}".rstrip() for start, line in zip(heads, lines, strict=False)]


def _beginning(text: str, width: int) -> str:
    """Return as much of the beginning of ``text`` as fits, without half a wide character."""
    window = text[: _WINDOW * max(width, 1)]
    if window.isascii():
        return window[: max(width, 0)]
    from wcwidth import clip

    # Where a part of a character is clipped off, wcwidth puts spaces: one for half of a Chinese
    # letter, three for a part of a Korean one.
    clipped = clip(window, 0, max(width, 0))
    while not text.startswith(clipped):
        clipped = clipped[:-1]
    return clipped


def _end(text: str, width: int) -> str:
    window = text[-_WINDOW * max(width, 1) :]
    total = columns(window)
    if window.isascii():
        return window[total - width :]
    from wcwidth import clip

    clipped = clip(window, total - width, total)
    while not text.endswith(clipped):
        clipped = clipped[1:]
    return clipped


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yield ``text`` in lines that fit, broken between words where that is possible.

    ``wcwidth.wrap`` does not do: its time is quadratic in the length of a word
    (12 s for 100,000 letters, which a model may well write), and it breaks
    where the rest of the line becomes a command of a CI system.
    """
    for line in text.split("\n"):
        start, stop = 0, -1
        while stop < len(line):
            stop, following = _break(line, start, width)
            # What begins a line now may be a command there.
            piece = neutral(line[start:stop].rstrip())
            # A single letter may be too wide for the line.
            fits = columns(piece) <= width or piece == text
            yield from [piece] if fits else _wrapped(piece, width)
            start = following


def _break(line: str, start: int, width: int) -> tuple[int, int]:
    """Return where a line that begins at ``start`` stops, and where the next begins."""
    window = line[start : start + _WINDOW * width]
    stop = start + max(len(_beginning(window, width)), 1)
    if stop >= len(line):
        return len(line), len(line)
    space = line.rfind(" ", start, stop + 1)
    if line[start : max(space, start)].strip():
        return space, space + 1
    # Two colons in a test's name stay what they are as long as they begin no line.
    stop -= line.startswith("::", stop) and stop - start > 1
    return stop, stop
