"""Callbacks of DSPy that only see the calls of models, and cost nothing elsewhere.

DSPy has one list of callbacks for the calls of modules, adapters and models. If it is not empty,
DSPy prepares the arguments of each of these calls, whatever its callbacks do with them. One call
of a predictor consists of four or more of them, and one of these is the model's.

For each call, DSPy adds the callbacks of the called object to those of its settings. The list
here leaves some callbacks out of this sum if the object is a module or an adapter. Code that uses
the list in another way finds all callbacks in it: a release of DSPy that changes how it calls
them costs time, and hides no call.
"""

from __future__ import annotations

import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils import callback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import FrameType

    from dspy.utils.callback import BaseCallback

_SUM = "_get_active_callbacks"
"""The function of DSPy that adds up the callbacks of a call."""
_CALLED = "instance"
"""Its variable with the called object."""
_NO_MODELS = dspy.Module, dspy.Adapter
_NO_VARIABLES: Mapping[str, object] = MappingProxyType({})


class ModelCallbacks(list["BaseCallback"]):  # ruff: ignore[subclass-builtin] - DSPy adds lists
    """The callbacks of DSPy's settings, of which some only see the calls of models.

    Args:
        for_all: Callbacks that see all calls.
        for_models: Callbacks that have no handler but those of models.
    """

    def __init__(self, for_all: Iterable[BaseCallback], for_models: Iterable[BaseCallback]) -> None:
        self.for_all = [*for_all]
        self.for_models = [*for_models]
        super().__init__([*self.for_all, *self.for_models])

    def __add__(self, own_callbacks: list[Any]) -> list[Any]:
        """Return all callbacks, or not those for models, and those of the called object."""
        called = _variables_of_caller(inspect.currentframe()).get(_CALLED)
        is_no_model = isinstance(called, _NO_MODELS) and not isinstance(called, dspy.BaseLM)
        return (self.for_all if is_no_model else list(self)) + own_callbacks


def _variables_of_caller(frame: FrameType | None) -> Mapping[str, object]:
    """Return the variables of the caller if that is DSPy's function for the sum; else none."""
    # No frame may have itself as a variable: it would stay until the garbage is collected.
    caller = None if frame is None else frame.f_back
    if caller is None or caller.f_code.co_name != _SUM or caller.f_globals is not vars(callback):
        return _NO_VARIABLES
    return caller.f_locals


def with_model_callbacks(*callbacks: BaseCallback) -> ModelCallbacks:
    """Return the callbacks of the present settings, and those that see the calls of models."""
    present = dspy.settings.callbacks
    if isinstance(present, ModelCallbacks):
        return ModelCallbacks(present.for_all, [*present.for_models, *callbacks])
    return ModelCallbacks(present, callbacks)


def watch_adapters(callback: BaseCallback) -> None:
    """Have ``callback`` see all calls from now on, while the callbacks of the settings are ours."""
    present = dspy.settings.callbacks
    if isinstance(present, ModelCallbacks):
        present.for_all.append(callback)
