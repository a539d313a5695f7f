"""Compile a task with the hook of another plugin, under the guard of all optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.optimize.bound import Bound
from pytest_mipro.optimize.guard import Guard
from pytest_mipro.optimize.optimizer import CompileResult
from pytest_mipro.optimize.teleprompter import refuse_other_shapes, with_models_of

if TYPE_CHECKING:
    import dspy

    from pytest_mipro.optimize.bound import CallProfile
    from pytest_mipro.optimize.optimizer import CompileRequest, Optimizer
    from pytest_mipro.task import OptimizerHook, Task

HOOK = "pytest_mipro_optimize"


@dataclass(frozen=True)
class HookedOptimizer:
    """The program that a hook returns, or that of the declared optimizer if it returns None.

    Attributes:
        hook: The hook.
        declared: The optimizer to use if the hook returns no program.
    """

    hook: OptimizerHook
    declared: Optimizer

    @property
    def runs(self) -> int:
        """See ``Optimizer``."""
        return self.declared.runs

    def compile(self, request: CompileRequest) -> CompileResult:
        """See ``Optimizer``."""
        guard = Guard(HOOK, request)
        with guard.task() as task:
            program = self.hook(task)
        if program is None:
            return self.declared.compile(request)
        refuse_other_shapes(HOOK, self.shape(request.task), program)
        program = with_models_of(request.task.program, program)
        return CompileResult(program, guard.usage, optimizer=HOOK)

    def shape(self, task: Task) -> dspy.Module:
        """See ``Optimizer``."""
        return self.declared.shape(task)

    def bounds(self, _: Task, profile: CallProfile) -> tuple[Bound, ...]:
        """See ``Optimizer``: nothing is known about a hook."""
        return (Bound("optimize", 0, None, profile.model),)
