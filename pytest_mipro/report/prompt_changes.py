"""Compare the prompts of two programs line by line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import compress, takewhile
from typing import TYPE_CHECKING, Literal

from pytest_mipro.report.formatting import fields_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.records import Prompt

DiffMark = Literal[" ", "-", "+"]
PromptPart = Literal["instruction", "demos"]

PROMPT_PARTS: tuple[PromptPart, ...] = ("instruction", "demos")
"""The parts of a prompt, in the order in which a reader wants to know of them."""

_MOST_LINES = 500
"""Lines that may have changed up to which they are compared with each other."""


@dataclass(frozen=True)
class DiffLine:
    """A line of a diff: unchanged, removed or added."""

    mark: DiffMark
    text: str


@dataclass(frozen=True)
class PromptChange:
    """How the prompt of one predictor changed.

    Attributes:
        predictor: Its path in the program.
        instruction: The lines of its instruction, and of its fields where one changed.
        demos: Its demos, one a line.
    """

    predictor: str
    instruction: tuple[DiffLine, ...]
    demos: tuple[DiffLine, ...]

    @property
    def is_none(self) -> bool:
        """Whether nothing changed."""
        return all(line.mark == " " for line in (*self.instruction, *self.demos))


def prompt_changes(old: Sequence[Prompt], new: Sequence[Prompt]) -> list[PromptChange]:
    """Return the change of each predictor's prompt, in the order of ``new``."""
    old_prompts = {prompt.predictor: prompt for prompt in old}
    new_prompts = {prompt.predictor: prompt for prompt in new}
    return [
        _prompt_change(name, old_prompts.get(name), new_prompts.get(name))
        for name in dict.fromkeys([*new_prompts, *old_prompts])
    ]


def prompt_diff(
    old: Sequence[Prompt], new: Sequence[Prompt], parts: Sequence[PromptPart] = PROMPT_PARTS
) -> Iterator[tuple[str, str]]:
    """Yield the lines of a diff, each as its head and its text; not yet safe to show.

    All instructions come first, as demos are long and many. Of the unchanged
    lines, only those next to a change are in it.
    """
    changes = prompt_changes(old, new)
    for part in parts:
        for change in changes:
            lines = change.instruction if part == "instruction" else change.demos
            near = list(compress(lines, near_changes(lines, 1)))
            if near:
                yield "", f"{part} of {change.predictor}:"
                yield from ((f"  {line.mark} ", line.text) for line in near)


def changed_parts(changes: Iterable[PromptChange]) -> list[str]:
    """Return for each predictor which parts of its prompt changed, in words."""
    phrases = []
    for change in changes:
        parts = [
            part
            for part, lines in zip(PROMPT_PARTS, (change.instruction, change.demos), strict=True)
            if any(near_changes(lines, 0))
        ]
        if parts:
            phrases.append(f"{' and '.join(parts)} of {change.predictor}")
    return phrases


def near_changes(lines: Sequence[DiffLine], context: int) -> list[bool]:
    """Return for each line whether it or a line up to ``context`` lines away changed."""
    changed = [line.mark != " " for line in lines]
    return [any(changed[max(at - context, 0) : at + context + 1]) for at in range(len(lines))]


def diff(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    """Yield the lines of both texts with their marks; removed lines come before added ones.

    Of very many lines, all between the equal ones at both ends count as changed.
    """
    for tag, start, stop, new_start, new_stop in _opcodes(old, new):
        if tag == "equal":
            yield from (DiffLine(" ", text) for text in old[start:stop])
            continue
        yield from (DiffLine("-", text) for text in old[start:stop])
        yield from (DiffLine("+", text) for text in new[new_start:new_stop])


def _opcodes(old: Sequence[str], new: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return what difflib does, in bounded time: its own grows with the cube of the lines."""
    head = _equal_lines(old, new)
    tail = _equal_lines(old[head:][::-1], new[head:][::-1])
    old_end, new_end = len(old) - tail, len(new) - tail
    if max(old_end, new_end) - head <= _MOST_LINES:
        return difflib.SequenceMatcher(None, old, new).get_opcodes()
    return (
        ("equal", 0, head, 0, head),
        ("replace", head, old_end, head, new_end),
        ("equal", old_end, len(old), new_end, len(new)),
    )


def _equal_lines(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how many lines at the beginning are equal."""
    pairs = zip(old, new, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _prompt_change(name: str, old: Prompt | None, new: Prompt | None) -> PromptChange:
    # What a prompt says of its fields is seldom changed and would hide what is.
    has_new_fields = old is not None and new is not None and _fields(old) != _fields(new)
    old_lines, new_lines = (
        [*_instruction(prompt), *(_fields(prompt) if has_new_fields else ())]
        for prompt in (old, new)
    )
    return PromptChange(
        name,
        instruction=tuple(diff(old_lines, new_lines)),
        demos=tuple(diff(_demos(old), _demos(new))),
    )


def _instruction(prompt: Prompt | None) -> list[str]:
    return [] if prompt is None else prompt.instruction.splitlines()


def _fields(prompt: Prompt | None) -> list[str]:
    return [] if prompt is None else [f"field {field}" for field in prompt.fields]


def _demos(prompt: Prompt | None) -> list[str]:
    return [] if prompt is None else [fields_text(demo) for demo in prompt.demos]
