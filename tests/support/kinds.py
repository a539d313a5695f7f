"""Signatures that the line adapter of the embedded model is tested on."""

from __future__ import annotations

import enum
from typing import Any, Literal

import dspy

KINDS = ("person", "place", "number", "date")


class Size(enum.Enum):
    SMALL = 1
    BIG = 2


class Kind(dspy.Signature):
    """Classify the question by the kind of its answer."""

    question: str = dspy.InputField()
    kind: Literal["person", "place", "number", "date"] = dspy.OutputField()


def make_signature(fields: dict[str, Any]) -> type[dspy.Signature]:
    """Return a signature with these fields, typed as the class it is."""
    signature: Any = dspy.Signature
    result: type[dspy.Signature] = signature(fields)
    return result
