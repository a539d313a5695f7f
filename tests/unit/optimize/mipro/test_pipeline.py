from __future__ import annotations

import gc

import dspy
import pytest
from compiles import (
    TRAIN,
    Compiled,
    TwoStep,
    average_lm,
    calls_of,
    compiled,
    engine_without_credit,
    lm_on,
    small_optimizer,
)
from dspy import lm15
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.errors import InfrastructureError, MetricError


@pytest.mark.parametrize("trials", [1, 3])
def test_few_trials_cost_few_rows(trials: int) -> None:
    """The rows evaluated before the search are rows of the search: no other row is evaluated."""
    lm = scripted_lm()
    program = compiled(small_optimizer(lm), num_trials=trials)
    assert len(program.trial_logs) <= trials + 1
    rows = sum(log["rows"] for log in program.trial_logs.values())
    assert rows < calls_of(lm) <= rows + len(TRAIN) + 20


@pytest.mark.parametrize("threads", [1, 16, 64])
def test_the_number_of_calls_does_not_depend_on_the_threads(
    one_step: Compiled, threads: int
) -> None:
    """More threads make the same calls, only earlier."""
    lm = average_lm(latency=0.004)
    compiled(small_optimizer(lm, num_threads=threads))
    assert calls_of(lm) == one_step.calls


@pytest.mark.parametrize(
    "phase",
    [
        "observations",
        "program_description",
        "module_description",
        "proposed_instruction",
        "answer",
    ],
)
def test_an_lm_error_in_each_phase_surfaces(phase: str) -> None:
    """An LM error in any phase stops the compile and is its error."""

    class Refuses(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            if f"`[[ ## {phase} ## ]]`" in (request.messages[-1].text or ""):
                message = "dead key"
                raise dspy.LMAuthError(message)
            return super().complete(request)

    with pytest.raises(InfrastructureError, match="dead key"):
        compiled(small_optimizer(lm_on(Refuses())))


@pytest.mark.parametrize("paid", [0, 5, 20, 60])
def test_an_lm_error_in_any_call_surfaces(paid: int) -> None:
    """An LM error in any call is the error of the compile, not a score."""
    with pytest.raises(InfrastructureError, match="no credit left"):
        compiled(small_optimizer(lm_on(engine_without_credit(paid))), TwoStep())


def test_a_single_lm_error_surfaces() -> None:
    """A single LM error in the search is the error of the compile."""

    class Hiccup(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            response = super().complete(request)
            if self.calls == 25:
                message = "dead key"
                raise dspy.LMAuthError(message)
            return response

    with pytest.raises(InfrastructureError, match="dead key"):
        compiled(small_optimizer(lm_on(Hiccup())))


def test_a_broken_metric_surfaces() -> None:
    """A metric without a score stops the compile."""
    with pytest.raises(MetricError, match="None"):
        compiled(small_optimizer(scripted_lm(), metric=lambda *_: None))


def test_an_error_is_raised_once_and_quietly(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """If many calls fail together, one error is raised and nothing is printed or logged."""
    gc.freeze()  # Excludes the objects of other tests.
    for _ in range(5):
        with pytest.raises(InfrastructureError):
            compiled(small_optimizer(lm_on(engine_without_credit(0)), num_threads=16))
    gc.collect()  # asyncio logs an exception that is collected without being retrieved.
    assert capfd.readouterr() == ("", "")
    assert not [record.getMessage() for record in caplog.records]
