"""What is searched: an instruction and a demo set for every predictor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.records import Candidate

if TYPE_CHECKING:
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

    """

    student: dspy.Module
    instructions: tuple[tuple[str, ...], ...]
    demos: tuple[tuple[DemoSet, ...], ...]

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
