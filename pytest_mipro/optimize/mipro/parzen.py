"""Optuna's tree-structured Parzen estimator (Bergstra et al., 2011).

The study is in memory. Its proposals depend on the order of its trials, which
the caller decides.
"""

from __future__ import annotations

import logging
import random
import warnings
from typing import TYPE_CHECKING

import optuna

if TYPE_CHECKING:
    from collections.abc import Sequence


class Parzen:
    """Proposes choices similar to those with high scores, with a new seed per proposal."""

    def __init__(self, sizes: Sequence[int], seed: int, prior: int) -> None:
        """Create a study without trials.

        Args:
            sizes: How many options each choice has.
            seed: Decides every draw.
            prior: How many rows with the average score are added to each mean.
        """
        self._seed = seed
        self._prior = prior
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            str(index): optuna.distributions.CategoricalDistribution(range(size))
            for index, size in enumerate(sizes)
        }
        self._study = _study()
        self._total = 0.0
        self._rows = 0

    def learn(self, choices: Sequence[int], score: float, rows: int) -> None:
        """Add a trial: a mean score over some rows, shrunk towards the mean of all rows."""
        self._total += score * rows
        self._rows += rows
        average = self._total / self._rows
        trial = optuna.trial.create_trial(
            params=dict(zip(self._distributions, choices, strict=True)),
            distributions=self._distributions,
            value=(score * rows + average * self._prior) / (rows + self._prior),
        )
        self._study.add_trial(trial)

    def propose(self, number: int) -> list[int]:
        """Return the choices to try in minibatch ``number``."""
        seed = random.Random(f"{self._seed}/{number}").randrange(2**32)
        with warnings.catch_warnings():
            # The options are pinned because their defaults change between versions.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=False
            )
        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return [int(trial.params[name]) for name in self._distributions]


def _study() -> optuna.Study:
    # Optuna logs every new study to stderr, and its verbosity is a setting of the user.
    storage_logger = logging.getLogger(optuna.storages.InMemoryStorage.__module__)
    storage_logger.addFilter(_deny)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        storage_logger.removeFilter(_deny)


def _deny(_: logging.LogRecord) -> bool:
    return False
