"""Advice, in words, where compiling is unlikely to pay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW, ENOUGH = 20, 50
"""Labelled examples below which there is little to learn from, and MIPROv2 hardly pays."""
VALIDATION = 50
"""Validation examples below which scores of candidates hardly differ by more than chance."""
HIGH = 0.9
"""Baseline score above which there is little to gain."""
_CONSTANT = 10
"""Equal scores from which on the metric is suspected to be constant."""


def advice_on_sizes(train: int, val: int) -> str:
    """Return why so many examples are too few for a compile; empty if they are enough."""
    labelled = train + val
    sentences = []
    if labelled < FEW:
        sentences.append(
            f"{labelled} labelled examples (train and val) are too few to learn from: collect at "
            f"least {FEW}, better {ENOUGH}"
        )
    elif labelled < ENOUGH:
        sentences.append(
            f"{labelled} labelled examples (train and val) are few for MIPROv2: collect at least "
            f"{ENOUGH}"
        )
    if val < VALIDATION:
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
    mean = math.fsum(baseline) / len(baseline)
    is_constant = bool(advice_on_metric(baseline, compiled))
    if mean > HIGH and max(*baseline, *compiled) <= 1 and not is_constant:
        return (
            f"the baseline scores {mean:.3f} on the held-out examples, which leaves little to "
            "gain: harder examples or a stricter metric would show more"
        )
    return ""
