"""Format figures, values and answers for all renderers; the texts are not yet safe to show."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pytest_mipro.canonical import readable_json
from pytest_mipro.gate import bounds_text, compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.records import ExampleResult, PairedComparison, Report, Scorecard, Usage

ProgramName = Literal["baseline", "compiled", "accepted"]


PROGRAMS: dict[ProgramName, str] = {
    "baseline": "baseline",
    "compiled": "compiled",
    "accepted": "reference",
}
"""What each program is called in a report, by its name in the records."""
ELLIPSIS = "…"
NOT_KEPT = "(not kept)"
_MINUTE = 60


def sample_size(report: Report) -> str:
    """Return on how many held-out examples a task has scores, and of how many if not of all."""
    count, total = report.comparison.n, report.compiled.total
    return f"{count:,}" if total is None else f"{count:,} of {total:,}"


def value_text(value: JSON) -> str:
    """Return the value of a field: a text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else readable_json(value)


def fields_text(fields: Mapping[str, Any]) -> str:
    """Return fields in one line, without DSPy's bookkeeping."""
    return " | ".join(
        f"{name}: {value_text(value)}" for name, value in fields.items() if name != "augmented"
    )


def prediction_text(prediction: JSON) -> str:
    """Return the fields of a prediction, its value, or that the program failed."""
    if prediction is None:
        return "(failed)"
    return fields_text(prediction) if isinstance(prediction, dict) else value_text(prediction)


def result_text(result: ExampleResult) -> str:
    """Return the predictions and failures of a program, each once and with its count."""
    failures = [f"(failed) {failure.type}: {failure.message}" for failure in result.failures]
    predictions = [prediction_text(item) for item in result.predictions if item is not None]
    counts = Counter([*predictions, *failures])
    if not counts:
        return NOT_KEPT
    if len(counts) == 1:
        return next(iter(counts))
    return " / ".join(f"{count} x {text}" for text, count in counts.most_common())


def shortened(text: str, most: int) -> str:
    """Return ``text``, or as much of its beginning as fits into ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, which is given in the singular."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def calls(usage: Usage) -> str:
    """Return the number of LM calls with its noun."""
    return counted(usage.calls, "LM call")


def cost(usage: Usage) -> str:
    """Return the cost, for a place where nothing else names it."""
    return "cost unknown" if usage.cost is None else money(usage)


def money(usage: Usage) -> str:
    """Return the cost in US dollars, or that it is unknown."""
    if usage.cost is None:
        return "unknown"
    return f"${usage.cost:.4f}" if usage.cost else "$0"


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def mean_score(card: Scorecard) -> str:
    """Return the mean score of a program with its confidence interval."""
    alone = compare([0.0] * len(card.scores), card.scores, clusters=card.clusters)
    return f"{card.score:.3f} [{alone.low:.3f}, {alone.high:.3f}]"


def interval(comparison: PairedComparison) -> str:
    """Return the difference with its interval; that of costs as a factor."""
    if comparison.unit != "score":
        return f"x{comparison.times(comparison.difference):.2f} {bounds_text(comparison)}"
    return f"{comparison.difference:+.3f} {bounds_text(comparison)}"
