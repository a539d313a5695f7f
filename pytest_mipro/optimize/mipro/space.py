"""What is searched: an instruction and a demo set for every predictor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import digest
from pytest_mipro.fingerprint import demo_fields
from pytest_mipro.records import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import dspy

DemoSet: TypeAlias = "tuple[dspy.Example, ...]"


@dataclass(frozen=True)
class Space:
    """
    The choices for each predictor of a student, in predictor order.

    Index 0 is always the student's own: its instruction, its demos.

    Attributes:
        student: The program that is optimized; never modified.
        instructions: Per predictor, the instructions to choose from.
        demos: Per predictor, the demo sets to choose from.
        late: Per predictor, how many of these, the last ones, a search does not
            begin with; empty for none.

    """

    student: dspy.Module
    instructions: tuple[tuple[str, ...], ...]
    demos: tuple[tuple[DemoSet, ...], ...]
    late: tuple[int, ...] = ()

    @classmethod
    def made_of(
        cls,
        student: dspy.Module,
        instructions: tuple[tuple[str, ...], ...],
        early: Sequence[Mapping[str, DemoSet]],
        late: Sequence[Mapping[str, DemoSet]],
    ) -> Space:
        """
        Return the space of some instructions and demo sets, each of these once.

        Args:
            student: The program that is optimized.
            instructions: Per predictor, its own and others.
            early: Demo sets by predictor path, the student's own first.
            late: Those that took longer to make.

        """
        paths = [path for path, _ in student.named_predictors()]
        begun = [_distinct(each[path] for each in early) for path in paths]
        demos = [_distinct(each[path] for each in (*early, *late)) for path in paths]
        after = [len(sets) - len(first) for first, sets in zip(begun, demos, strict=True)]
        return cls(student, instructions, tuple(demos), tuple(after))

    @cached_property
    def _signatures(self) -> list[list[type[dspy.Signature]]]:
        # DSPy builds a new class for each, which takes longer than copying the program.
        return [
            [predictor.signature.with_instructions(text) for text in texts]
            for predictor, texts in zip(self.student.predictors(), self.instructions, strict=True)
        ]

    @property
    def baseline(self) -> Candidate:
        """The student as it came."""
        return Candidate((0,) * len(self.instructions), (0,) * len(self.demos))

    @property
    def early(self) -> tuple[int, ...]:
        """Per predictor, how many demo sets a search begins with."""
        late = self.late or (0,) * len(self.demos)
        return tuple(len(sets) - count for sets, count in zip(self.demos, late, strict=True))

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return math.prod(len(choices) for choices in (*self.instructions, *self.demos))

    def program(self, candidate: Candidate) -> dspy.Module:
        """Return a copy of the student with the candidate's instructions and demos."""
        program: dspy.Module = self.student.deepcopy()
        for index, predictor in enumerate(program.predictors()):
            predictor.signature = self._signatures[index][candidate.instructions[index]]
            predictor.demos = [demo.copy() for demo in self.demos[index][candidate.demos[index]]]
        return program

    def complexity(self, candidate: Candidate) -> tuple[object, ...]:
        """Order candidates from simple to elaborate: baseline, then fewer demos."""
        count = sum(
            len(sets[choice]) for sets, choice in zip(self.demos, candidate.demos, strict=True)
        )
        return (not candidate.is_baseline, count, candidate.demos, candidate.instructions)


def _distinct(demo_sets: Iterable[DemoSet]) -> tuple[DemoSet, ...]:
    by_content: dict[str, DemoSet] = {}
    for demo_set in demo_sets:
        content = digest([demo_fields(demo) for demo in demo_set])
        by_content.setdefault(content, demo_set)
    return tuple(by_content.values())
