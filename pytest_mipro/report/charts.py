"""Pictures for the HTML report: static SVG whose colours the page's style sheet decides."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import altair as alt

    from pytest_mipro.records import SearchLog, Trial

WIDTH = 320
HEIGHT = 165
MOST_TRIALS = 400
"""More trials than a picture can show; those measured on fewest rows are left out first."""

_FEW = 6
"""So many different scores are shown one by one, more in bins."""
_BINS = 10
_BARS_WITH_COUNTS = 12
_TICKS = 6
_CROSS = "M-0.5,-0.5L0.5,0.5M0.5,-0.5L-0.5,0.5"
_OUTLINES = ("var(--compiled)", "var(--muted)", "var(--winner)")
_FILLS = ("var(--compiled-fill)", "transparent", "var(--winner)")
_AXIS = {
    "domain": False,
    "gridColor": "var(--line)",
    "tickColor": "var(--line)",
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}


@dataclass(frozen=True)
class Bars:
    """
    How many examples have which score.

    Attributes:
        bins: The scores, or ranges of scores, in words.
        counts: For each program its examples by bin.

    """

    bins: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Point:
    """
    A trial as it is shown.

    Attributes:
        trial: What was measured.
        kind: Whether its candidate is the winner, was kept, or was dropped.
        best: The best mean score on all rows that was known after it, if any was.

    """

    trial: Trial
    kind: str
    best: float | None


def bars(scores: Mapping[str, Sequence[float]]) -> Bars:
    """Count each program's examples by their score; there are few different ones, or ten bins."""
    every = sorted({score for each in scores.values() for score in each})
    if len(every) <= _FEW:
        counts = {name: tuple(map([*each].count, every)) for name, each in scores.items()}
        return Bars(_distinct(every), counts)
    low, high = (0.0, 1.0) if every[0] >= 0 and every[-1] <= 1 else (every[0], every[-1])
    edges = [low + (high - low) * step / _BINS for step in range(_BINS + 1)]
    ranges = itertools.pairwise(_distinct(edges))
    binned = {
        name: [min(int((score - low) / (high - low) * _BINS), _BINS - 1) for score in each]
        for name, each in scores.items()
    }
    return Bars(
        tuple(f"{start} to {stop}" for start, stop in ranges),
        {name: tuple(map(each.count, range(_BINS))) for name, each in binned.items()},
    )


def _distinct(numbers: Sequence[float]) -> tuple[str, ...]:
    """Return the numbers in as few digits as tell them apart."""
    digits = (tuple(f"{number:.{count}g}" for number in numbers) for count in (3, 6, 17))
    return next(each for each in digits if len(set(each)) == len(numbers))


def points(log: SearchLog) -> list[Point]:
    """Return the trials as they are shown: the winner once, and the best score so far."""
    found = max(
        (each for each in log.trials if each.candidate == log.winner and not each.dropped),
        key=lambda each: each.rows,
        default=None,
    )
    best = log.baseline
    shown = []
    for trial in log.trials:
        if trial.rows == log.rows:
            best = trial.score if best is None else max(best, trial.score)
        kind = "winner" if trial is found else "dropped" if trial.dropped else "kept"
        shown.append(Point(trial, kind, best))
    return shown


def distribution(shown: Bars) -> str:
    """Return the bars as SVG: baseline, compiled and accepted beside each other."""
    # ruff: ignore[import-outside-top-level]: an optional dependency
    import altair as alt

    names = list(shown.counts)
    most = max((count for counts in shown.counts.values() for count in counts), default=0)
    base = alt.Chart(alt.InlineData(values=_heights(shown))).encode(
        x=alt.X(
            "score:N",
            scale=alt.Scale(domain=shown.bins),
            title="score",
            axis=alt.Axis(labelAngle=0 if len(shown.bins) <= _FEW else -40, grid=False),
        ),
        xOffset=alt.XOffset("order:O", scale=alt.Scale(domain=list(range(len(names))))),
        y=alt.Y("n:Q", title="examples", axis=alt.Axis(values=_ticks(0, most), format="d")),
    )
    fills = alt.Scale(domain=names, range=[f"var(--{name}-fill)" for name in names])
    strokes = alt.Scale(domain=names, range=[f"var(--{name})" for name in names])
    drawn = base.mark_bar(strokeWidth=1.5).encode(
        fill=alt.Fill("who:N", scale=fills, legend=None),
        stroke=alt.Stroke("who:N", scale=strokes, legend=None),
    )
    if len(shown.bins) * len(names) > _BARS_WITH_COUNTS:
        return _svg(drawn)
    text = base.mark_text(dy=-7, fontSize=12, color="var(--text)").encode(text="n:Q")
    return _svg(drawn + text)


