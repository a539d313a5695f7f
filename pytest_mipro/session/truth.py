"""Refuse the truth value of what is always true, so that an assert of it is an error."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pytest_mipro.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable

Method = TypeVar("Method", bound="Callable[..., Any]")


def must_be_called(method: Method) -> Method:
    """Return ``method`` as one without a truth value: ``assert mipro.beats_baseline`` raises.

    Type checkers see the method itself, and report such an assert, too.
    """
    return cast("Method", _Descriptor(method))


def no_truth_value(subject: str, expected: str) -> DeclarationError:
    """Return the error of a test that takes ``subject`` for true or false.

    Args:
        subject: What the test asserts.
        expected: What it can assert instead.
    """
    return DeclarationError(
        f"{subject} is neither true nor false, so an assert of it would judge nothing; {expected}"
    )


class _Descriptor:
    """Binds a method to its object, as a function does."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        return self._method if instance is None else _BoundMethod(self._method, instance)


class _BoundMethod:
    """A method of an object that can be called, and nothing else."""

    def __init__(self, method: Callable[..., Any], instance: object) -> None:
        self._bound = method.__get__(instance)
        update_wrapper(self, self._bound)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # ruff: ignore[any-type] - the method's
        __tracebackhide__ = True
        return self._bound(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<method {self._bound.__qualname__}>"

    def __bool__(self) -> bool:
        __tracebackhide__ = True
        name = self._bound.__name__
        raise no_truth_value(f"the method {name}", f"call it, as in `mipro.{name}()`")
