"""What one test declares, checked once: a task and the options of its search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import dspy
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task.callables import mismatch

if TYPE_CHECKING:
    from pytest_mipro.task.budget import Budget
    from pytest_mipro.task.dataset import Dataset

Metric: TypeAlias = Callable[..., Any]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Size: TypeAlias = Annotated[int, Field(ge=1)]


@checked_dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Options:
    """
    How the search is run; names and defaults are those of ``dspy.MIPROv2``.

    Attributes:
        auto: The size of the search; None takes ``num_candidates`` and
            ``num_trials`` instead.
        num_candidates: Instructions and demo sets per predictor.
        num_trials: Candidates the sampler proposes.
        max_bootstrapped_demos: Most demos per set taken from traces.
        max_labeled_demos: Most demos per set taken from the training rows.
        seed: Decides every draw; the same seed gives the same artifact.
        init_temperature: Temperature of the prompt model while proposing.
        metric_threshold: What a trace must score to become a demo; without
            it, any truthy score will do.
        minibatch: Measure trials on ``minibatch_size`` rows instead of all.
        minibatch_size: Validation rows one trial is measured on at most.
        view_data_batch_size: Training rows shown per summary batch.
        program_aware_proposer: Show the program's code to the prompt model.
        data_aware_proposer: Show it a summary of the training rows.
        tip_aware_proposer: Give it a style tip per instruction.
        fewshot_aware_proposer: Show it demos.

    """

    auto: Literal["light", "medium", "heavy"] | None = "light"
    num_candidates: Size | None = None
    num_trials: Size | None = None
    max_bootstrapped_demos: Count = 4
    max_labeled_demos: Count = 4
    seed: int = 9
    init_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    metric_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    minibatch: bool = True
    minibatch_size: Size = 35
    view_data_batch_size: Size = 10
    program_aware_proposer: bool = True
    data_aware_proposer: bool = True
    tip_aware_proposer: bool = True
    fewshot_aware_proposer: bool = True

    @classmethod
    def declare(cls, **values: Any) -> Options:  # ruff: ignore[any-type] - this is where the types are checked
        """
        Check what a user wrote and return it as options.

        Raises:
            DeclarationError: A value is not one the option takes.

        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{first['loc'][0]}={first['input']!r:.80}: {first['msg']}"
            raise DeclarationError(message) from error

    @property
    def zero_shot(self) -> bool:
        """Whether only instructions are searched and the result carries no demos."""
        return self.max_bootstrapped_demos == 0 and self.max_labeled_demos == 0

    def refuse_contradictions(self) -> None:
        """Raise DeclarationError where ``auto`` and the explicit sizes do not fit together."""
        if self.auto is not None and not (self.num_candidates is None and self.num_trials is None):
            message = (
                f"auto={self.auto!r} sets num_candidates and num_trials itself; "
                "leave them out, or say auto=None"
            )
            raise DeclarationError(message)
        if self.auto is None and self.num_candidates is None:
            message = "auto=None needs num_candidates and num_trials"
            raise DeclarationError(message)


OPTION_NAMES = tuple(each.name for each in fields(Options))


@dataclass(frozen=True)
class Task:
    """
    Everything one test declared, resolved and checked.

    Attributes:
        name: What reports and messages call it.
        test: The test's node id.
        program: The baseline; never modified.
        metric: ``metric(example, prediction, trace=None)``.
        dataset: The three splits.
        lm: Answers for the program.
        prompt_lm: Writes instructions.
        teacher: The program demos are bootstrapped from, if not the baseline.
        teacher_lm: Answers for the teacher, if not ``lm``.
        adapter: The DSPy adapter rows run under; None is DSPy's default.
        options: How the search is run.
        threads: Rows evaluated at the same time.
        version: The user's word for content that cannot be hashed.
        repeat: How often each held-out example is answered; its score is the mean.
        cluster: The field that says which held-out examples are not independent.
        budget: What the task may spend in one run, if that is limited.

    """

    name: str
    test: str
    program: dspy.Module
    metric: Metric
    dataset: Dataset
    lm: dspy.BaseLM
    prompt_lm: dspy.BaseLM
    teacher: dspy.Module | None = None
    teacher_lm: dspy.BaseLM | None = None
    adapter: dspy.Adapter | None = None
    options: Options = field(default_factory=Options)
    threads: int = 8
    version: str | None = None
    repeat: int = 1
    cluster: str | None = None
    budget: Budget | None = None


