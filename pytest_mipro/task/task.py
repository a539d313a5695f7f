"""The task of a test, and the checks of its plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task.optimizer import OptimizerChoice
from pytest_mipro.task.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dspy

    from pytest_mipro.task.budget import Budget
    from pytest_mipro.task.callables import Metric
    from pytest_mipro.task.dataset import Dataset
    from pytest_mipro.task.executor import ExecutorSource


@dataclass(frozen=True)
class Task:
    """The declaration of one test, resolved and checked.

    Attributes:
        name: The task's name in reports and messages.
        test: The test's node id.
        program: The baseline; never modified.
        metric: ``metric(example, prediction, trace=None)``, which is optimized.
        dataset: The three splits.
        lm: The program's language model.
        prompt_lm: The language model that writes instructions.
        teacher: The program whose traces become demos; None takes the baseline.
        teacher_lm: The teacher's language model; None takes ``lm``.
        adapter: The DSPy adapter of all rows; None takes DSPy's default.
        optimizer: What compiles the program.
        options: The options of MIPROv2; the seed is that of every optimizer.
        threads: The most rows evaluated at the same time.
        executor: Where they are evaluated; None takes threads of this process.
        version: The user's version of content that cannot be hashed.
        repeat: Rollouts per held-out example, whose score is their mean.
        first_rollout: The number of the first of these rollouts.
        cluster: The field whose equal values mark dependent held-out examples.
        alpha_spending: Whether all looks at the held-out examples share alpha.
        sequential: Whether held-out examples are asked in batches until a verdict is clear.
        budget: The most that the task may spend in one run; None sets no limit.
        metric_name: The name of ``metric``; empty if it is declared without one.
        further_metrics: The metrics that score the held-out answers, too, by name.
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
    optimizer: OptimizerChoice = field(default_factory=OptimizerChoice)
    options: Options = field(default_factory=Options)
    threads: int = 8
    executor: ExecutorSource | None = None
    version: str | None = None
    repeat: int = 1
    first_rollout: int = 0
    cluster: str | None = None
    alpha_spending: bool = False
    sequential: bool = False
    budget: Budget | None = None
    metric_name: str = ""
    further_metrics: Mapping[str, Metric] = field(default_factory=dict)


def check_switch(name: str, value: object) -> None:
    """Raise DeclarationError unless ``value``, that of the argument ``name``, is a bool."""
    if not isinstance(value, bool):
        message = f"{name}={value!r:.80}: expected True or False"
        raise DeclarationError(message)


def check_repeat(value: object) -> None:
    """Raise DeclarationError unless ``value`` is a number of rollouts."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"repeat={value!r:.80}: expected a whole number of at least 1"
        raise DeclarationError(message)


def check_cluster(value: object) -> None:
    """Raise DeclarationError unless ``value`` can be the name of a field."""
    if not isinstance(value, str) or not value:
        message = f"cluster={value!r:.80}: expected the name of a field, e.g. cluster='document'"
        raise DeclarationError(message)


def is_sampled(program: dspy.Module, lm: dspy.BaseLM) -> bool:
    """Whether two runs of ``program`` on one example may differ.

    They do not at temperature 0, apart from noise in the provider's hardware. A
    model without a temperature has its provider's default, which samples.
    """
    return any(_temperature(predictor, lm) != 0 for predictor in program.predictors())


def _temperature(predictor: dspy.Predict, lm: dspy.BaseLM) -> object:
    temperature = predictor.config.get("temperature")
    return (predictor.lm or lm).kwargs.get("temperature") if temperature is None else temperature
