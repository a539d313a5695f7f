"""What changed in the prompts from one program to another, line by line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Literal

from pytest_mipro.report.formatting import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.records import Prompt

Mark = Literal[" ", "-", "+"]
Part = Literal["instruction", "demos"]

PARTS: tuple[Part, ...] = ("instruction", "demos")
"""What a prompt is made of, in the order of what a reader wants to know."""


@dataclass(frozen=True)
class Line:
    """A line of a diff: kept, removed or added."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class PromptChange:
    """
    How one predictor's prompt changed.

    Attributes:
        predictor: Its path in the program.
        instruction: The lines of its instruction.
        demos: Its demos, one a line.

    """

    predictor: str
    instruction: tuple[Line, ...]
    demos: tuple[Line, ...]

    @property
    def is_none(self) -> bool:
        """Whether nothing changed."""
        return all(line.mark == " " for line in (*self.instruction, *self.demos))


def prompt_changes(before: Sequence[Prompt], after: Sequence[Prompt]) -> list[PromptChange]:
    """Return for each predictor, by its order in ``after``, how its prompt changed."""
    old = {prompt.predictor: prompt for prompt in before}
    new = {prompt.predictor: prompt for prompt in after}
    return [
        PromptChange(
            name,
            tuple(diff(_instruction(old.get(name)), _instruction(new.get(name)))),
            tuple(diff(_demos(old.get(name)), _demos(new.get(name)))),
        )
        for name in dict.fromkeys([*new, *old])
    ]


def prompt_diff(
    before: Sequence[Prompt], after: Sequence[Prompt], parts: Sequence[Part] = PARTS
) -> Iterator[tuple[str, str]]:
    """
    Yield the lines of a diff, each with what stands before it; not yet safe to show.

    All instructions come before any demos, which are long and many. What stays
    the same is shown only right before and after a change.
    """
    changes = prompt_changes(before, after)
    for part in parts:
        for prompt in changes:
            lines = prompt.instruction if part == "instruction" else prompt.demos
            near = list(compress(lines, near_changes(lines, 1)))
            if near:
                yield "", f"{part} of {prompt.predictor}:"
                yield from ((f"  {line.mark} ", line.text) for line in near)


def changed_parts(changes: Iterable[PromptChange]) -> list[str]:
    """Return in words which parts of a prompt changed: of each predictor, in their order."""
    named = []
    for prompt in changes:
        parts = [
            part
            for part, lines in zip(PARTS, (prompt.instruction, prompt.demos), strict=True)
            if any(near_changes(lines, 0))
        ]
        if parts:
            named.append(f"{' and '.join(parts)} of {prompt.predictor}")
    return named


def near_changes(lines: Sequence[Line], context: int) -> list[bool]:
    """Return for each line whether it, or one that is ``context`` lines away or less, changed."""
    changed = [line.mark != " " for line in lines]
    return [any(changed[max(at - context, 0) : at + context + 1]) for at in range(len(lines))]


def diff(before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    """Yield the lines of both texts, marked; what is removed comes before what is added."""
    matcher = difflib.SequenceMatcher(None, before, after)
    for what, start, stop, new_start, new_stop in matcher.get_opcodes():
        if what == "equal":
            yield from (Line(" ", text) for text in before[start:stop])
            continue
        yield from (Line("-", text) for text in before[start:stop])
        yield from (Line("+", text) for text in after[new_start:new_stop])


def _instruction(prompt: Prompt | None) -> list[str]:
    return [] if prompt is None else prompt.instruction.splitlines()


def _demos(prompt: Prompt | None) -> list[str]:
    return [] if prompt is None else [fields(demo) for demo in prompt.demos]