def check_program(value: object) -> None:
    """
    Refuse, without building anything, what cannot be or make a program.

    Raises:
        DeclarationError: ``value`` is no ``dspy.Module``, no class of them and
            no callable that could return one.

    """
    if isinstance(value, type):
        usable = issubclass(value, dspy.Module)
    else:
        usable = isinstance(value, dspy.Module) or callable(value)
    if not usable:
        message = (
            f"program={_named(value)} is not a dspy.Module; expected an instance, a class, "
            "or a function without arguments that returns one"
        )
        raise DeclarationError(message)


def build_program(value: object) -> dspy.Module:
    """
    Return the program that was declared: an instance, or what a class or function makes.

    Raises:
        DeclarationError: There is no ``dspy.Module`` to be had from ``value``.

    """
    check_program(value)
    if isinstance(value, dspy.Module):
        return _with_predictors(value)
    if not callable(value):
        raise AssertionError(value)
    try:
        program = value()
    except TypeError as error:
        message = (
            f"program={_named(value)} cannot be built without arguments: {error}; "
            "pass an instance, or override the mipro_program fixture"
        )
        raise DeclarationError(message) from error
    if not isinstance(program, dspy.Module):
        message = f"program={_named(value)} returned {program!r:.80}, expected a dspy.Module"
        raise DeclarationError(message)
    return _with_predictors(program)


def _with_predictors(program: dspy.Module) -> dspy.Module:
    if not program.predictors():
        message = (
            f"program {type(program).__name__} has no predictor to optimize: it holds no "
            "dspy.Predict, or all of them are frozen (_compiled)"
        )
        raise DeclarationError(message)
    return program


def check_repeat(value: object) -> None:
    """Raise DeclarationError unless an example can be answered ``value`` times."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"repeat={value!r:.80}: expected a whole number of at least 1"
        raise DeclarationError(message)


def check_cluster(value: object) -> None:
    """Raise DeclarationError unless ``value`` can be the name of a field."""
    if not isinstance(value, str) or not value:
        message = f"cluster={value!r:.80}: expected the name of a field, e.g. cluster='document'"
        raise DeclarationError(message)


def is_sampled(program: dspy.Module, lm: dspy.BaseLM) -> bool:
    """
    Whether ``program`` may answer differently when it is asked again.

    At temperature 0 it does not, or only by accident. A temperature that is not
    set is the provider's, which samples.
    """
    return any(_temperature(predictor, lm) != 0 for predictor in program.predictors())


def _temperature(predictor: dspy.Predict, lm: dspy.BaseLM) -> object:
    own = predictor.config.get("temperature")
    return (predictor.lm or lm).kwargs.get("temperature") if own is None else own


def check_metric(value: object) -> None:
    """Raise DeclarationError unless ``value`` can be called as a metric."""
    if not callable(value) or isinstance(value, type):
        message = (
            f"metric={_named(value)} is not callable; expected a function "
            "metric(example, prediction, trace=None) that returns a score"
        )
        raise DeclarationError(message)
    if why := mismatch(value, "example", "prediction"):
        message = (
            f"metric={_named(value)} cannot be called with an example and a prediction: {why}; "
            "expected metric(example, prediction, trace=None)"
        )
        raise DeclarationError(message)


def check_adapter(value: object) -> None:
    """Raise DeclarationError unless ``value`` can render prompts, or is None."""
    if value is not None and not isinstance(value, dspy.Adapter):
        message = (
            f"adapter={_named(value)} is not a dspy.Adapter; expected an instance, "
            "e.g. dspy.JSONAdapter()"
        )
        raise DeclarationError(message)


def _named(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else f"{value!r:.80}"
