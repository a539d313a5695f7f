from __future__ import annotations

import optuna
import pytest

from pytest_mipro.optimize.mipro.parzen import Parzen

pytestmark = pytest.mark.uses("optuna")


def estimator() -> Parzen:
    """Return an estimator that was shown that option 1 of the first choice is the best."""
    parzen = Parzen([3, 2], 9, prior=5)
    for number in range(30):
        first, second = number % 3, number % 2
        parzen.learn([first, second], float(first == 1), 20)
    return parzen


def test_proposes_options_with_high_scores() -> None:
    """Most proposals have the option with the highest scores."""
    proposals = [estimator().propose(number) for number in range(20)]
    assert sum(first == 1 for first, _ in proposals) > 10
    assert all(first in range(3) and second in range(2) for first, second in proposals)


def test_a_proposal_depends_on_its_number_alone() -> None:
    """A proposal is the same whether or not there were proposals before it."""
    parzen = estimator()
    proposals = [parzen.propose(number) for number in range(10)]
    assert proposals == [estimator().propose(number) for number in range(10)]


def test_the_seed_decides_proposals() -> None:
    """Without trials, proposals are random draws, which another seed makes different."""
    first, second, third = (
        [Parzen([9, 9], seed, prior=5).propose(number) for number in range(10)]
        for seed in (9, 9, 0)
    )
    assert first == second
    assert first != third


def test_optuna_is_silent_and_its_verbosity_unchanged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is printed or logged, and Optuna's verbosity stays as the user sets it."""
    verbosity = optuna.logging.get_verbosity()
    estimator().propose(0)
    assert optuna.logging.get_verbosity() == verbosity
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
