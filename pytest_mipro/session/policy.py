"""The policy that the user sets for all tasks of a session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The policy of a session, one attribute per flag or option.

    Attributes:
        update: Accept each task's result as its reference.
        new_anchor: Make what is accepted the anchor that later programs are compared with.
        frozen: Take programs and scores from the references; compile nothing.
        refresh: Compile again, although the store has an artifact.
        rescore: Evaluate the held-out examples again, although the store has their rows.
        defers_fails: Let asserts hold on a FAIL that the end of the session decides about.
        study: URL of the database that searches are written to as Optuna studies; empty for none.
        tolerant: Let ``no_regression`` pass if the evidence is inconclusive.
    """

    update: bool = False
    new_anchor: bool = False
    frozen: bool = False
    refresh: bool = False
    rescore: bool = False
    defers_fails: bool = False
    study: str = ""
    tolerant: bool = True
