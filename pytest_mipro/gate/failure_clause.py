"""Say in a verdict's sentence how many answers failed, and how."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_mipro.records import Failure, Scorecard

_LABELS = {
    "unreadable": "unreadable",
    "token limit": "cut at the token limit (raise max_tokens)",
    "filter": "withheld by a content filter",
    "refusal": "refused by the model",
    "context window": "of a prompt longer than the context window",
}


def failed_answers(program: str, card: Scorecard) -> str:
    """Return the clause that counts the failed answers of a program; empty if none failed."""
    if not card.failures:
        return ""
    counts = Counter(map(_label, card.failures))
    ways = ", ".join(f"{count} {label}" for label, count in counts.most_common())
    total = len(card.scores) * card.rollouts
    return f"{len(card.failures)} of {total} {program} answers failed and score 0: {ways}"


def _label(failure: Failure) -> str:
    return _LABELS.get(failure.reason, failure.type)
