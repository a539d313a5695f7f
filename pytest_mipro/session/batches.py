"""The batches in which a sequential task asks its held-out examples.

The order is that of a digest of each example. So it looks random, and nobody chooses it: it is the
same for all programs, seeds and runs, which thus share rows, and a further example moves no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest
from pytest_mipro.task import clusters_of, example_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import dspy

    from pytest_mipro.gate import InterimAnalysis
    from pytest_mipro.task import Task

ANALYSES = 4
FEWEST = 10
"""Examples of a batch; fewer would save hardly any and decide nothing."""
_SALT = "order of held-out examples"
_LEAST_UNITS = 2


@dataclass(frozen=True)
class Batches:
    """The held-out examples of a task, and how many of them are asked at each analysis.

    Attributes:
        examples: All of them, in the order of the split.
        order: Their positions in the split, in the order in which they are asked.
        sizes: The number of examples at each analysis; the last is all of them.
    """

    examples: tuple[dspy.Example, ...]
    order: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, task: Task) -> Batches:
        """Return the batches of a task, which is one unless the task is sequential."""
        test = task.dataset.test
        if not task.sequential:
            return cls(test, tuple(range(len(test))), (len(test),))
        units = _units(task)
        order = tuple(position for unit in units for position in unit)
        return cls(test, order, _sizes(units, min(ANALYSES, len(test) // FEWEST)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The identities of all examples, in the order of the split."""
        return tuple(map(example_digest, self.examples))

    def examples_at(self, number: int) -> tuple[dspy.Example, ...]:
        """Return the examples that are asked up to an analysis, in the order of the split."""
        return tuple(self.examples[position] for position in self._positions(number))

    def names_at(self, number: int) -> tuple[str, ...]:
        """Return the identities of these examples."""
        return tuple(self.names[position] for position in self._positions(number))

    def compared(self, number: int, accepted: Collection[str] | None) -> int:
        """Return how many of them can be compared with ``accepted`` ones; None accepts all."""
        names = self.names_at(number)
        return len(names) if accepted is None else sum(name in accepted for name in names)

    def analysis(
        self, number: int, alpha: float, accepted: Collection[str] | None = None
    ) -> InterimAnalysis | None:
        """Return an analysis of the design for a comparison, or None if all are compared at once.

        Args:
            number: The number of the analysis, from 1.
            alpha: The level of the comparison.
            accepted: The examples that can be compared; None for all.
        """
        analyses = range(1, len(self.sizes) + 1)
        counts = [self.compared(analysis, accepted) for analysis in analyses]
        sizes = tuple(sorted({*counts} - {0}))
        if len(sizes) == 1:
            return None
        from pytest_mipro.gate import InterimAnalysis, SequentialDesign

        return InterimAnalysis(SequentialDesign(sizes, alpha), sizes.index(counts[number - 1]) + 1)

    def _positions(self, number: int) -> list[int]:
        return sorted(self.order[: self.sizes[number - 1]])


def on_examples(task: Task, examples: tuple[dspy.Example, ...]) -> Task:
    """Return ``task`` with these held-out examples."""
    return replace(task, dataset=replace(task.dataset, test=examples, is_checked=True))


def _units(task: Task) -> list[list[int]]:
    """Return the positions of each cluster's examples, or of each example, in their order."""
    test = task.dataset.test
    keys = clusters_of(test, task.cluster) if task.cluster else tuple(map(example_digest, test))
    units: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        units.setdefault(key, []).append(position)
    return [units[key] for key in sorted(units, key=lambda key: digest([_SALT, key]))]


def _sizes(units: Sequence[Sequence[int]], analyses: int) -> tuple[int, ...]:
    """Return the number of examples at each analysis, about evenly spaced, in whole clusters."""
    ends, total = [], 0
    for count, unit in enumerate(units, start=1):
        total += len(unit)
        if count >= _LEAST_UNITS or count == len(units):
            ends.append(total)
    shares = (total * analysis / analyses for analysis in range(1, analyses))
    sizes = {next(end for end in ends if end >= share) for share in shares}
    return tuple(sorted(sizes | {total}))
