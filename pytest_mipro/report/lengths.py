"""How much the HTML report shows: of a summary, and of each text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FOLD = 240
"""So many characters of a long text are seen before it is unfolded."""
_FOLD_LINES = 6
"""So many of its lines, too."""
_WORTHY = 4
"""So many times as long as others may a text be that is not folded."""


@dataclass(frozen=True)
class Limits:
    """
    How much of a summary is shown.

    Attributes:
        rows: Examples and trials a task.
        characters: Characters a text.
        tasks: Tasks.

    """

    rows: int
    characters: int
    tasks: int = 2000

    @property
    def few(self) -> int:
        """Of what there are few: verdicts, predictors, lines of a prompt."""
        return max(self.rows, 10)


LIMITS = (
    Limits(1000, 20_000),
    Limits(1000, 4000),
    Limits(500, 2000),
    Limits(500, 1000),
    Limits(250, 1000),
    Limits(250, 500),
    Limits(100, 500),
    Limits(50, 500),
    Limits(25, 300),
    Limits(10, 200, tasks=500),
    Limits(5, 120, tasks=200),
    Limits(1, 40, tasks=50),
)
"""From all that is worth reading to the least there is."""


@dataclass(frozen=True)
class Text:
    """
    A text that may be long.

    Attributes:
        head: What is seen at once.
        rest: What is folded away.
        left: How many characters are not in the report.

    """

    head: str
    rest: str = ""
    left: int = 0


def folded(said: str, limits: Limits) -> Text:
    """Return a text as it is shown: its beginning, what is folded away, what is left out."""
    kept = said[: limits.characters]
    left = len(said) - len(kept)
    end = _FOLD if len(kept) > _FOLD + _FOLD // 4 else len(kept)
    lines = [match.end() for match in re.finditer(r"\n", kept[:end])]
    if len(lines) > _FOLD_LINES:
        end = lines[_FOLD_LINES - 1]
    if end < len(kept) and (space := kept.rfind(" ", end // 2, end)) > 0:
        end = space + 1
    return Text(kept[:end], kept[end:], left)


def unfolded(said: str, limits: Limits) -> Text:
    """Return a text that is worth reading at once; only what is too much even so is left out."""
    most = limits.characters * _WORTHY
    return Text(said[:most], "", max(len(said) - most, 0))
