from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from sessions import Checkout, with_demos

from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.reference import read_reference
from pytest_mipro.session.context import read_context
from pytest_mipro.session.policy import Policy
from pytest_mipro.session.rollouts import accepted_task, scored_task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_mipro.session.context import TaskContext


def context(checkout: Checkout, **values: Any) -> TaskContext:
    """Return the context of a task of the checkout."""
    task = checkout.task(**values)
    return read_context(task, task_fingerprint(task, {}), checkout.location(), Policy())


def accepted_state(checkout: Checkout) -> Mapping[str, Any]:
    """Return the state of the accepted program."""
    reference = read_reference(checkout.location())
    assert reference is not None
    return reference.state


@pytest.mark.parametrize("temperature, is_sampled", [(0, False), (1, True), (None, True)])
def test_accepted_programs_have_rollouts_of_their_own(
    checkout: Checkout, temperature: float | None, is_sampled: bool
) -> None:
    """At temperature 0 every rollout is the same."""
    lm = dspy.LM("scripted", engine=checkout.model, cache=False, temperature=temperature)
    assert (accepted_task(checkout.task(lm=lm)).first_rollout > 0) is is_sampled


def test_the_accepted_program_alone_is_scored_on_them(accepted: Checkout) -> None:
    """Another state, another task or no reference is a program that is tried."""
    state = accepted_state(accepted)
    assert scored_task(context(accepted), state, Policy()).first_rollout > 0
    assert scored_task(context(accepted), {}, Policy()).first_rollout == 0
    assert scored_task(context(accepted, seed=7), state, Policy()).first_rollout == 0
    assert scored_task(context(accepted), {}, Policy(update=True)).first_rollout > 0


def test_a_metric_scores_the_accepted_answers(checkout: Checkout) -> None:
    """Where only an acceptance ran, another metric asks the model nothing for the reference."""
    checkout.recorder.optimizer = with_demos
    checkout.outcome(update=True)
    calls = checkout.calls
    task = checkout.task(metric=lambda *_: 1.0)
    checkout.outcome(task, update=True)
    assert checkout.calls == calls
