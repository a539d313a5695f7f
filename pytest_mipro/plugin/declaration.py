"""The decorator with which a test declares its task, and the check of what it declares."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

import pytest

from pytest_mipro import task
from pytest_mipro.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import dspy
    from typing_extensions import Unpack

    from pytest_mipro.models import ModelSpec
    from pytest_mipro.task import (
        Budget,
        Dataset,
        DatasetSource,
        Metric,
        OptimizerSpec,
        Options,
        SplitSpec,
    )

F = TypeVar("F", bound="Callable[..., Any]")

UNUSED_MARKER = (
    "the test has the marker mipro and does not request its outcome, so it would pass "
    "with any result; take the fixture `mipro` as an argument, or use @mipro_optimize"
)
"""What is wrong with such a test."""


class Declaration(TypedDict, total=False):
    """The arguments of ``@mipro_optimize`` and ``@pytest.mark.mipro``, all of them optional.

    An argument that is neither in ``RESOLVED`` nor an option of the search is
    the attribute of ``Task`` with its name.
    """

    program: dspy.Module | type[dspy.Module] | Callable[[], dspy.Module]
    metric: Metric
    metrics: Mapping[str, Metric]
    dataset: DatasetSource
    inputs: Sequence[str]
    split: SplitSpec
    lm: ModelSpec
    prompt_lm: ModelSpec
    teacher: dspy.Module | ModelSpec
    adapter: dspy.Adapter
    name: str
    version: str
    repeat: int
    cluster: str
    alpha_spending: bool
    sequential: bool
    budget: Budget
    optimizer: OptimizerSpec
    optimizer_options: Mapping[str, Any]
    auto: Literal["light", "medium", "heavy"] | None
    num_candidates: int
    num_trials: int
    max_bootstrapped_demos: int
    max_labeled_demos: int
    seed: int
    init_temperature: float
    metric_threshold: float
    minibatch: bool
    minibatch_size: int
    view_data_batch_size: int
    program_aware_proposer: bool
    data_aware_proposer: bool
    tip_aware_proposer: bool
    fewshot_aware_proposer: bool
    rounds: int


NAMES = tuple(Declaration.__annotations__)
RESOLVED = frozenset(
    (
        *("program", "metric", "metrics", "dataset", "inputs", "split", "lm", "prompt_lm"),
        *("teacher", "adapter", "name", "repeat", "alpha_spending", "sequential"),
        *("optimizer", "optimizer_options"),
    )
)
"""The arguments from which ``TaskRunner`` makes an attribute of the task."""
METRICS = frozenset(("metric", "metrics"))
"""The arguments of which a test declares one."""


def mipro_optimize(**declared: Unpack[Declaration]) -> Callable[[F], F]:
    """Declare the program, metric and dataset that a test judges.

    The test gets the ``mipro`` fixture; an argument that is left out comes from
    the fixture ``mipro_program``, ``mipro_metric`` or ``mipro_metrics``,
    ``mipro_dataset``, ``mipro_lm``, ``mipro_prompt_lm``, ``mipro_teacher``,
    ``mipro_adapter`` or ``mipro_optimizer``.
    The decorator is short for ``@pytest.mark.mipro(...)`` with the fixture
    ``mipro`` and wraps nothing.

    Args:
        **declared: See ``Declaration``; the options of the search have the
            names and defaults of ``dspy.MIPROv2``.
    """

    def declare(test: F) -> F:
        marked: F = pytest.mark.mipro.with_args(**declared)(test)
        test_with_fixture: F = pytest.mark.usefixtures("mipro")(marked)
        return test_with_fixture

    return declare


@dataclass(frozen=True)
class CheckedDeclaration:
    """The checked arguments of a test, with the dataset that they name.

    Attributes:
        values: The arguments, by name.
        options: The options of the search.
        dataset: The dataset; None if no argument names one.
        folder: The folder of the test file.
    """

    values: Mapping[str, Any]
    options: Options
    dataset: Dataset | None
    folder: Path

    @property
    def task_attributes(self) -> Mapping[str, Any]:
        """The arguments that are attributes of the task as they are."""
        used = RESOLVED.union(task.OPTION_NAMES)
        return {name: value for name, value in self.values.items() if name not in used}

    def load(self, source: DatasetSource) -> Dataset:
        """Return the dataset at ``source``, read and split as declared."""
        cluster = self.values.get("cluster")
        dataset = task.Dataset.load(
            source,
            inputs=self.values.get("inputs"),
            split=self.values.get("split", task.DEFAULT_SPLIT),
            folder=self.folder,
            cluster=cluster,
        )
        if cluster is not None:
            task.clusters_of(dataset.test, cluster)
        return dataset


def declaring_test(node: pytest.Item) -> str:
    """Return the node id to which a declaration belongs.

    It is without parameters, unless one of them has a marker of its own.
    """
    original_name = getattr(node, "originalname", None)
    name = node.name if _parameter_markers(node) else original_name or node.name
    parent = "" if node.parent is None else node.parent.nodeid
    return f"{parent}::{name}"


def check(node: pytest.Item) -> CheckedDeclaration:
    """Check the arguments of the markers of ``node`` and load the dataset; the closest marker wins.

    The markers of its parameters are the closest ones.

    Raises:
        DeclarationError: An argument is unknown or has a value that cannot be used.
    """
    _refuse_unused_marker(node)
    values: dict[str, Any] = {}
    for mark in chain(_parameter_markers(node), node.iter_markers("mipro")):
        _refuse_positional(mark)
        _refuse_metric_twice(mark.kwargs)
        is_settled = not METRICS.isdisjoint(values)
        outer = {
            name: value
            for name, value in mark.kwargs.items()
            if not (is_settled and name in METRICS)
        }
        values = {**outer, **values}
    _refuse_unknown(values)
    for name, check_value in _checks().items():
        if name in values:
            check_value(values[name])
    options = task.Options.checked(
        **{name: values[name] for name in task.OPTION_NAMES if name in values}
    )
    options.refuse_contradictions()
    declared = CheckedDeclaration(values, options, None, node.path.parent)
    if "dataset" not in values:
        return declared
    return replace(declared, dataset=declared.load(values["dataset"]))


def _parameter_markers(node: pytest.Item) -> list[pytest.Mark]:
    """Return the markers of the test's parameters, which pytest lists after those of the test."""
    marks = getattr(getattr(node, "callspec", None), "marks", ())
    return [mark for mark in marks if mark.name == "mipro"]


