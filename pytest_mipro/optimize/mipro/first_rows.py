"""A look at the baseline's first rows, before anything else is paid for.

The search begins with these rows anyway. A program or a metric that is broken is found after a few
calls instead of after a whole compile, and calls that no search can improve are found, too.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.dspy_internals import calling_modules, origin_of
from pytest_mipro.evaluate import WorkCallback, check_not_broken
from pytest_mipro.fingerprint import signature_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_mipro.records import Row

FIRST_ROWS = 5
"""Rows to look at, on which only a broken program fails each time and alike."""
_FEWEST = 3
"""Rows below which failures may be those of difficult examples."""
UNREADABLE = "AdapterParseError"
"""The failure of an answer without the right form, which demos may teach the model."""


def refuse_broken(rows: Sequence[Row]) -> None:
    """Check that a baseline does not fail on all of its first rows alike.

    Raises:
        ProgramError: It does.
    """
    types = {None if row.failure is None else row.failure.type for row in rows}
    if len(rows) >= _FEWEST and len(types) == 1 and UNREADABLE not in types:
        check_not_broken("the baseline program", rows, "first validation examples")


class CallerWatch(WorkCallback):
    """Counts the predictor calls of a program that come from no predictor of the program.

    Args:
        program: The program, whose calls the settings of a block with this callback name.
    """

    def __init__(self, program: dspy.Module) -> None:
        super().__init__()
        self._program = program
        # Frozen ones too, which the user left out of the search knowingly.
        modules = (module for _, module in program.named_sub_modules(dspy.Predict))
        # By their origins, since dspy.BestOfN and others call copies of them.
        self._own = {origin_of(module) for module in modules if isinstance(module, dspy.Predict)}
        self._foreign: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[CallerWatch], tuple[dspy.Module]]:
        return CallerWatch, (self._program,)

    @property
    def counts(self) -> dict[str, int]:
        """The calls, by the signature of their predictor."""
        return dict(self._foreign)

    def fresh(self) -> CallerWatch:
        """See ``WorkCallback``."""
        return CallerWatch(self._program)

    def add(self, counts: Mapping[str, int]) -> None:
        """See ``WorkCallback``."""
        with self._lock:
            self._foreign.update(counts)

    @property
    def advice(self) -> str:
        """A warning that names the predictors; empty if there are none."""
        if not self._foreign:
            return ""
        counts = sorted(self._foreign.items())
        calls = ", ".join(f"{name!r} (called {count} times)" for name, count in counts)
        return (
            "calls of the program came from predictors that are not part of it, and are not "
            f"optimized: {calls}; DSPy finds predictors in attributes of modules and in lists and "
            "dictionaries there, not in dictionaries of dictionaries, dataclasses or local "
            "variables of forward: make each an attribute"
        )

    def on_module_start(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        instance: object,
        inputs: dict[str, Any],  # ruff: ignore[unused-method-argument]  # the same
    ) -> None:
        """Count the call of a predictor, unless it is the program's or the metric's."""
        is_called_by_program = any(caller is self._program for caller in calling_modules())
        if not isinstance(instance, dspy.Predict) or not is_called_by_program:
            return
        if origin_of(instance) in self._own:
            return
        with self._lock:
            self._foreign[signature_of(instance).signature] += 1
