"""The plan of a compile: how many examples, instructions, demo sets and trials it has."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.optimize.mipro.bootstrap import DemoPlan
from pytest_mipro.optimize.mipro.search_limits import SMALL_VALSET, SearchLimits
from pytest_mipro.task import check_example

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.task import Options

AUTO = {"light": (6, 100), "medium": (12, 300), "heavy": (18, 1000)}
"""For each value of ``auto``: demo sets per predictor, and most validation rows."""
ROUNDS = {"light": 4, "medium": 6, "heavy": 8}
"""For each value of ``auto``: most rounds of instructions that are written from mistakes."""
_LARGEST_VALSET = 1000
_GROUNDING_DEMOS = 3
"""Demos bootstrapped only for the prompt model, if no demo sets are searched."""


@dataclass(frozen=True)
class Plan:
    """The sizes of one compile.

    Attributes:
        trainset: Examples for bootstrapping and proposals.
        valset: Examples that candidates are measured on.
        instructions: Instructions per predictor, its own included.
        demos: Demo sets to make.
        limits: How much to search.
    """

    trainset: tuple[dspy.Example, ...]
    valset: tuple[dspy.Example, ...]
    instructions: int
    demos: DemoPlan
    limits: SearchLimits

    @classmethod
    def make(
        cls,
        options: Options,
        predictors: int,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example] | None,
    ) -> Plan:
        """Return the plan that the options and the examples result in.

        Args:
            options: The options of the task.
            predictors: How many predictors are optimized.
            trainset: Examples for bootstrapping and proposals.
            valset: Examples that candidates are measured on; None takes 80% of
                ``trainset``.

        Raises:
            DeclarationError: The options or the examples do not allow a compile.
        """
        train, val = _divided(trainset, valset)
        options.refuse_contradictions()
        if options.auto is None:
            return cls._of_numbers(options, predictors, train, val)
        count, most = AUTO[options.auto]
        trials = _trials(count, predictors, options)
        val = tuple(random.Random(options.seed).sample(val, min(most, len(val))))
        return cls(
            trainset=train,
            valset=val,
            instructions=count if options.zero_shot else count // 2,
            demos=_demo_plan(options, count),
            # Most candidates are measured on few rows, so twice as many can be tried.
            limits=SearchLimits(
                trials,
                _minibatch_rows(options, val, minibatch=len(val) > SMALL_VALSET),
                options.seed,
                candidates=2 * trials,
                rounds=ROUNDS[options.auto] if options.rounds is None else options.rounds,
            ),
        )

    @classmethod
    def _of_numbers(
        cls,
        options: Options,
        predictors: int,
        train: tuple[dspy.Example, ...],
        val: tuple[dspy.Example, ...],
    ) -> Plan:
        """Return the plan of ``num_candidates`` and ``num_trials``."""
        count, trials = options.num_candidates or 0, options.num_trials
        if trials is None:
            message = (
                f"auto=None needs num_trials; for num_candidates={count} and {predictors} "
                f"predictor(s) about {_trials(count, predictors, options)} are a good number"
            )
            raise DeclarationError(message)
        rows = _minibatch_rows(options, val, minibatch=options.minibatch)
        return cls(
            trainset=train,
            valset=val,
            instructions=count,
            demos=_demo_plan(options, count),
            limits=SearchLimits(
                trials,
                rows,
                options.seed,
                candidates=trials,
                # A predictor that keeps its own instruction gets no other one.
                rounds=0 if count == 1 else options.rounds or 0,
            ),
        )


def _minibatch_rows(options: Options, val: Sequence[dspy.Example], *, minibatch: bool) -> int:
    if not minibatch:
        return len(val)
    if options.minibatch_size > len(val):
        message = (
            f"minibatch_size={options.minibatch_size} is larger than the validation set "
            f"({len(val)} examples); lower it, or set minibatch=False"
        )
        raise DeclarationError(message)
    return options.minibatch_size


def _divided(
    trainset: Sequence[dspy.Example], valset: Sequence[dspy.Example] | None
) -> tuple[tuple[dspy.Example, ...], tuple[dspy.Example, ...]]:
    train = _examples("trainset", trainset)
    if not train:
        message = "the trainset is empty; demos and proposals are made from it"
        raise DeclarationError(message)
    if valset is not None:
        if not valset:
            message = "the valset is empty; leave it out to have 80% of the trainset used"
            raise DeclarationError(message)
        return train, _examples("valset", valset)
    if len(train) < 2:  # ruff: ignore[magic-value-comparison] - an example for each split
        message = "a trainset of 1 example cannot be divided; give a valset"
        raise DeclarationError(message)
    cut = len(train) - min(_LARGEST_VALSET, max(1, len(train) * 4 // 5))
    return train[:cut], train[cut:]


def _examples(name: str, split: Sequence[dspy.Example]) -> tuple[dspy.Example, ...]:
    examples = tuple(split)
    for index, example in enumerate(examples):
        check_example(example, f"{name}[{index}]")
    return examples


def _trials(count: int, predictors: int, options: Options) -> int:
    """Return DSPy's number of trials: 2 · choices · log2(candidates), at least 1.5 · candidates."""
    choices = predictors if options.zero_shot else 2 * predictors
    return int(max(2 * choices * math.log2(count), 1.5 * count))


def _demo_plan(options: Options, count: int) -> DemoPlan:
    if options.zero_shot:
        demos = _GROUNDING_DEMOS if options.fewshot_aware_proposer else 0
        return DemoPlan(count if demos else 1, demos, 0, options.metric_threshold)
    return DemoPlan(
        count, options.max_bootstrapped_demos, options.max_labeled_demos, options.metric_threshold
    )
