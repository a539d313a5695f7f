"""The program, metric and adapter that a test declares: their checks, and building the program."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import dspy

from pytest_mipro.errors import DeclarationError, MiproError

_DSPY = str(Path(dspy.__file__).parent)
Metric: TypeAlias = Callable[..., Any]

ALL_METRICS = "all"
"""The word that names all metrics of a task together."""
_FURTHER = (None, None, None)
"""The trace, the predictor's name and its trace, which metrics for ``dspy.GEPA`` take."""
_MOST_METRICS = 32
"""Metrics whose parameters are remembered: they are asked for at each row."""


def mismatch(function: Callable[..., object], *arguments: object, **named: object) -> str:
    """Return why ``function`` does not take these arguments; empty if it does."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""  # Some callables of C modules have no signature.
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        return f"it takes {signature}, {error}"
    return ""


def check_program(value: object) -> None:
    """Check, without a call, that ``value`` is a program or can return one.

    Raises:
        DeclarationError: ``value`` is no ``dspy.Module``, no subclass of it and
            no function.
    """
    if isinstance(value, type):
        usable = issubclass(value, dspy.Module)
    else:
        usable = isinstance(value, dspy.Module) or callable(value)
    if not usable:
        message = (
            f"program={_shown(value)} is not a dspy.Module; expected an instance, a class, "
            "or a function without arguments that returns one"
        )
        raise DeclarationError(message)


def build_program(value: object) -> dspy.Module:
    """Return the declared program: the instance, or the result of the class or function.

    Raises:
        DeclarationError: ``value`` is or returns no ``dspy.Module``, or one
            without predictors.
    """
    check_program(value)
    program = value if isinstance(value, dspy.Module) else _call(value)
    if not program.predictors():
        message = (
            f"program {type(program).__name__} has no predictor to optimize: DSPy finds no "
            "dspy.Predict in its attributes, nor in lists and dictionaries there, or all of them "
            "are frozen (_compiled); make each predictor an attribute"
        )
        raise DeclarationError(message)
    return program


def _call(factory: object) -> dspy.Module:
    if not callable(factory):
        raise AssertionError(factory)
    if reason := _missing_arguments(factory):
        message = (
            f"program={_shown(factory)} cannot be built without arguments: {reason}; "
            "pass an instance, or override the mipro_program fixture"
        )
        raise DeclarationError(message)
    try:
        program = factory()
    except MiproError:
        raise
    except Exception as error:  # The user's code may raise any exception.
        message = (
            f"program={_shown(factory)} cannot be built: it raised "
            f"{type(error).__name__}: {error}{_place_of(error)}"
        )
        raise DeclarationError(message) from error
    if not isinstance(program, dspy.Module):
        message = f"program={_shown(factory)} returned {program!r:.80}, expected a dspy.Module"
        raise DeclarationError(message)
    return program


def _missing_arguments(factory: Callable[..., object]) -> str:
    """Return why ``factory`` cannot be called without arguments; empty if it can."""
    if not isinstance(factory, type):
        return mismatch(factory)
    # The signature of a class of programs is that of its metaclass, which takes everything.
    return mismatch(inspect.getattr_static(factory, "__init__"), factory)


def _place_of(error: Exception) -> str:
    """Return the last line of the user's file that raised ``error``, and the innermost."""
    _, *frames = traceback.extract_tb(error.__traceback__)
    # The metaclass of programs is between this module and the user's.
    frames = [frame for frame in frames if not frame.filename.startswith(_DSPY)]
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    places = (
        f"\nat {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in (*own[-1:], *frames[-1:])
    )
    return "".join(dict.fromkeys(places))


def is_async_only(program: dspy.Module) -> bool:
    """Whether a program has ``aforward`` and no ``forward``."""
    # Its class is asked, as DSPy logs a warning when a program is asked for its ``forward``.
    return hasattr(type(program), "aforward") and not hasattr(type(program), "forward")


def check_metric(value: object, label: str = "metric") -> None:
    """Check that ``value`` takes an example and a prediction.

    Args:
        value: Any value.
        label: The name of the value in messages.

    Raises:
        DeclarationError: ``value`` is no such function.
    """
    if not callable(value) or isinstance(value, type):
        message = (
            f"{label}={_shown(value)} is not callable; expected a function "
            "metric(example, prediction, trace=None) that returns a score"
        )
        raise DeclarationError(message)
    reason = mismatch(value, "example", "prediction")
    if reason and mismatch(value, "example", "prediction", *_FURTHER):
        message = (
            f"{label}={_shown(value)} cannot be called with an example and a prediction: {reason}; "
            "expected metric(example, prediction, trace=None)"
        )
        raise DeclarationError(message)


def further_arguments(metric: Metric, *trace: object) -> tuple[object, ...]:
    """Return the arguments after the example and the prediction that ``metric`` is called with.

    That is the trace, if there is one. A metric written for ``dspy.GEPA`` may require
    five arguments; it gets None for those that there are not.
    """
    completed = (*trace, *_FURTHER[len(trace) :])
    try:
        takes_all = _takes_all(metric, len(trace))
    except TypeError:  # It has no hash.
        takes_all = _takes_all.__wrapped__(metric, len(trace))
    return completed if takes_all else trace


@lru_cache(_MOST_METRICS)
def _takes_all(metric: Metric, further: int) -> bool:
    """Whether ``metric`` requires more arguments than so many after the first two."""
    too_few, all_arguments = (None,) * (2 + further), (None,) * (2 + len(_FURTHER))
    return bool(mismatch(metric, *too_few)) and not mismatch(metric, *all_arguments)


def check_metrics(value: object) -> None:
    """Raise DeclarationError unless ``value`` has metrics by name."""
    if not isinstance(value, Mapping) or not value:
        message = (
            f"metrics={_shown(value)}: expected at least one metric by name, the optimized one "
            "first, e.g. metrics={'exact': exact_match, 'tone': polite}"
        )
        raise DeclarationError(message)
    for name, metric in value.items():
        if not _is_metric_name(name):
            message = (
                f"metrics has the name {name!r:.80}: expected printable text without white space "
                f"around it, and not {ALL_METRICS!r}, which stands for all metrics"
            )
            raise DeclarationError(message)
        check_metric(metric, f"metrics[{name!r}]")


def _is_metric_name(name: object) -> bool:
    is_text = isinstance(name, str) and name.isprintable() and name == name.strip()
    return is_text and name not in {"", ALL_METRICS}


def check_adapter(value: object) -> None:
    """Raise DeclarationError unless ``value`` is a ``dspy.Adapter`` or None."""
    if value is not None and not isinstance(value, dspy.Adapter):
        message = (
            f"adapter={_shown(value)} is not a dspy.Adapter; expected an instance, "
            "e.g. dspy.JSONAdapter()"
        )
        raise DeclarationError(message)


def _shown(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else f"{value!r:.80}"
