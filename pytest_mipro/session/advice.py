"""Advice, in words: which optimizer fits a task, and where compiling is unlikely to pay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import Row

FEW, ENOUGH = 20, 50
"""Labelled examples below which there is little to learn from, and a search hardly pays."""
VALIDATION = 50
"""Validation examples below which scores of candidates hardly differ by more than chance."""
HIGH = 0.9
"""Baseline score above which there is little to gain."""
_CONSTANT = 10
"""Equal scores from which on the metric is suspected to be constant."""


_WITHOUT_SEARCH = ("labeled", "knn", "bootstrap", "copro")
"""The optimizers that a small dataset suffices for."""
_WITH_VALIDATION = ("mipro", "random_search", "gepa", "ensemble")
"""The optimizers that choose between candidates by the validation examples."""


@dataclass(frozen=True)
class Suitable:
    """The optimizers that fit a task.

    Attributes:
        names: The names of the optimizers; none if compiling is unlikely to pay.
        reason: Why these fit, or why none does.
    """

    names: tuple[str, ...]
    reason: str


def suitable_optimizers(labelled: int, rows: Sequence[Row]) -> Suitable:
    """Return the optimizers that fit a task.

    Args:
        labelled: The number of examples in train and val.
        rows: Stored rows of the baseline, which show its score and whether the metric gives
            feedback.
    """
    scores = [row.score for row in rows if row.failure is None]
    if len(scores) >= _CONSTANT and _leaves_little(scores):
        reason = f"the baseline scores {_mean(scores):.3f}, which leaves little to gain"
        return Suitable((), reason)
    reason = f"{labelled} labelled examples"
    if labelled < FEW:
        return Suitable(("labeled",), reason)
    names = ("bootstrap", "copro") if labelled < ENOUGH else ("mipro",)
    if any(row.feedback for row in rows):
        return Suitable((*names, "gepa"), f"{reason}, a metric with feedback")
    return Suitable(names, reason)


def advice_on_sizes(optimizer: str, train: int, val: int) -> str:
    """Return why so many examples are too few for a compile; empty if they are enough.

    Args:
        optimizer: The name of the declared optimizer.
        train: The number of training examples.
        val: The number of validation examples.
    """
    labelled = train + val
    sentences = []
    if labelled < FEW and optimizer != "labeled":
        sentences.append(
            f"{labelled} labelled examples (train and val) are too few to learn from: collect at "
            f'least {FEW}, better {ENOUGH}; optimizer="labeled" takes them as demos without a call'
        )
    elif labelled < ENOUGH and optimizer not in _WITHOUT_SEARCH:
        sentences.append(
            f'{labelled} labelled examples (train and val) are few for optimizer="{optimizer}": '
            f'collect at least {ENOUGH}, or try "bootstrap" or "copro"'
        )
    if val < VALIDATION and optimizer in _WITH_VALIDATION:
        sentences.append(
            f"{val} validation examples hardly tell candidates apart: have at least {VALIDATION}, "
            "by more examples or another split="
        )
    return "; ".join(sentences)


def advice_on_metric(baseline: Sequence[float], compiled: Sequence[float]) -> str:
    """Return that the metric tells no two programs apart; empty if it does.

    Args:
        baseline: Held-out scores of the baseline.
        compiled: Held-out scores of the compiled program.
    """
    scores = (*baseline, *compiled)
    if len(set(scores)) > 1 or len(scores) < _CONSTANT:
        return ""
    return (
        f"the metric gave {scores[0]:g} to all {len(scores)} held-out answers, so it tells no "
        "two programs apart: check the metric"
    )


def advice_on_scores(baseline: Sequence[float], compiled: Sequence[float]) -> str:
    """Return why there was little to gain by compiling; empty if there was enough.

    A metric that tells nothing apart has advice of its own.

    Args:
        baseline: Held-out scores of the baseline.
        compiled: Held-out scores of the compiled program.
    """
    is_constant = bool(advice_on_metric(baseline, compiled))
    if _leaves_little(baseline) and max(compiled) <= 1 and not is_constant:
        return (
            f"the baseline scores {_mean(baseline):.3f} on the held-out examples, which leaves "
            "little to gain: harder examples or a stricter metric would show more"
        )
    return ""


def advice_on_package(package: str) -> str:
    """Return that nothing says when ``package`` changes, and the ways out."""
    return (
        f"the code uses the package {package!r}, which is among the installed packages but in no "
        "distribution, so neither its code nor a version counts: an edit to it recompiles "
        "nothing. Install it with pip, editable if it is yours, or declare version='...' on the "
        "test and change it whenever the package changes"
    )


def _leaves_little(scores: Sequence[float]) -> bool:
    """Whether scores between 0 and 1 are high; those of another scale say nothing."""
    return _mean(scores) > HIGH and max(scores) <= 1


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
