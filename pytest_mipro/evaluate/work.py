"""Work on one example, in parts that can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pytest_mipro.canonical import digest, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    import dspy

    from pytest_mipro.records import Usage


class PaidRecord(Protocol):
    """What a row, a trace and a proposal have in common."""

    @property
    def key(self) -> str:
        """The key in the store."""

    @property
    def usage(self) -> Usage:
        """The usage of the calls that produced the record."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON data."""


R = TypeVar("R", bound=PaidRecord)


@dataclass(frozen=True)
class Work(Generic[R]):
    """A call of a module-level function that returns a record.

    Attributes:
        function: The function.
        shared: Its first arguments, which much work has in common, such as an evaluator and a
            program: an executor gets them once.
        own: Its further arguments, such as an example.
        prompts: The key of the program's prompts; empty if no later work makes the same calls.
        example: The example that these prompts are filled in for.
    """

    function: Callable[..., R]
    shared: tuple[object, ...]
    own: tuple[object, ...]
    prompts: str = ""
    example: dspy.Example | None = None

    def __call__(self) -> R:
        """Do the work in this thread."""
        return self.function(*self.shared, *self.own)

    @property
    def calls_key(self) -> str:
        """The key of the responses that the work needs; empty if none is."""
        if not self.prompts or self.example is None:
            return ""
        inputs = plain(self.example.inputs(), fallback=repr)
        return digest(["calls", self.prompts, inputs])


class WorkRunner(Protocol):
    """Runs work, in a thread of the driver that waits for the result."""

    def run(self, work: Work[R]) -> R:
        """Return the record of ``work``, once it could be done.

        Raises:
            MiproError: It cannot be done.
        """

    def stop(self) -> None:
        """Begin no more work; return at once."""
