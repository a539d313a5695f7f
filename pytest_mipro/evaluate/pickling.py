"""Pickle what crosses to other processes, and name what cannot be pickled.

Code of the user's modules crosses by value: a worker on another machine has no test module, and
one that it has may be of another commit. Installed packages cross by name.
"""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

import cloudpickle
import dspy

from pytest_mipro.errors import ExecutorError
from pytest_mipro.evaluate.failures import type_and_message
from pytest_mipro.fingerprint import is_users_module

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from types import ModuleType

_LOCK = RLock()
"""Held while modules are registered: cloudpickle keeps the list for the whole process."""
_DEEPEST = 12
"""Most steps of the path to an object that cannot be pickled."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Leaves out the history of language models: prompts of earlier calls, which can be many."""

    def reducer_override(self, value: Any) -> Any:  # ruff: ignore[any-type] - any object
        if isinstance(value, dspy.BaseLM) and getattr(value, "history", None):
            reduced = value.__reduce_ex__(self.proto)
            if isinstance(reduced, tuple) and isinstance(reduced[2], dict):
                return *reduced[:2], {**reduced[2], "history": []}, *reduced[3:]
        return super().reducer_override(value)


def pickled(value: object, parts: Mapping[str, object]) -> bytes:
    """Return ``value`` as a pickle that a process without the user's modules can load.

    Args:
        value: What crosses.
        parts: Its parts, by the names that the message of an error calls them.

    Raises:
        ExecutorError: A part of it cannot be pickled; the message has the path to the part.
    """
    with _users_code_by_value():
        try:
            return _dumps(value)
        # ruff: ignore[blind-except]: the ``__reduce__`` of a user may raise anything.
        except Exception as error:
            path, reason = _culprit(value, parts, error)
    message = (
        f"{path} cannot be sent to the executor: {type_and_message(reason)}; make it where it is "
        "used, such as on the first call, or leave it out of the object's __getstate__; without "
        "mipro_executor, rows run in threads of this process and nothing has to be sent"
    )
    raise ExecutorError(message) from reason


def _dumps(value: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


@contextmanager
def _users_code_by_value() -> Generator[None]:
    with _LOCK:
        registered = set(cloudpickle.list_registry_pickle_by_value())
        modules = [
            module
            for module in _users_modules(tuple(map(id, sys.modules.copy().values())))
            if module.__name__ not in registered and sys.modules.get(module.__name__) is module
        ]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


@lru_cache(maxsize=1)
def _users_modules(_: tuple[int, ...]) -> tuple[ModuleType, ...]:
    """Return the user's modules, anew whenever there are other modules, by their identities."""
    loaded = sys.modules.copy()  # Unlike a list of its items, in one step for other threads.
    return tuple(
        module for name, module in loaded.items() if name != "__main__" and is_users_module(module)
    )


def _culprit(value: object, named: Mapping[str, object], error: Exception) -> tuple[str, Exception]:
    """Return the path to the innermost part that cannot be pickled, and its error."""
    name = "the task"
    for part_name, part in named.items():
        reason = _error_of(part)
        if reason is not None:
            value, name, error = part, part_name, reason
            break
    for _ in range(_DEEPEST):
        for step, part in _parts(value):
            reason = _error_of(part)
            if reason is not None:
                value, name, error = part, f"{name}{step}", reason
                break
        else:
            break
    return f"{name} ({type(value).__name__})", error


def _error_of(value: object) -> Exception | None:
    try:
        _dumps(value)
    except Exception as error:  # ruff: ignore[blind-except] - a ``__reduce__`` of the user may raise anything
        return error
    return None


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of a value that are pickled with it, and how code would name them."""
    if isinstance(value, dict):
        yield from ((f"[{key!r:.40}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, type):
        yield from (
            (f".{name}", item) for name, item in vars(value).copy().items() if callable(item)
        )
    else:
        yield from ((f".{name}", item) for name, item in _state(value).items())
        yield "'s class", type(value)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, object]]:
    names = function.__code__.co_names
    for name in names:
        if name in function.__globals__:
            yield f"'s global {name}", function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        if isinstance(cell, CellType) and _has_content(cell):
            yield f"'s variable {name}", cell.cell_contents
    yield from ((f"'s default {item!r:.40}", item) for item in function.__defaults__ or ())


def _has_content(cell: CellType) -> bool:
    try:
        cell.cell_contents  # ruff: ignore[useless-expression] - it raises if the cell is empty
    except ValueError:
        return False
    return True


def _state(value: object) -> dict[str, object]:
    state = getattr(value, "__dict__", {})
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # ruff: ignore[blind-except] - a ``__reduce__`` of the user may raise anything
        return dict(state)
    # What ``__getstate__`` leaves out is no part that is pickled.
    own = reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 else state  # ruff: ignore[magic-value-comparison] - the state's place
    return dict(own) if isinstance(own, dict) else dict(state)
