"""The protocol of an optimizer, with the request to compile a task and the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import dspy

    from pytest_mipro.optimize.bound import Bound, CallProfile
    from pytest_mipro.records import BudgetCut, Progress, SearchLog, Usage
    from pytest_mipro.store import Store
    from pytest_mipro.task import Task


@dataclass(frozen=True)
class CompileRequest:
    """What an optimizer gets to compile a task.

    Attributes:
        task: The task.
        store: The store, in which MIPROv2 keeps its rows.
        held_out_rows: Rows that are scored after the compile, for which a budget has to suffice.
        show_progress: Shows the progress to the user.
        warn: Warns the user about the task.
    """

    task: Task
    store: Store
    held_out_rows: int
    show_progress: Callable[[Progress], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class CompileResult:
    """A compiled program, and what it took.

    Attributes:
        program: The compiled program, in the shape that ``Optimizer.shape`` returns.
        usage: The usage of the compile.
        cut: Where a budget ended the search early; None if it did not.
        search: The log of the search, if it was MIPROv2's.
        resumed: How many stored results the compile started from.
        optimizer: The name of what compiled instead of the declared optimizer; empty if nothing.
        write_study: Writes the search into the database at a URL, as the Optuna study of a name;
            None if the search was not MIPROv2's.
    """

    program: dspy.Module
    usage: Usage
    cut: BudgetCut | None = None
    search: SearchLog | None = None
    resumed: int = 0
    optimizer: str = ""
    write_study: Callable[[str, str], None] | None = None


class Optimizer(Protocol):
    """Compiles tasks; an implementation has a file of its own and a line in the registry."""

    @property
    def runs(self) -> int:
        """How many times a compiled program runs the task's program for one row."""

    def compile(self, request: CompileRequest) -> CompileResult:
        """Compile a task.

        Raises:
            MiproError: The task cannot be compiled; nothing that failed became a score.
        """

    def shape(self, task: Task) -> dspy.Module:
        """Return a program that takes the state of a compiled one: most often the task's own."""

    def bounds(self, task: Task, profile: CallProfile, /) -> tuple[Bound, ...]:
        """Return the most LM calls of each phase of a compile.

        Raises:
            DeclarationError: The options or the examples do not allow a compile.
        """
