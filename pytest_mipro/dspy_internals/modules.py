"""The attributes that DSPy gives each module, and the one that hides its predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dspy

_FROZEN = "_compiled"
OBJECT_STATE = frozenset({"callbacks", "history"})
"""Attributes that DSPy gives its objects, and that decide no answer."""
MODULE_STATE = OBJECT_STATE | {_FROZEN}
"""The same of modules."""
RETRIEVER_STATE = OBJECT_STATE | {"stage"}
"""The same of ``dspy.Retrieve``, whose stage is new in each object."""


def origin_of(predictor: dspy.Predict) -> str:
    """Return what a predictor and its copies have in common, and no other predictor has."""
    return str(predictor.stage)


def is_frozen(program: dspy.Module) -> bool:
    """Whether a program counts as compiled: DSPy hides its predictors where it is a part."""
    return bool(getattr(program, _FROZEN, False))


def unfreeze(module: object) -> None:
    """Let DSPy show the predictors of a module where it is a part of another one."""
    vars(module)[_FROZEN] = False
