"""The space that a search explores: an instruction and a demo set for each predictor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
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
    """The options of each predictor of a student, in predictor order.

    Index 0 is always the student's own: its instruction, its demos.

    Attributes:
        student: The program that is optimized; never modified.
        instructions: Per predictor, the instructions to choose from.
        demos: Per predictor, the demo sets to choose from.
        late: Per predictor, how many of the demo sets, counted from the end, a
            search does not begin with; empty for none.
        parents: Per predictor, the instructions that were written from another
            one, each with the index of that one; empty for none.
        signatures: The signatures so far, by predictor and instruction. Spaces of one
            student share them: DSPy builds a class for each, which takes longer than
            copying the program.
    """

    student: dspy.Module
    instructions: tuple[tuple[str, ...], ...]
    demos: tuple[tuple[DemoSet, ...], ...]
    late: tuple[int, ...] = ()
    parents: tuple[Mapping[int, int], ...] = ()
    signatures: dict[tuple[int, str], type[dspy.Signature]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def of_demo_sets(
        cls,
        student: dspy.Module,
        instructions: tuple[tuple[str, ...], ...],
        early: Sequence[Mapping[str, DemoSet]],
        late: Sequence[Mapping[str, DemoSet]],
    ) -> Space:
        """Return the space of instructions and demo sets, without repeated demo sets.

        Args:
            student: The program that is optimized.
            instructions: Per predictor, its own and the proposed ones.
            early: Demo sets by predictor path, the student's own first.
            late: Demo sets that took longer to make.
        """
        paths = [path for path, _ in student.named_predictors()]
        early_sets = [_distinct(demos[path] for demos in early) for path in paths]
        all_sets = [_distinct(demos[path] for demos in (*early, *late)) for path in paths]
        late_counts = [
            len(demo_sets) - len(begun)
            for begun, demo_sets in zip(early_sets, all_sets, strict=True)
        ]
        return cls(student, instructions, tuple(all_sets), tuple(late_counts))

    def with_instructions(
        self, written: Sequence[Sequence[str]], parents: Sequence[int]
    ) -> tuple[Space, list[list[int]]]:
        """Return the space with further instructions, and the index of each written one.

        An instruction that is empty or in the space already is left out: its index is that of
        its parent.

        Args:
            written: Per predictor, the new instructions.
            parents: Per predictor, the instruction that they were written from.
        """
        texts, families, indexes = [], [], []
        earlier = self.parents or ({},) * len(self.instructions)
        for options, new, parent, family in zip(
            self.instructions, written, parents, earlier, strict=True
        ):
            distinct = dict.fromkeys(text for text in new if text and text not in options)
            added = {text: len(options) + place for place, text in enumerate(distinct)}
            texts.append((*options, *added))
            families.append({**family, **dict.fromkeys(added.values(), parent)})
            indexes.append([added.get(text, parent) for text in new])
        space = replace(self, instructions=tuple(texts), parents=tuple(families))
        return space, indexes

    def _signature(self, predictor: int, instruction: int) -> type[dspy.Signature]:
        text = self.instructions[predictor][instruction]
        if (predictor, text) not in self.signatures:
            own = self.student.predictors()[predictor].signature
            self.signatures[predictor, text] = own.with_instructions(text)
        return self.signatures[predictor, text]

    @property
    def baseline(self) -> Candidate:
        """The candidate that is the uncompiled student."""
        return Candidate((0,) * len(self.instructions), (0,) * len(self.demos))

    @property
    def opening(self) -> list[Candidate]:
        """The first candidates of a search: the own instructions with each early demo set."""
        own = self.baseline.instructions
        return [
            Candidate(own, tuple(number % sets for sets in self.early))
            for number in range(max(self.early))
        ]

    @property
    def inheritance(self) -> tuple[tuple[int, int, int], ...]:
        """Of each instruction written from another one: its choice, its index, its parent's."""
        return tuple(
            (choice, index, parent)
            for choice, family in enumerate(self.parents)
            for index, parent in family.items()
        )

    @property
    def early(self) -> tuple[int, ...]:
        """Per predictor, how many demo sets a search begins with."""
        late = self.late or (0,) * len(self.demos)
        return tuple(
            len(demo_sets) - count for demo_sets, count in zip(self.demos, late, strict=True)
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many options each choice has: instructions per predictor, then demo sets."""
        return tuple(len(options) for options in (*self.instructions, *self.demos))

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return math.prod(self.sizes)

    def program(self, candidate: Candidate) -> dspy.Module:
        """Return a copy of the student with the candidate's instructions and demos."""
        program: dspy.Module = self.student.deepcopy()
        for index, predictor in enumerate(program.predictors()):
            predictor.signature = self._signature(index, candidate.instructions[index])
            predictor.demos = [demo.copy() for demo in self.demos[index][candidate.demos[index]]]
        return program

    def texts(self, candidate: Candidate) -> list[str]:
        """Return the candidate's instructions."""
        pairs = zip(self.instructions, candidate.instructions, strict=True)
        return [options[index] for options, index in pairs]

    def complexity(self, candidate: Candidate) -> tuple[object, ...]:
        """Order candidates from simple to elaborate: baseline, then fewer demos."""
        count = sum(
            len(demo_sets[choice])
            for demo_sets, choice in zip(self.demos, candidate.demos, strict=True)
        )
        return (not candidate.is_baseline, count, candidate.demos, candidate.instructions)


def _distinct(demo_sets: Iterable[DemoSet]) -> tuple[DemoSet, ...]:
    by_content: dict[str, DemoSet] = {}
    for demo_set in demo_sets:
        content = digest([demo_fields(demo) for demo in demo_set])
        by_content.setdefault(content, demo_set)
    return tuple(by_content.values())
