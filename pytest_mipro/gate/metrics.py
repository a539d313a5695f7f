"""Judge several metrics together, and name the question that a verdict answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_mipro.gate.verdict import VERDICT_KINDS
from pytest_mipro.gate.wording import difference_text
from pytest_mipro.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORST_FIRST = ("FAIL", "INCONCLUSIVE", "PASS")


class Judge(Protocol):
    """Judges one metric at a level of significance."""

    def __call__(self, *, alpha: float) -> Verdict:
        """Return the verdict at ``alpha``."""


def question(verdict: Verdict) -> str:
    """Return the question that a verdict answers, with the name of its metric if it has one."""
    label = VERDICT_KINDS[verdict.kind].label
    return f"{label} ({verdict.metric})" if verdict.metric else label


def by_all_metrics(judges: Mapping[str, Judge], alpha: float) -> Verdict:
    """Judge by all metrics together: the intersection-union test.

    PASS if each metric passes at ``alpha``: a wrong PASS needs one for a metric
    that got worse, which is as rare as for one metric alone. FAIL if one fails
    at ``alpha`` divided by their number, as each of them could by accident.

    Args:
        judges: Judges of the same kind, by the name of their metric.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL.

    Returns:
        A verdict with the comparison of the metric that did worst.
    """
    __tracebackhide__ = True
    verdicts = {name: _judged(judge, alpha, len(judges)) for name, judge in judges.items()}
    worst_name = min(verdicts, key=lambda name: _badness(verdicts[name]))
    worst = verdicts[worst_name]
    if len(verdicts) == 1:
        return worst
    words = ", ".join(f"{name} {_shown(verdict)}" for name, verdict in verdicts.items())
    sentence = (
        f"all {len(verdicts)} metrics: {words}; each passes at alpha = {alpha:g} and fails at "
        f"alpha = {alpha / len(verdicts):g}; {worst_name}: {worst.sentence}"
    )
    return Verdict(worst.kind, worst.word, sentence, worst.comparison, worst.tolerated)


def _judged(judge: Judge, alpha: float, count: int) -> Verdict:
    __tracebackhide__ = True
    verdict = judge(alpha=alpha)
    return verdict if verdict.word == "PASS" else judge(alpha=alpha / count)


def _badness(verdict: Verdict) -> tuple[int, bool, float]:
    """Return a key that sorts the worst verdict first, and those that hold last among equals."""
    p_opposite = 1.0 if verdict.comparison is None else verdict.comparison.p_opposite
    return _WORST_FIRST.index(verdict.word), bool(verdict), p_opposite


def _shown(verdict: Verdict) -> str:
    comparison = verdict.comparison
    return verdict.word if comparison is None else f"{verdict.word} {difference_text(comparison)}"
