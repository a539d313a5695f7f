"""``optimizer="mipro"``: the engine of this package, for the task of a test."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.optimize.optimizer import CompileResult

if TYPE_CHECKING:
    import dspy

    from pytest_mipro.optimize.bound import Bound, CallProfile
    from pytest_mipro.optimize.mipro.optimizer import MIPROv2
    from pytest_mipro.optimize.mipro.pipeline import PipelineResult
    from pytest_mipro.optimize.optimizer import CompileRequest, Optimizer
    from pytest_mipro.task import OptimizerChoice, Task

_CONSTRUCTOR_OPTIONS = ("auto", "num_candidates", "init_temperature", "metric_threshold", "rounds")
"""The options that the optimizer's constructor takes; its ``compile`` takes the others."""


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return MIPROv2, whose options are arguments of the declaration.

    Raises:
        DeclarationError: They are given in another way.
    """
    if choice.options:
        name = next(iter(choice.options))
        message = (
            f"optimizer_options={{{name!r}: ...}}: the options of MIPROv2 are arguments of "
            f"@mipro_optimize; write {name}=... beside optimizer='mipro'"
        )
        raise DeclarationError(message)
    return DeclaredMIPRO()


@dataclass(frozen=True)
class DeclaredMIPRO:
    """Compiles a task with MIPROv2, which retries, counts and stores by itself.

    Attributes:
        runs: See ``Optimizer``.
    """

    runs: int = 1

    def compile(self, request: CompileRequest) -> CompileResult:
        """See ``Optimizer``."""
        task = request.task
        mipro = _mipro(request)
        program = mipro.compile(
            task.program,
            trainset=task.dataset.train,
            valset=task.dataset.val,
            teacher=task.teacher,
            **{
                name: value
                for name, value in vars(task.options).items()
                if name not in _CONSTRUCTOR_OPTIONS
            },
        )
        return CompileResult(
            program,
            mipro.usage,
            mipro.cut,
            mipro.search,
            mipro.resumed,
            write_study=None if mipro.result is None else partial(_write_study, mipro.result),
        )

    def shape(self, task: Task) -> dspy.Module:
        """See ``Optimizer``."""
        return task.program

    def bounds(self, task: Task, profile: CallProfile) -> tuple[Bound, ...]:
        """See ``Optimizer``."""
        from pytest_mipro.optimize.mipro.estimate import bounds_of_compile

        return bounds_of_compile(
            task.program, task.options, task.dataset.train, task.dataset.val, profile
        )


def _write_study(result: PipelineResult, url: str, name: str) -> None:
    from pytest_mipro.optimize.mipro.study import write_study

    write_study(result, url, name)


def _mipro(request: CompileRequest) -> MIPROv2:
    from pytest_mipro.optimize.mipro.optimizer import MIPROv2

    task = request.task
    return MIPROv2(
        metric=task.metric,
        prompt_model=task.prompt_lm,
        task_model=task.lm,
        teacher_settings={} if task.teacher_lm is None else {"lm": task.teacher_lm},
        num_threads=task.threads,
        # Answers that a weak model's prompts do not get lose the search, and do not end it.
        max_errors=sys.maxsize,
        track_stats=False,
        store=request.store,
        version=task.version,
        on_progress=request.show_progress,
        on_warning=request.warn,
        held_out=request.held_out_rows,
        executor=task.executor,
        **{name: getattr(task.options, name) for name in _CONSTRUCTOR_OPTIONS},
    )
