"""Mark the words that differ in the lines of a diff, for the HTML report."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.report.prompt_changes import DiffLine, DiffMark

_ALIKE = 0.4
"""The similarity below which two lines are shown as removed and added, without marked words."""
_WORD = re.compile(r"\w+\s*|\W\s*")
_MOST_WORDS = 600
"""Words of a line up to which they are compared; more would take seconds."""
_MOST_PAIRS = 10_000
"""Pairs of equal words in two lines up to which these are compared, for the same reason."""
_MOST_WORK = 200_000
"""Words, and pairs of equal words, in a diff after which no more of its lines are compared."""


@dataclass(frozen=True)
class Piece:
    """A part of a line, and whether it differs from the line's other version."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class MarkedLine:
    """A line of a diff in pieces.

    Attributes:
        mark: Whether the line is unchanged, removed or added.
        pieces: Its text.
        left: How many characters of it are left out.
    """

    mark: DiffMark
    pieces: tuple[Piece, ...]
    left: int = 0


def mark_words(lines: Sequence[DiffLine], characters: int) -> Iterator[MarkedLine]:
    """Yield the lines of a diff, each cut to ``characters``, with the words that differ."""
    start, comparer = 0, _Comparer()
    while start < len(lines):
        stop = _end_of_change(lines, start)
        yield from _marked(lines[start:stop], characters, comparer)
        start = stop


def _end_of_change(lines: Sequence[DiffLine], start: int) -> int:
    """Return where the lines end that replace each other; an unchanged line is a group itself."""
    stop = start + 1
    if lines[start].mark != " ":
        while stop < len(lines) and lines[stop].mark != " ":
            if lines[stop].mark == "-" and lines[stop - 1].mark == "+":
                break
            stop += 1
    return stop


def _marked(
    lines: Sequence[DiffLine], characters: int, comparer: _Comparer
) -> Iterator[MarkedLine]:
    """Yield the lines of a change, whose removed and added lines are compared in pairs."""
    old = [line for line in lines if line.mark != "+"]
    new = [line for line in lines if line.mark == "+"]
    pairs = [
        comparer.pieces(removed.text[:characters], added.text[:characters])
        for removed, added in zip(old, new, strict=False)
    ]
    for side, group in enumerate((old, new)):
        for index, line in enumerate(group):
            text = line.text[:characters]
            pieces = pairs[index][side] if index < len(pairs) else (Piece(text),)
            yield MarkedLine(line.mark, pieces, len(line.text) - len(text))


class _Comparer:
    """Compares pairs of lines word by word, as many as a bounded amount of work allows."""

    def __init__(self) -> None:
        self._work_left = _MOST_WORK

    def pieces(self, removed: str, added: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        """Return both lines in pieces: in one if they are long or have little in common."""
        old, new = _WORD.findall(removed), _WORD.findall(added)
        uncompared = (Piece(removed),), (Piece(added),)
        if not self._allows(old, new):
            return uncompared
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        if matcher.quick_ratio() < _ALIKE or matcher.ratio() < _ALIKE:
            return uncompared
        codes = matcher.get_opcodes()
        return (
            _pieces((("".join(old[i:j]), tag) for tag, i, j, _, _ in codes)),
            _pieces((("".join(new[i:j]), tag) for tag, _, _, i, j in codes)),
        )

    def _allows(self, old: Sequence[str], new: Sequence[str]) -> bool:
        """Whether the work of comparing these words, which depends on their pairs, is small."""
        if max(len(old), len(new)) > _MOST_WORDS:
            return False
        counts = Counter(new)
        pairs = sum(counts[word] for word in old)
        work = pairs + len(old) + len(new)
        if pairs > _MOST_PAIRS or work > self._work_left:
            return False
        self._work_left -= work
        return True


def _pieces(parts: Iterable[tuple[str, str]]) -> tuple[Piece, ...]:
    return tuple(Piece(text, tag != "equal") for text, tag in parts if text)
