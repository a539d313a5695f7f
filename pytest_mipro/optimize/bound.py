"""The most LM calls that a phase of a compile makes, and the models that answer them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """The most LM calls that one phase makes.

    Attributes:
        phase: The name of the phase.
        rows: Runs of the program, or requests to the prompt model.
        calls: LM calls that these take; None if nothing bounds them.
        model: The name of the model.
    """

    phase: str
    rows: int
    calls: int | None
    model: str


@dataclass(frozen=True)
class CallProfile:
    """The models that a compile asks, and the LM calls of one row.

    Attributes:
        calls: LM calls of one run of the program.
        model: The name of the task model.
        teacher: The name of the teacher's model.
        prompt: The name of the prompt model.
    """

    calls: int
    model: str
    teacher: str
    prompt: str
