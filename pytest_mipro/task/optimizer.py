"""The optimizer that a test declares: a name, a DSPy class or instance, and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from logging import Logger
from random import Random
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from dspy.teleprompt import Teleprompter

from pytest_mipro.errors import DeclarationError

if TYPE_CHECKING:
    import dspy


OptimizerSpec: TypeAlias = str | Teleprompter | type[Teleprompter]
OptimizerHook: TypeAlias = Callable[[Any], Any]
"""Takes a task; returns a program, or None."""

_RUNTIME_STATE = (type(Lock()), type(RLock()), Logger, Random)
"""Attributes of an optimizer that decide nothing before it runs."""
DEFAULT_OPTIMIZER = "mipro"


@dataclass(frozen=True)
class OptimizerChoice:
    """The declared optimizer of a task.

    Attributes:
        spec: A registered name, or a class or instance of a DSPy optimizer.
        options: Arguments for the constructor of a name or a class.
        hook: Compiles the task instead, or returns None; None if no plugin has such a hook.
        hook_functions: The functions of the plugins that ``hook`` calls.
    """

    spec: OptimizerSpec = DEFAULT_OPTIMIZER
    options: Mapping[str, Any] = field(default_factory=dict)
    hook: OptimizerHook | None = None
    hook_functions: tuple[OptimizerHook, ...] = ()

    @property
    def name(self) -> str:
        """The name in reports and messages: as registered, or that of the class."""
        if isinstance(self.spec, str):
            return self.spec
        return (self.spec if isinstance(self.spec, type) else type(self.spec)).__name__

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the artifact depends on: the options, or the public attributes of an instance."""
        if isinstance(self.spec, str | type):
            return self.options
        return {
            name: value
            for name, value in vars(self.spec).items()
            if not name.startswith("_") and not isinstance(value, _RUNTIME_STATE)
        }


def check_optimizer(value: object) -> None:
    """Raise DeclarationError unless ``value`` is a name, or a class or instance of an optimizer."""
    is_class = isinstance(value, type) and issubclass(value, Teleprompter)
    if (isinstance(value, str) and value) or is_class or isinstance(value, Teleprompter):
        return
    message = (
        f"optimizer={value!r:.80}: expected a name such as 'mipro' or 'bootstrap', or a class or "
        "instance of a DSPy optimizer, e.g. dspy.COPRO"
    )
    raise DeclarationError(message)


def check_optimizer_options(value: object) -> None:
    """Raise DeclarationError unless ``value`` maps names to values."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        message = (
            f"optimizer_options={value!r:.80}: expected a dict of arguments by name, "
            "e.g. {'breadth': 5}"
        )
        raise DeclarationError(message)


def isolated_copy(program: dspy.Module) -> dspy.Module:
    """Return a copy of ``program`` that shares no signature class with it.

    A deep copy shares them, and an optimizer that sets ``signature.instructions`` changes both.
    """
    copied: dspy.Module = program.deepcopy()
    for predictor in copied.predictors():
        if predictor.signature is not None:
            predictor.signature = predictor.signature.with_instructions(
                predictor.signature.instructions
            )
    return copied
