"""How the HTML report shows what changed in the prompts: line by line, and word by word."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.report.formatting import PROGRAMS
from pytest_mipro.report.lengths import folded
from pytest_mipro.report.prompt_changes import prompt_changes
from pytest_mipro.report.summary import since

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.records import Prompt, Report
    from pytest_mipro.report.formatting import Program
    from pytest_mipro.report.lengths import Limits, Text
    from pytest_mipro.report.prompt_changes import Line, Mark, PromptChange

_ALIKE = 0.4
"""Lines that are less alike than this are shown as removed and added, not word by word."""
_MOST_WORDS = 600
"""In longer lines, no words are compared: that would take seconds."""


@dataclass(frozen=True)
class Piece:
    """A part of a line, and whether it differs from the line's other version."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class DiffLine:
    """A line of a diff in pieces, and how many characters of it are left out."""

    mark: Mark
    pieces: tuple[Piece, ...]
    left: int = 0


@dataclass(frozen=True)
class Predictor:
    """How the prompt of one predictor changed; ``cut`` counts lines that are left out of both."""

    name: Text
    instruction: tuple[DiffLine, ...]
    demos: tuple[DiffLine, ...]
    changed: bool
    cut: tuple[int, int]


@dataclass(frozen=True)
class Prompts:
    """The compiled prompts against other ones; ``left`` counts predictors that are left out."""

    against: str
    predictors: tuple[Predictor, ...]
    left: int


def compared_prompts(report: Report, limits: Limits) -> Iterator[Prompts]:
    """Yield the compiled prompts against each of the other programs', first what counts first."""
    others: dict[Program, Sequence[Prompt]] = {
        "accepted": report.prompts_accepted,
        "baseline": report.prompts_before,
    }
    for name in sorted(others, key=lambda each: each != since(report)):
        if others[name] or name == "baseline":
            yield _against(PROGRAMS[name], others[name], report.prompts_after, limits)


def _against(name: str, old: Sequence[Prompt], new: Sequence[Prompt], limits: Limits) -> Prompts:
    changes = prompt_changes(old, new)
    kept = changes[: limits.few]
    predictors = tuple(_predictor(each, limits) for each in kept)
    return Prompts(name, predictors, len(changes) - len(kept))


def _predictor(changed: PromptChange, limits: Limits) -> Predictor:
    return Predictor(
        name=folded(changed.predictor, limits),
        instruction=tuple(_diff(changed.instruction, limits)),
        demos=tuple(_diff(changed.demos, limits)),
        changed=not changed.is_none,
        cut=(_excess(changed.instruction, limits), _excess(changed.demos, limits)),
    )


def _diff(lines: Sequence[Line], limits: Limits) -> Iterator[DiffLine]:
    lines = lines[: limits.few]
    start = 0
    while start < len(lines):
        stop = _end_of_change(lines, start)
        yield from _marked(lines[start:stop], limits)
        start = stop


def _excess(lines: Sequence[Line], limits: Limits) -> int:
    return max(len(lines) - limits.few, 0)


def _end_of_change(lines: Sequence[Line], start: int) -> int:
    """Return where the lines end that replace each other; a kept line is on its own."""
    stop = start + 1
    if lines[start].mark != " ":
        while stop < len(lines) and lines[stop].mark != " ":
            if lines[stop].mark == "-" and lines[stop - 1].mark == "+":
                break
            stop += 1
    return stop


def _marked(lines: Sequence[Line], limits: Limits) -> Iterator[DiffLine]:
    """Yield a kept line, or a change: its lines in pairs, with the words that differ marked."""
    old = [line for line in lines if line.mark != "+"]
    new = [line for line in lines if line.mark == "+"]
    most = limits.characters
    pairs = [_words(one.text[:most], two.text[:most]) for one, two in zip(old, new, strict=False)]
    for side, group in enumerate((old, new)):
        for place, line in enumerate(group):
            shown = line.text[:most]
            pieces = pairs[place][side] if place < len(pairs) else (Piece(shown),)
            yield DiffLine(line.mark, pieces, len(line.text) - len(shown))


def _words(before: str, after: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    old, new = re.findall(r"\s+|\w+|\W", before), re.findall(r"\s+|\w+|\W", after)
    whole = (Piece(before),), (Piece(after),)
    if max(len(old), len(new)) > _MOST_WORDS:
        return whole
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return whole
    codes = matcher.get_opcodes()
    return (
        _pieces((("".join(old[i:j]), what) for what, i, j, _, _ in codes)),
        _pieces((("".join(new[i:j]), what) for what, _, _, i, j in codes)),
    )


def _pieces(parts: Iterable[tuple[str, str]]) -> tuple[Piece, ...]:
    return tuple(Piece(part, what != "equal") for part, what in parts if part)