def _heights(shown: Bars) -> list[dict[str, Any]]:
    return [
        {"score": score, "who": name, "order": order, "n": count}
        for order, (name, counts) in enumerate(shown.counts.items())
        for score, count in zip(shown.bins, counts, strict=True)
        if count
    ]


def search(shown: Sequence[Point], baseline: float | None, rows: int) -> str:
    """Return the trials as SVG: number by mean score, with the best so far and the baseline."""
    # ruff: ignore[import-outside-top-level]: an optional dependency
    import altair as alt

    trials = alt.Chart(alt.InlineData(values=[_datum(point) for point in shown]))
    ticks = _ticks(shown[0].trial.number, shown[-1].trial.number)
    x = alt.X("trial:Q", title="trial", axis=alt.Axis(values=ticks, format="d", grid=False))
    scale = alt.Scale(zero=False, nice=True, padding=6)
    level = (
        alt.Chart(alt.InlineData(values=[] if baseline is None else [{"score": baseline}]))
        .mark_rule(color="var(--baseline)", strokeDash=[4, 4], strokeWidth=1.5)
        .encode(y=alt.Y("score:Q", scale=scale))
    )
    best = trials.mark_line(
        interpolate="step-after", color="var(--compiled)", strokeWidth=1.5, opacity=0.6
    ).encode(x=x, y=alt.Y("best:Q", scale=scale))
    marks = trials.mark_point(strokeWidth=1.5, opacity=1).encode(
        x=x,
        y=alt.Y("score:Q", title="mean score", scale=scale, axis=alt.Axis(tickCount=4)),
        shape=alt.Shape("kind:N", scale=_kinds("circle", _CROSS, "diamond"), legend=None),
        stroke=alt.Stroke("kind:N", scale=_kinds(*_OUTLINES), legend=None),
        fill=alt.Fill("kind:N", scale=_kinds(*_FILLS), legend=None),
        size=alt.Size("rows:Q", scale=alt.Scale(domain=[0, rows], range=[20, 130]), legend=None),
    )
    return _svg(alt.layer(level, best, marks))


def _ticks(first: int, last: int) -> list[int]:
    """Return a few whole numbers between two; Vega's own are not always whole."""
    steps = (unit * 10**power for power in range(9) for unit in (1, 2, 5))
    step = next(step for step in steps if (last - first) / step <= _TICKS)
    return [number for number in range(first, last + 1) if number % step == 0]


def _datum(point: Point) -> dict[str, Any]:
    trial = point.trial
    return {
        "trial": trial.number,
        "score": trial.score,
        "rows": trial.rows,
        "kind": point.kind,
        "best": point.best,
    }


def _kinds(*values: str) -> alt.Scale:
    # ruff: ignore[import-outside-top-level]: an optional dependency
    import altair as alt

    return alt.Scale(domain=["kept", "dropped", "winner"], range=values)


def _svg(chart: alt.TopLevelMixin) -> str:
    # ruff: ignore[import-outside-top-level]: an optional dependency
    import vl_convert

    spec = chart.to_dict(validate=False)
    spec |= {"width": WIDTH, "height": HEIGHT, "background": "transparent"}
    spec["config"] = {"view": {"stroke": None}, "axis": _AXIS, "aria": False}
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    # The page says how large it is; nothing in it is interactive or named.
    return re.sub(r' width="\d+" height="\d+"', ' aria-hidden="true"', drawn, count=1)
