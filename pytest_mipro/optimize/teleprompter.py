"""Run an optimizer of DSPy under the guard, and accept what DSPy's state can hold."""

from __future__ import annotations

import copy
import difflib
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.dspy_internals import unfreeze
from pytest_mipro.errors import DeclarationError, OptimizerError
from pytest_mipro.fingerprint import signature_of
from pytest_mipro.optimize.bound import Bound
from pytest_mipro.optimize.guard import NO_LIMIT, Guard
from pytest_mipro.optimize.optimizer import CompileResult
from pytest_mipro.task import is_async_only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dspy.teleprompt import Teleprompter

    from pytest_mipro.optimize.bound import CallProfile
    from pytest_mipro.optimize.optimizer import CompileRequest
    from pytest_mipro.task import OptimizerChoice, Task

_METRICS = ("metric", "metric_fn")
"""The attributes in which DSPy's optimizers keep their metric."""
_PROMPT_MODELS = ("prompt_model", "reflection_lm")
_SET_HERE = ("metric", "num_threads", "trainset", "valset")
"""Arguments that are the task's, and no options."""


@dataclass(frozen=True)
class TeleprompterOptimizer:
    """An optimizer whose ``compile`` is that of a class or instance of DSPy.

    Attributes:
        choice: What the test declares.
        factory: The class, or an instance that is copied.
        runs: See ``Optimizer``.
        with_feedback: Whether its metric takes five arguments and returns feedback.
        defaults: Returns constructor arguments that depend on the task; options replace them.
        most_rows: Returns the most runs of the program; None if nothing bounds them.
    """

    choice: OptimizerChoice
    factory: type[Teleprompter] | Teleprompter
    runs: int = 1
    with_feedback: bool = False
    defaults: Callable[[Task], Mapping[str, Any]] = field(default=lambda _: {})
    most_rows: Callable[[Task, Teleprompter], int | None] = field(default=lambda *_: None)

    def __post_init__(self) -> None:
        """Refuse options that the optimizer does not have.

        Raises:
            DeclarationError: There is no such option, or an instance got options.
        """
        if self.choice.options:
            check_options(self.choice, self.factory)

    def compile(self, request: CompileRequest) -> CompileResult:
        """See ``Optimizer``."""
        guard = Guard(self.choice.name, request)
        with guard.task() as task:
            program = self.optimized(task, guard)
        refuse_other_shapes(self.choice.name, task.program, program)
        return CompileResult(with_models_of(request.task.program, program), guard.usage)

    def optimized(self, task: Task, guard: Guard) -> dspy.Module:
        """Return what DSPy's optimizer makes of a guarded task."""
        refuse_async_programs(self.choice.name, task)
        optimizer = self._optimizer(task, guard)
        program: dspy.Module = optimizer.compile(
            task.program, **_compile_arguments(optimizer, task)
        )
        return program

    def shape(self, task: Task) -> dspy.Module:
        """See ``Optimizer``."""
        return task.program

    def bounds(self, task: Task, profile: CallProfile) -> tuple[Bound, ...]:
        """See ``Optimizer``."""
        rows = self.most_rows(task, self._optimizer(task, None))
        calls = None if rows is None else rows * profile.calls
        return (Bound("optimize", rows or 0, calls, profile.teacher),)

    def _optimizer(self, task: Task, guard: Guard | None) -> Teleprompter:
        if isinstance(self.factory, type):
            return self._new(self.factory, task, guard)
        # Not a deep copy: an instance may hold locks.
        return self._adjusted(copy.copy(self.factory), task, guard)

    def _new(self, cls: type[Teleprompter], task: Task, guard: Guard | None) -> Teleprompter:
        parameters = inspect.signature(cls).parameters
        arguments = {
            "metric": self._metric(task.metric, guard),
            "num_threads": task.threads,
            "teacher_settings": {} if task.teacher_lm is None else {"lm": task.teacher_lm},
            "seed": task.options.seed,
            "max_errors": NO_LIMIT,
            **dict.fromkeys(_PROMPT_MODELS, task.prompt_lm),
        }
        arguments = {name: value for name, value in arguments.items() if name in parameters}
        options = {name: _guarded(value, guard) for name, value in self.choice.options.items()}
        return cls(**{**arguments, **self.defaults(task), **options})

    def _adjusted(self, optimizer: Teleprompter, task: Task, guard: Guard | None) -> Teleprompter:
        """Give an instance the task's metric and models where it has none, and guard its own."""
        for name in _METRICS:
            if hasattr(optimizer, name):
                metric = getattr(optimizer, name) or task.metric
                setattr(optimizer, name, self._metric(metric, guard))
        for name, value in list(vars(optimizer).items()):
            setattr(optimizer, name, _guarded(value, guard))
            if value is None and name in _PROMPT_MODELS:
                setattr(optimizer, name, task.prompt_lm)
        if getattr(optimizer, "num_threads", NO_LIMIT) is None:
            vars(optimizer)["num_threads"] = task.threads
        return optimizer

    def _metric(self, metric: Any, guard: Guard | None) -> Any:  # ruff: ignore[any-type] - DSPy's
        if guard is None:
            return _unused
        return guard.metric_with_feedback(metric) if self.with_feedback else guard.metric(metric)


