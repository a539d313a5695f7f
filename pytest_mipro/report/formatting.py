"""Figures and values as all renderers word them; what they return is not yet safe to show."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pytest_mipro.canonical import readable_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.records import ExampleResult, PairedComparison, Usage

Program = Literal["baseline", "compiled", "accepted"]


PROGRAMS: dict[Program, str] = {
    "baseline": "baseline",
    "compiled": "compiled",
    "accepted": "reference",
}
"""What each program is called, by its name in the records."""
ELLIPSIS = "…"
NOT_KEPT = "(not kept)"
_MINUTE = 60


def value(something: JSON) -> str:
    """Return a field's value: a text as it is, anything else as JSON."""
    return something if isinstance(something, str) else readable_json(something)


def fields(named: Mapping[str, Any]) -> str:
    """Return fields in a line, without DSPy's bookkeeping."""
    return " | ".join(
        f"{name}: {value(each)}" for name, each in named.items() if name != "augmented"
    )


def prediction(something: JSON) -> str:
    """Return what a program answered: the fields, a value, or that it failed."""
    if something is None:
        return "(failed)"
    return fields(something) if isinstance(something, dict) else value(something)


def answered(answer: ExampleResult) -> str:
    """Return what a program said; each answer once, if it was asked several times."""
    failures = [f"(failed) {each.type}: {each.message}" for each in answer.failures]
    said = [prediction(each) for each in answer.predictions if each is not None]
    often = Counter([*said, *failures])
    if not often:
        return NOT_KEPT
    if len(often) == 1:
        return next(iter(often))
    return " / ".join(f"{count} x {text}" for text, count in often.most_common())


def shortened(text: str, most: int) -> str:
    """Return ``text``, or as much of its beginning as fits into ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS


def counted(count: int, what: str) -> str:
    """Return how many there are of something, which is called ``what`` if it is one."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def calls(usage: Usage) -> str:
    """Return how many calls were made."""
    return counted(usage.calls, "LM call")


def cost(usage: Usage) -> str:
    """Return what was paid, where nothing else says that this is about cost."""
    return "cost unknown" if usage.cost is None else money(usage)


def money(usage: Usage) -> str:
    """Return what was paid; what is unknown is said to be."""
    if usage.cost is None:
        return "unknown"
    return f"${usage.cost:.4f}" if usage.cost else "$0"


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def interval(comparison: PairedComparison) -> str:
    """Return the difference with its interval; of costs, as what it makes of the other's."""
    if comparison.unit != "score":
        each = (comparison.difference, comparison.low, comparison.high)
        ratio, low, high = (max(comparison.times(one), 0.0) for one in each)
        return f"x{ratio:.2f} [{low:.2f}, {high:.2f}]"
    return f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"
