"""Where compiling is unlikely to pay, in words; what comes of it is the user's to decide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW, ENOUGH = 20, 50
"""Labelled examples with fewer of which nothing is learned, and MIPROv2 hardly pays."""
VALIDATION = 50
"""Validation examples with fewer of which candidates are hard to tell apart."""
HIGH = 0.9
"""Score of a baseline that leaves little to gain."""
_TELLING = 10
"""Answers from which on it says something that all have the same score."""


def of_sizes(train: int, val: int) -> str:
    """Return what speaks against compiling with so many examples; empty if nothing does."""
    labelled = train + val
    said = []
    if labelled < FEW:
        said.append(
            f"{labelled} labelled examples (train and val) are too few to learn from: collect at "
            f"least {FEW}, better {ENOUGH}"
        )
    elif labelled < ENOUGH:
        said.append(
            f"{labelled} labelled examples (train and val) are few for MIPROv2: collect at least "
            f"{ENOUGH}"
        )
    if val < VALIDATION:
        said.append(
            f"{val} validation examples hardly tell candidates apart: have at least {VALIDATION}, "
            "by more examples or another split="
        )
    return "; ".join(said)


def of_scores(baseline: Sequence[float], compiled: Sequence[float]) -> str:
    """
    Return why there was little to gain by compiling; empty if there was enough.

    Args:
        baseline: Held-out scores before.
        compiled: Held-out scores after.

    """
    scores = (*baseline, *compiled)
    if len(set(scores)) == 1 and len(scores) >= _TELLING:
        return (
            f"the metric gave {scores[0]:g} to all {len(scores)} held-out answers, so it tells no "
            "two programs apart: check the metric"
        )
    mean = math.fsum(baseline) / len(baseline)
    if mean > HIGH and max(scores) <= 1:
        return (
            f"the baseline scores {mean:.3f} on the held-out examples, which leaves little to "
            "gain: harder examples or a stricter metric would show more"
        )
    return ""
