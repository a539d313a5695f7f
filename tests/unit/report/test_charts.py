from __future__ import annotations

import re
from dataclasses import replace

import pytest
import summaries

from pytest_mipro.records import Candidate, SearchLog, Trial
from pytest_mipro.report import charts

pytestmark = pytest.mark.uses("altair", "vl-convert-python")


def test_scores_are_counted_one_by_one_or_in_bins() -> None:
    """Few different scores have their own counts, many have ten ranges, and none is lost."""
    few = charts.score_counts({"baseline": [0.0, 1.0, 0.0], "compiled": [1.0, 1.0, 0.5]})
    assert few == charts.ScoreCounts(
        ("0", "0.5", "1"), {"baseline": (2, 0, 1), "compiled": (0, 1, 2)}
    )
    many = charts.score_counts({"baseline": [number / 20 for number in range(21)]})
    assert many.bins[0] == "0 to 0.1"
    assert sum(many.counts["baseline"]) == 21
    wide = charts.score_counts({"baseline": [-5.0, *map(float, range(10))]})
    assert sum(wide.counts["baseline"]) == 11
    near = charts.score_counts({"baseline": [0.33333, 0.33334]})
    assert near.bins == ("0.33333", "0.33334")


def test_the_best_so_far_was_measured_in_full() -> None:
    """A candidate that was dropped is never the best, whatever its score."""
    trials = (
        Trial(0, Candidate((1,), (0,)), 5, 1.0, dropped=True),
        Trial(1, Candidate((2,), (0,)), 80, 0.4, dropped=False),
        Trial(2, Candidate((3,), (0,)), 80, 0.6, dropped=False),
    )
    log = SearchLog(80, trials, Candidate((3,), (0,)), 0.5, 0.6)
    assert [(point.kind, point.best) for point in charts.trial_points(log)] == [
        ("dropped", 0.5),
        ("kept", 0.5),
        ("winner", 0.6),
    ]


def test_axes_have_whole_numbers() -> None:
    """An axis of examples or trials has no fractions."""
    assert charts._ticks(0, 2) == [0, 1, 2]
    assert charts._ticks(0, 13) == [0, 5, 10]
    assert charts._ticks(7, 7) == [7]


def test_charts_have_the_colours_of_the_page() -> None:
    """A chart has no colours but those of the style sheet, so that a dark page has dark charts."""
    points = charts.trial_points(summaries.SEARCH)
    drawings = [
        charts.score_chart(charts.score_counts({"baseline": [0.0, 1.0], "accepted": [1.0, 1.0]})),
        charts.search_chart(points, 0.45, 80),
    ]
    for svg in drawings:
        colours = re.findall(r'(?:fill|stroke)="([^"]*)"', svg)
        assert {name for name in colours if not name.startswith("var(--")} <= {
            "none",
            "transparent",
        }
        assert "id=" not in svg


def test_the_winner_is_always_shown() -> None:
    """The trials on fewest rows are left out first, but for the winner's."""
    points = charts.trial_points(summaries.SEARCH)
    assert [point.trial.number for point in charts.most_measured(points, 2)] == [0, 2]
    winner = replace(points[1], kind="winner")
    assert charts.most_measured([points[0], winner], 1) == [winner]