def _checks() -> Mapping[str, Callable[[Any], None]]:
    """Return the check of each argument that has one; this loads DSPy."""
    return {
        "program": task.check_program,
        "metric": task.check_metric,
        "metrics": task.check_metrics,
        "adapter": task.check_adapter,
        "repeat": task.check_repeat,
        "cluster": task.check_cluster,
        "alpha_spending": partial(task.check_switch, "alpha_spending"),
        "sequential": partial(task.check_switch, "sequential"),
        "budget": task.check_budget,
        "optimizer": task.check_optimizer,
        "optimizer_options": task.check_optimizer_options,
    }


def has_own_marker(node: pytest.Item) -> bool:
    """Whether a test has the marker itself, and not from its class or module."""
    return any(mark.name == "mipro" for mark in node.own_markers)


def _refuse_unused_marker(node: pytest.Item) -> None:
    """Refuse a test with a marker of its own that cannot request the outcome."""
    fixtures = {"mipro", "request"}.intersection(getattr(node, "fixturenames", ()))
    if not fixtures and has_own_marker(node):
        raise DeclarationError(UNUSED_MARKER)


def _refuse_positional(mark: pytest.Mark) -> None:
    if mark.args:
        message = (
            f"mipro takes keyword arguments only, got {mark.args[0]!r:.80}; "
            "name it, e.g. program=... or metric=..."
        )
        raise DeclarationError(message)


def _refuse_metric_twice(values: Mapping[str, Any]) -> None:
    if values.keys() >= METRICS:
        message = (
            "metric=... and metrics={...} contradict each other; name all metrics in metrics, "
            "the optimized one first"
        )
        raise DeclarationError(message)


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    for name in values:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(NAMES)}"
            message = f"mipro has no argument {name!r}; {hint}"
            raise DeclarationError(message)
