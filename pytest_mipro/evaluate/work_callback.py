"""A callback of DSPy that also counts what happens in other processes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from dspy.utils.callback import BaseCallback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self


class WorkCallback(BaseCallback):
    """Counts by name; other callbacks stay in the driver, and see only what happens there."""

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """The counts so far."""

    @abstractmethod
    def fresh(self) -> Self:
        """Return a callback that has counted nothing; a worker counts one attempt with it."""

    @abstractmethod
    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of another process."""
