"""The walk through a program, which the keys of a task have in common."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import dspy

from pytest_mipro.fingerprint.ownership import counted_as_users
from pytest_mipro.fingerprint.programs import describe_program

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import CodeWalker

_walks: ContextVar[dict[tuple[int, str | None], ProgramWalk] | None] = ContextVar(
    "walks", default=None
)
_keys: ContextVar[dict[tuple[object, ...], tuple[str, tuple[object, ...]]] | None] = ContextVar(
    "keys", default=None
)

_EVERYWHERE = (
    *(dspy.Predict, dspy.ChatAdapter, dspy.JSONAdapter, dspy.LM, dspy.Example, dspy.Prediction),
)
"""Classes that programs use without naming them; a conftest.py may replace their methods."""


@dataclass(frozen=True)
class ProgramWalk:
    """A program, and what a walk through it found.

    Attributes:
        program: The program.
        modules: The descriptions of its modules.
        states: The descriptions of the modules' attributes, by path.
        walker: The walker, with the parts of the code that was reached.
    """

    program: dspy.Module
    modules: list[JSON]
    states: Mapping[str, JSON]
    walker: CodeWalker


@contextmanager
def described_once() -> Generator[None]:
    """Describe each program and each model once inside the block, as they are at first.

    A large program takes long, and a value that the code changes while it runs, such as a cache,
    would give the rows of one run two keys.
    """
    walks, keys = _walks.get(), _keys.get()
    tokens = _walks.set({} if walks is None else walks), _keys.set({} if keys is None else keys)
    try:
        yield
    finally:
        _walks.reset(tokens[0])
        _keys.reset(tokens[1])


def key_once(compute: Callable[..., str], *arguments: object) -> str:
    """Return ``compute(*arguments)``, or the key that the block has for the same arguments."""
    keys = _keys.get()
    if keys is None:
        return compute(*arguments)
    identity = (compute, *(value if isinstance(value, str) else id(value) for value in arguments))
    if identity not in keys:
        keys[identity] = compute(*arguments), arguments  # An id is one object's while that lives.
    return keys[identity][0]


def walk_program(program: dspy.Module, walker: CodeWalker, declared: str | None) -> ProgramWalk:
    """Return the walk through ``program`` by ``walker``, or the one that the block has.

    The walker of the result may go on to anything else.
    """
    walks = _walks.get()
    key = id(program), declared
    walk = None if walks is None else walks.get(key)
    if walk is None:
        with counted_as_users(program):
            walk = ProgramWalk(program, *describe_program(program, walker), walker)
            for cls in _EVERYWHERE:
                walker.follow(cls)
        if walks is not None:
            walks[key] = walk
    return replace(walk, walker=walk.walker.copy())
