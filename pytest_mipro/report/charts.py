"""Draw the charts of the HTML report: static SVG in the colours of the page's style sheet."""

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
"""Trials in a chart; those that were measured on fewest rows are left out first."""

_FEW = 6
"""Different scores up to which each has its own bars; more are counted in bins."""
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
class ScoreCounts:
    """How many examples have which score.

    Attributes:
        bins: The scores, or ranges of scores, in words.
        counts: For each program its examples by bin.
    """

    bins: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class TrialPoint:
    """A trial in the chart of a search.

    Attributes:
        trial: The trial.
        kind: Whether its candidate is the winner, was kept, or was dropped.
        best: The best mean score on all rows up to this trial, if there is one.
    """

    trial: Trial
    kind: str
    best: float | None


def score_counts(scores: Mapping[str, Sequence[float]]) -> ScoreCounts:
    """Count each program's examples by score, or by ranges of scores where they are many."""
    different = sorted({score for column in scores.values() for score in column})
    if len(different) <= _FEW:
        counts = {name: tuple(map([*column].count, different)) for name, column in scores.items()}
        return ScoreCounts(_distinct(different), counts)
    first, last = different[0], different[-1]
    low, high = (0.0, 1.0) if first >= 0 and last <= 1 else (first, last)
    edges = [low + (high - low) * step / _BINS for step in range(_BINS + 1)]
    binned = {
        name: [min(int((score - low) / (high - low) * _BINS), _BINS - 1) for score in column]
        for name, column in scores.items()
    }
    return ScoreCounts(
        tuple(f"{start} to {stop}" for start, stop in itertools.pairwise(_distinct(edges))),
        {name: tuple(map(column.count, range(_BINS))) for name, column in binned.items()},
    )


def _distinct(numbers: Sequence[float]) -> tuple[str, ...]:
    """Return the numbers with as few digits as make them different."""
    digits = (tuple(f"{number:.{count}g}" for number in numbers) for count in (3, 6, 17))
    return next(texts for texts in digits if len(set(texts)) == len(numbers))


def trial_points(log: SearchLog) -> list[TrialPoint]:
    """Return the trials of a search with the best score so far; one of them is the winner."""
    winner = max(
        (trial for trial in log.trials if trial.candidate == log.winner and not trial.dropped),
        key=lambda trial: trial.rows,
        default=None,
    )
    best = log.baseline
    points = []
    for trial in log.trials:
        if trial.rows == log.rows:
            best = trial.score if best is None else max(best, trial.score)
        kind = "winner" if trial is winner else "dropped" if trial.dropped else "kept"
        points.append(TrialPoint(trial, kind, best))
    return points


def most_measured(points: Sequence[TrialPoint], most: int) -> list[TrialPoint]:
    """Return the winner and the trials on most rows, in the order of their numbers."""
    ordered = sorted(points, key=lambda point: (point.kind != "winner", -point.trial.rows))
    return sorted(ordered[:most], key=lambda point: point.trial.number)


def score_chart(scores: ScoreCounts) -> str:
    """Return the counts as SVG: bars of the programs beside each other."""
    import altair as alt

    names = list(scores.counts)
    most = max((count for counts in scores.counts.values() for count in counts), default=0)
    base = alt.Chart(alt.InlineData(values=_heights(scores))).encode(
        x=alt.X(
            "score:N",
            scale=alt.Scale(domain=scores.bins),
            title="score",
            axis=alt.Axis(labelAngle=0 if len(scores.bins) <= _FEW else -40, grid=False),
        ),
        xOffset=alt.XOffset("order:O", scale=alt.Scale(domain=list(range(len(names))))),
        y=alt.Y("n:Q", title="examples", axis=alt.Axis(values=_ticks(0, most), format="d")),
    )
    fills = alt.Scale(domain=names, range=[f"var(--{name}-fill)" for name in names])
    strokes = alt.Scale(domain=names, range=[f"var(--{name})" for name in names])
    bars = base.mark_bar(strokeWidth=1.5).encode(
        fill=alt.Fill("program:N", scale=fills, legend=None),
        stroke=alt.Stroke("program:N", scale=strokes, legend=None),
    )
    if len(scores.bins) * len(names) > _BARS_WITH_COUNTS:
        return _svg(bars)
    labels = base.mark_text(dy=-7, fontSize=12, color="var(--text)").encode(text="n:Q")
    return _svg(bars + labels)


def _heights(scores: ScoreCounts) -> list[dict[str, Any]]:
    return [
        {"score": score, "program": name, "order": order, "n": count}
        for order, (name, counts) in enumerate(scores.counts.items())
        for score, count in zip(scores.bins, counts, strict=True)
        if count
    ]


def search_chart(points: Sequence[TrialPoint], baseline: float | None, rows: int) -> str:
    """Return the trials as SVG: mean scores by number, the best so far and the baseline."""
    import altair as alt

    trials = alt.Chart(alt.InlineData(values=[_datum(point) for point in points]))
    ticks = _ticks(points[0].trial.number, points[-1].trial.number)
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


def _datum(point: TrialPoint) -> dict[str, Any]:
    trial = point.trial
    return {
        "trial": trial.number,
        "score": trial.score,
        "rows": trial.rows,
        "kind": point.kind,
        "best": point.best,
    }


def _kinds(*values: str) -> alt.Scale:
    import altair as alt

    return alt.Scale(domain=["kept", "dropped", "winner"], range=values)


def _svg(chart: alt.TopLevelMixin) -> str:
    import vl_convert

    spec = chart.to_dict(validate=False)
    spec |= {"width": WIDTH, "height": HEIGHT, "background": "transparent"}
    spec["config"] = {"view": {"stroke": None}, "axis": _AXIS, "aria": False}
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    # The style sheet sets its size; nothing in it is interactive or has a name.
    return re.sub(r' width="\d+" height="\d+"', ' aria-hidden="true"', svg, count=1)
