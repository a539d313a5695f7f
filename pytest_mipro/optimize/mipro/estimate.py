"""The estimate of a compile before it starts: the most LM calls, and tokens per call.

Each phase states its own bound, in rows or requests; this module adds up the
LM calls that these take. The number of LM calls per row is a guess if a program
loops, or if an unreadable answer is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.optimize.bound import Bound
from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.optimize.mipro.propose import most_requests
from pytest_mipro.optimize.mipro.search_limits import ATTEMPTS, WRITERS
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.optimize.bound import CallProfile
    from pytest_mipro.records import Row
    from pytest_mipro.spending import Price
    from pytest_mipro.task import Options

_CHARACTERS = 4
"""Characters of a token, about."""
_FRAME = 20
"""Tokens that name the fields of an example, or of an answer."""
_PREAMBLE = 120
"""Tokens in which an adapter describes the format of an answer."""


@dataclass(frozen=True)
class Tokens:
    """The expected tokens of an LM call.

    Attributes:
        prompt: Prompt tokens.
        completion: Completion tokens.
        rows: Stored rows that the tokens are a mean of; 0 if they are estimated
            from a prompt.
    """

    prompt: float
    completion: float
    rows: int


@dataclass(frozen=True)
class Fit:
    """An optimizer that fits a task.

    Attributes:
        optimizer: Its name; empty if none fits.
        reason: Why it fits or, without bounds, why it could not compile the task.
        bounds: The bounds of its phases.
    """

    optimizer: str
    reason: str
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What a task would do now.

    Attributes:
        why: The reason for it, in words.
        bounds: The bounds of the phases, in their order.
        tokens: The expected tokens of a call.
        prices: The price of each model; None if it is unknown.
        is_approximate: Whether the program may call more often than the bounds say.
        limits: The limits of the user's budget, in words.
        fits: The optimizers that fit the task, if it would compile.
    """

    why: str
    bounds: tuple[Bound, ...]
    tokens: Tokens
    prices: dict[str, Price | None]
    is_approximate: bool
    limits: tuple[str, ...] = ()
    fits: tuple[Fit, ...] = ()


def bounds_of_compile(
    student: dspy.Module,
    options: Options,
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example],
    profile: CallProfile,
) -> tuple[Bound, ...]:
    """Return the most LM calls of each phase of a compile.

    Raises:
        DeclarationError: The options or the examples do not allow a compile.
    """
    predictors = len(student.predictors())
    plan = Plan.make(options, predictors, trainset, valset)
    attempts = plan.demos.most_attempts(len(plan.trainset))
    requests = most_requests(student, options, len(plan.trainset), plan.instructions)
    requests += plan.limits.rounds * WRITERS * predictors
    demo_sets = 1 if options.zero_shot else plan.demos.sets
    rows = plan.limits.most_rows(predictors, plan.instructions, demo_sets, len(plan.valset))
    learning = rows.rounds + plan.limits.most_runs * min(ATTEMPTS, len(plan.trainset))
    return (
        Bound("bootstrap", attempts, attempts * profile.calls, profile.teacher),
        Bound("propose", requests, requests, profile.prompt),
        Bound("search", rows.search, rows.search * profile.calls, profile.model),
        *([Bound("rounds", learning, learning * profile.calls, profile.model)] if learning else ()),
        Bound("final", rows.final, rows.final * profile.calls, profile.model),
    )


def may_loop(program: dspy.Module, calls: int) -> bool:
    """Whether a row of ``program`` may take more than the ``calls`` of earlier rows."""
    looping = any(hasattr(module, "max_iters") for _, module in program.named_sub_modules())
    return looping or calls != len(program.predictors())


def tokens_per_call(
    program: dspy.Module,
    trainset: Sequence[dspy.Example],
    options: Options,
    rows: Sequence[Row],
) -> Tokens:
    """Return the expected tokens of a call: the mean of stored rows, or one from the prompt.

    Stored rows are those of the baseline, so demos are added to their tokens.
    """
    example = sum(len(str(value)) for value in trainset[0].values()) / _CHARACTERS
    demos = (options.max_bootstrapped_demos + options.max_labeled_demos) * (example + _FRAME)
    usage = Usage.total(row.usage for row in rows)
    if usage.calls:
        prompt = usage.prompt_tokens / usage.calls
        completion = usage.completion_tokens / usage.calls
        return Tokens(prompt + demos, completion, sum(bool(row.usage.calls) for row in rows))
    characters = sum(
        len(str(text)) for predictor in program.predictors() for text in _texts(predictor.signature)
    )
    prompt = characters / _CHARACTERS / len(program.predictors()) + example + _PREAMBLE
    return Tokens(prompt + demos, example + _FRAME, 0)


def _texts(signature: type[dspy.Signature]) -> list[object]:
    """Return the instruction and the fields of a signature, which every prompt has."""
    fields = signature.fields.items()
    return [signature.instructions, *((name, field.json_schema_extra) for name, field in fields)]
