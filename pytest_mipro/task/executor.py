"""The executor that a user gives for rows: one of his own, or what makes one."""

from __future__ import annotations

from concurrent.futures import Executor
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable

ExecutorSpec: TypeAlias = "Executor | Callable[[], Executor]"
"""An executor, which its user shuts down, or a function that makes one."""


class ExecutorSource:
    """Returns the executor, and a new one for one that is broken if the user gave a function.

    Args:
        spec: What the user gave.
    """

    def __init__(self, spec: ExecutorSpec) -> None:
        self._spec = spec
        self._executor = spec if isinstance(spec, Executor) else None
        self._lock = Lock()

    @classmethod
    def of(cls, spec: object) -> ExecutorSource | None:
        """Return the source of what a user gave; None for None, which stands for threads.

        Raises:
            DeclarationError: It is neither an executor nor a function.
        """
        if spec is None or isinstance(spec, cls):
            return spec
        if not isinstance(spec, Executor) and not callable(spec):
            message = (
                f"executor={spec!r:.80}: expected a concurrent.futures.Executor, such as "
                "ProcessPoolExecutor(4) or dask's Client(...).get_executor(pure=False), or a "
                "function that returns one"
            )
            raise DeclarationError(message)
        return cls(spec)

    @property
    def is_renewable(self) -> bool:
        """Whether a broken executor can be replaced."""
        return not isinstance(self._spec, Executor)

    def current(self) -> Executor:
        """Return the executor.

        Raises:
            DeclarationError: The user's function returns none.
        """
        with self._lock:
            if self._executor is None:
                self._executor = self._new()
            return self._executor

    def discard(self, broken: Executor) -> None:
        """Let the next executor be a new one, if ``broken`` is the present one."""
        if self.is_renewable:
            with self._lock:
                if self._executor is broken:
                    self._executor = None
            broken.shutdown(wait=False)

    def close(self) -> None:
        """Shut down the executor that the user's function has made, if any."""
        with self._lock:
            executor, self._executor = self._executor, None
        if self.is_renewable and executor is not None:
            executor.shutdown(wait=False)

    def _new(self) -> Executor:
        if isinstance(self._spec, Executor):
            return self._spec
        executor = self._spec()
        if not isinstance(executor, Executor):
            message = (
                f"the function that mipro_executor gave returned {executor!r:.80}; expected a "
                "concurrent.futures.Executor"
            )
            raise DeclarationError(message)
        return executor
