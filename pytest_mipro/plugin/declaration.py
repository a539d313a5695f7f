"""What a test can declare: the decorator and the marker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dspy
    from typing_extensions import Unpack

    from pytest_mipro.models import ModelSpec
    from pytest_mipro.task import Budget, DatasetSource, Metric, SplitSpec

F = TypeVar("F", bound="Callable[..., Any]")


class Declaration(TypedDict, total=False):
    """What ``@mipro_optimize`` and ``@pytest.mark.mipro`` take; all of it is optional."""

    program: dspy.Module | type[dspy.Module] | Callable[[], dspy.Module]
    metric: Metric
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
    budget: Budget
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


NAMES = tuple(Declaration.__annotations__)


def mipro_optimize(**declared: Unpack[Declaration]) -> Callable[[F], F]:
    """
    Declare the program, metric and dataset that a test judges.

    The test gets the ``mipro`` fixture; what is left out here comes from the
    fixtures ``mipro_program``, ``mipro_metric``, ``mipro_dataset``,
    ``mipro_lm``, ``mipro_prompt_lm``, ``mipro_teacher`` and ``mipro_adapter``.
    It is short for ``@pytest.mark.mipro(...)`` with that fixture and wraps
    nothing.

    Args:
        **declared: See ``Declaration``; the options of the search have the
            names and defaults of ``dspy.MIPROv2``.

    """

    def declare(test: F) -> F:
        marked: F = pytest.mark.mipro.with_args(**declared)(test)
        using: F = pytest.mark.usefixtures("mipro")(marked)
        return using

    return declare
