"""
How much a compile asks at most, before anything is asked.

The bounds are those of the code that would run: the sizes of the plan, the
search's own limits, each training example shown to the teacher once. They count
rows; how many LM calls a row takes is a guess where a program loops or an
answer cannot be read and is asked for once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.optimize.mipro.propose import BATCHES, program_code
from pytest_mipro.optimize.mipro.search import CHUNK, OPENING, RIVALS, ROUNDS
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.records import Row
    from pytest_mipro.spending import Price
    from pytest_mipro.task import Options

_CHARACTERS = 4
"""Characters of a token, about."""
_FRAME = 20
"""Tokens that name the fields of an example, or of an answer."""
_PREAMBLE = 120
"""Tokens in which an adapter says how to answer."""


@dataclass(frozen=True)
class Bound:
    """
    The most that one phase does.

    Attributes:
        phase: What it is called.
        rows: Runs of the program, or requests to the prompt model.
        calls: LM calls these take.
        model: Who is asked.

    """

    phase: str
    rows: int
    calls: int
    model: str


@dataclass(frozen=True)
class Tokens:
    """
    What an LM call presumably takes.

    Attributes:
        asked: Tokens the model reads.
        answered: Tokens it writes.
        rows: Stored rows this is known from; 0 if it is estimated from a prompt.

    """

    asked: float
    answered: float
    rows: int


@dataclass(frozen=True)
class Estimate:
    """
    What a task would do now.

    Attributes:
        why: Why it would do anything, in words.
        bounds: By phase, in their order.
        tokens: What a call takes.
        prices: What models charge; None for who has no known price.
        about: Whether the program may call more often than the bounds say.
        limits: What the user allows, in words.

    """

    why: str
    bounds: tuple[Bound, ...]
    tokens: Tokens
    prices: dict[str, Price | None]
    about: bool
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class CallProfile:
    """
    Who a compile asks, and how often for one row.

    Attributes:
        calls: LM calls of one run of the program.
        model: Answers for the program.
        teacher: Answers for the teacher.
        prompt: Writes instructions.

    """

    calls: int
    model: str
    teacher: str
    prompt: str


def bounds_of_compile(
    student: dspy.Module,
    options: Options,
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example],
    asked: CallProfile,
) -> tuple[Bound, ...]:
    """
    Return the most that the phases of a compile ask.

    Raises:
        DeclarationError: The options or the examples do not allow a compile.

    """
    predictors = len(student.predictors())
    plan = Plan.make(options, predictors, trainset, valset)
    attempts = len(plan.trainset) if plan.demos.sets > 1 and plan.demos.bootstrapped else 0
    requests = _proposals(student, options, plan)
    searched, final = _search_rows(student, options, plan)
    return (
        Bound("bootstrap", attempts, attempts * asked.calls, asked.teacher),
        Bound("propose", requests, requests, asked.prompt),
        Bound("search", searched, searched * asked.calls, asked.model),
        Bound("final", final, final * asked.calls, asked.model),
    )


def _proposals(student: dspy.Module, options: Options, plan: Plan) -> int:
    if plan.instructions == 1:
        return 0
    predictors = len(student.predictors())
    batches = math.ceil(len(plan.trainset) / options.view_data_batch_size)
    looks = min(BATCHES, batches) if options.data_aware_proposer else 0
    coded = options.program_aware_proposer and program_code(student)
    return looks + (1 + predictors if coded else 0) + predictors * (plan.instructions - 1)


def _search_rows(student: dspy.Module, options: Options, plan: Plan) -> tuple[int, int]:
    """Return the most rows of the search, and of the choice among its finalists."""
    predictors, full, effort = len(student.predictors()), len(plan.valset), plan.effort
    sets = 1 if options.zero_shot else plan.demos.sets
    space = Space(student, (("",) * plan.instructions,) * predictors, (((),) * sets,) * predictors)
    everything = min(space.size, effort.candidates + 1 + RIVALS) * full
    # A decision doubles the rows of a candidate, up to all.
    step = min(full, max(CHUNK, math.ceil(full / 2)))
    begun = min(sets, effort.candidates + 1) * min(OPENING, full)
    spent = effort.budget(space, full) - 1 + step
    searched = max(begun, spent, begun + (plan.instructions - 1) * step)
    final = 2 * full + ROUNDS * RIVALS * math.ceil(full / 2)
    searched = min(searched, everything)
    return searched, min(final, everything)


def loops(program: dspy.Module, calls: int) -> bool:
    """Whether ``program`` may call more often in a row than it has been seen to."""
    looping = any(hasattr(module, "max_iters") for _, module in program.named_sub_modules())
    return looping or calls != len(program.predictors())


def tokens_per_call(
    program: dspy.Module,
    trainset: Sequence[dspy.Example],
    options: Options,
    known: Sequence[Row],
) -> Tokens:
    """
    Return what a call presumably takes: as stored rows took, or going by the prompt's length.

    Stored rows are those of the baseline, so demos are added to what they took.
    """
    shown = options.max_bootstrapped_demos + options.max_labeled_demos
    example = sum(len(str(value)) for value in trainset[0].values()) / _CHARACTERS
    demos = shown * (example + _FRAME)
    usage = Usage.total(row.usage for row in known)
    if usage.calls:
        rows = sum(bool(row.usage.calls) for row in known)
        prompt, completion = (
            usage.prompt_tokens / usage.calls,
            usage.completion_tokens / usage.calls,
        )
        return Tokens(prompt + demos, completion, rows)
    texts = [
        len(str(field)) for each in program.predictors() for field in _described(each.signature)
    ]
    asked = sum(texts) / _CHARACTERS / len(program.predictors()) + example + _PREAMBLE
    return Tokens(asked + demos, example + _FRAME, 0)


def _described(signature: type[dspy.Signature]) -> list[object]:
    fields = signature.fields.items()
    return [signature.instructions, *((name, field.json_schema_extra) for name, field in fields)]