def refuse_async_programs(name: str, task: Task) -> None:
    """Raise DeclarationError if DSPy's optimizers could not call a program of the task."""
    for program in filter(None, (task.program, task.teacher)):
        if is_async_only(program):
            message = (
                f"optimizer {name} calls forward, and {type(program).__name__} has only aforward; "
                "give it a forward, or use optimizer='mipro'"
            )
            raise DeclarationError(message)


def _unused(
    gold: object, pred: object, trace: object, pred_name: object, pred_trace: object
) -> float:
    """Stand for the metric where an optimizer is only asked for its bounds."""
    raise AssertionError(gold, pred, trace, pred_name, pred_trace)


def _guarded(value: Any, guard: Guard | None) -> Any:  # ruff: ignore[any-type] - any attribute
    """Return ``value`` with its language models guarded, such as those of ``teacher_settings``."""
    if guard is None:
        return value
    if isinstance(value, dspy.BaseLM):
        return guard.lm(value)
    if type(value) is dict:
        return {name: _guarded(item, guard) for name, item in value.items()}
    return value


def _compile_arguments(optimizer: Teleprompter, task: Task) -> dict[str, Any]:
    """Return the arguments of ``compile`` that the optimizer takes."""
    parameters = inspect.signature(optimizer.compile).parameters
    train, val = list(task.dataset.train), list(task.dataset.val)
    arguments = {
        # Without a validation set of its own, an optimizer learns from all labelled examples.
        "trainset": train if "valset" in parameters else [*train, *val],
        "valset": val,
        "teacher": task.teacher,
        "seed": task.options.seed,
        "eval_kwargs": {"num_threads": task.threads, "display_progress": False},
    }
    return {name: value for name, value in arguments.items() if name in parameters}


def check_options(choice: OptimizerChoice, factory: object) -> None:
    """Raise DeclarationError unless the constructor of ``factory`` has all options."""
    if not isinstance(factory, type):
        message = (
            f"optimizer={choice.name}(...) is an instance, so its arguments belong into its "
            f"constructor; leave optimizer_options out, or pass the class {choice.name}"
        )
        raise DeclarationError(message)
    refuse_unknown_options(choice, list(inspect.signature(factory).parameters))


def refuse_unknown_options(choice: OptimizerChoice, names: list[str]) -> None:
    """Raise DeclarationError unless all options of ``choice`` are among ``names``."""
    names = [name for name in names if name not in _SET_HERE and not name.startswith("_")]
    for option in choice.options:
        if option not in names:
            near = difflib.get_close_matches(option, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
            message = (
                f"optimizer_options={{{option!r}: ...}}: optimizer {choice.name} has no option "
                f"{option!r}; {hint}"
            )
            raise DeclarationError(message)


def refuse_other_shapes(name: str, baseline: dspy.Module, program: object) -> None:
    """Raise OptimizerError unless DSPy's state can turn ``baseline`` into ``program``.

    What the state does not hold would be lost without a word: other classes, predictors,
    fields, models, or a replaced method.
    """
    if reason := _difference(baseline, program):
        message = (
            f"optimizer {name} returned {reason}, which a stored state cannot hold; expected the "
            "task's program with other instructions or demos; nothing is stored"
        )
        raise OptimizerError(message)


def with_models_of(shape: dspy.Module, program: dspy.Module) -> dspy.Module:
    """Return ``program`` with the models of ``shape`` instead of guarded ones."""
    for original, predictor in zip(shape.predictors(), program.predictors(), strict=True):
        predictor.lm = original.lm
    return program


def _difference(baseline: dspy.Module, program: object) -> str:
    if not isinstance(program, dspy.Module):
        return f"{program!r:.80}"
    if type(program) is not type(baseline):
        return f"a {type(program).__name__} instead of a {type(baseline).__name__}"
    replaced = [name for name, value in vars(program).items() if callable(value)]
    new = set(replaced).difference(vars(baseline)).difference(dict(program.named_sub_modules()))
    if new:
        return f"a {type(program).__name__} whose {min(new)} is replaced"
    originals, predictors = dict(baseline.named_predictors()), dict(_predictors(program))
    if list(originals) != list(predictors):
        return f"predictors {', '.join(predictors) or '(none)'} instead of {', '.join(originals)}"
    for predictor_name, predictor in predictors.items():
        original = originals[predictor_name]
        if list(signature_of(predictor).fields) != list(signature_of(original).fields):
            return f"other fields of {predictor_name}"
        if _model_name(predictor) != _model_name(original):
            return f"another model for {predictor_name}"
    return ""


def _predictors(program: dspy.Module) -> list[tuple[str, dspy.Predict]]:
    """Return the predictors; a program that counts as compiled hides its own."""
    program = program.deepcopy()
    for _, module in program.named_sub_modules():
        unfreeze(module)
    return list(program.named_predictors())


def _model_name(predictor: dspy.Predict) -> str:
    return "" if predictor.lm is None else str(predictor.lm.model)
