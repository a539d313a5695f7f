"""Read the arguments of MIPROv2 that may be of several types, and refuse what it cannot use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.errors import DeclarationError
from pytest_mipro.models import resolve_model

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)


def model_of(name: str, model: dspy.BaseLM | str | None) -> dspy.BaseLM | None:
    """Return the model that the argument ``name`` is, or names.

    Raises:
        DeclarationError: It is neither, or names no model that can be called.
    """
    if isinstance(model, str):
        return resolve_model(model).lm
    if model is not None and not isinstance(model, dspy.BaseLM):
        message = f"{name}={model!r:.80}: expected a dspy.LM or the name of a model"
        raise DeclarationError(message)
    return model


def settings_of_teacher(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the teacher's settings with its model, if they have one, which may be named."""
    settings = dict(settings or {})
    if "lm" in settings:
        settings["lm"] = model_of("teacher_settings['lm']", settings["lm"])
    return settings


def refuse_no_program(name: str, value: object) -> None:
    """Raise DeclarationError unless the argument of that name is a program."""
    if not isinstance(value, dspy.Module):
        message = f"{name}={value!r:.80} is not a dspy.Module; expected an instance of one"
        raise DeclarationError(message)


def refuse_permission(*, requires_permission: bool | None) -> None:
    """Warn about an argument that DSPy removed, or raise DeclarationError if it is True."""
    if requires_permission:
        message = (
            "requires_permission_to_run=True: there is no confirmation to ask for any more; "
            "leave the argument out"
        )
        raise DeclarationError(message)
    if requires_permission is not None:
        logger.warning("requires_permission_to_run is deprecated and has no effect; leave it out")
