"""``optimizer="ensemble"``: the best programs of a search, which vote on each answer.

Plain DSPy builds the same program, into which the state of an artifact loads, with
``dspy.Ensemble(reduce_fn=dspy.majority).compile([Program() for _ in range(3)])``.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.dspy_internals import unfreeze
from pytest_mipro.errors import DeclarationError, OptimizerError
from pytest_mipro.fingerprint import SHAPE, function_key
from pytest_mipro.optimize.guard import Guard
from pytest_mipro.optimize.optimizer import CompileResult
from pytest_mipro.optimize.random_search import optimizer as random_search
from pytest_mipro.optimize.teleprompter import (
    TeleprompterOptimizer,
    refuse_other_shapes,
    with_models_of,
)
from pytest_mipro.task import isolated_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_mipro.optimize.bound import Bound, CallProfile
    from pytest_mipro.optimize.optimizer import CompileRequest, Optimizer
    from pytest_mipro.task import OptimizerChoice, Task

_SIZE = 3


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return an ensemble of the best programs of a random search.

    Raises:
        DeclarationError: An option is unknown or cannot be used.
    """
    options = dict(choice.options)
    size, reduce_fn = options.pop("size", _SIZE), options.pop("reduce_fn", majority)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        message = f"optimizer_options={{'size': {size!r:.80}}}: expected a number of at least 1"
        raise DeclarationError(message)
    if not callable(reduce_fn):
        message = (
            f"optimizer_options={{'reduce_fn': {reduce_fn!r:.80}}}: expected a function that "
            "takes a list of predictions, e.g. dspy.majority"
        )
        raise DeclarationError(message)
    search = random_search(replace(choice, options=options))
    if not isinstance(search, TeleprompterOptimizer):
        raise AssertionError(search)
    return EnsembleOptimizer(search, size, reduce_fn)


def majority(predictions: Sequence[dspy.Prediction]) -> dspy.Prediction:
    """Return the prediction that most programs agree on in the last field, of any type."""
    winner: dspy.Prediction = dspy.majority(list(predictions), normalize=repr)
    return winner


@dataclass(frozen=True)
class EnsembleOptimizer:
    """A vote of the best programs that a random search has measured.

    Attributes:
        search: The search for programs.
        runs: The number of programs.
        reduce_fn: Makes one prediction of theirs.
    """

    search: TeleprompterOptimizer
    runs: int
    reduce_fn: Callable[[Sequence[dspy.Prediction]], Any]

    def compile(self, request: CompileRequest) -> CompileResult:
        """See ``Optimizer``."""
        guard = Guard("ensemble", request)
        with guard.task() as task:
            best = self.search.optimized(task, guard)
            candidates = sorted(
                best.candidate_programs, key=operator.itemgetter("score"), reverse=True
            )
        programs = [candidate["program"] for candidate in candidates[: self.runs]]
        if len(programs) < self.runs:
            message = (
                f"optimizer ensemble found {len(programs)} programs for size={self.runs}; set a "
                "smaller size, or more num_candidate_programs"
            )
            raise OptimizerError(message)
        for program in programs:
            refuse_other_shapes("ensemble", task.program, program)
        ensemble = with_models_of(self.shape(request.task), self._ensemble(programs, request.task))
        return CompileResult(ensemble, guard.usage)

    def shape(self, task: Task) -> dspy.Module:
        """See ``Optimizer``."""
        return self._ensemble([isolated_copy(task.program) for _ in range(self.runs)], task)

    def bounds(self, task: Task, profile: CallProfile) -> tuple[Bound, ...]:
        """See ``Optimizer``."""
        return self.search.bounds(task, profile)

    def _ensemble(self, programs: list[dspy.Module], task: Task) -> dspy.Module:
        for program in programs:
            unfreeze(program)  # DSPy hides the predictors of a frozen part.
        compiler = dspy.Ensemble(reduce_fn=self.reduce_fn)
        ensemble: dspy.Module = compiler.compile(programs)
        setattr(ensemble, SHAPE, function_key(self.reduce_fn, task.version))
        return ensemble
