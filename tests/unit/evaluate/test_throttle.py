from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import InfrastructureError
from pytest_mipro.evaluate import throttle as throttle_module
from pytest_mipro.evaluate.throttle import Throttle, current_throttle, throttled

if TYPE_CHECKING:
    from retry_clock import Clock

pytestmark = pytest.mark.uses("tenacity")


def test_the_longer_of_two_pauses_counts(clock: Clock) -> None:
    """A pause that ends earlier does not shorten another."""
    throttle = Throttle()
    throttle.pause(0.2)
    throttle.pause(0.01)

    assert throttle.wait_for_pause()
    assert clock.now >= 0.2


def test_work_does_not_begin_after_a_stop() -> None:
    """The first error that stopped the run is the reason."""
    throttle = Throttle()
    throttle.stop_because(InfrastructureError("no credit"))
    throttle.stop_because(InfrastructureError("reset"))

    with pytest.raises(InfrastructureError, match="no credit"):
        throttled(throttle, str)


def test_work_has_its_throttle() -> None:
    """Outside of the work there is a new throttle each time."""
    throttle = Throttle()

    assert throttled(throttle, current_throttle) is throttle
    assert current_throttle() is not throttle


@pytest.mark.usefixtures("clock")
def test_the_provider_error_is_hidden_while_calls_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response of another call hides the error of a retried one for some seconds."""
    throttle, work = Throttle(), object()
    throttle.last_response = -60.0
    throttle.add_error(work, "slow down")
    errors = [throttle.provider_error]
    throttle.record_response()
    errors.append(throttle.provider_error)
    monkeypatch.setattr(throttle_module, "_SILENCE", 0)
    errors.append(throttle.provider_error)
    throttle.remove_error(work)
    errors.append(throttle.provider_error)

    assert errors == ["slow down", "", "slow down", ""]
