from __future__ import annotations

from sessions import HELD_OUT, NAMES, scorecard

from pytest_mipro.records import ExampleResult
from pytest_mipro.session.held_out_examples import held_out_examples


def test_an_example_has_both_results_and_its_accepted_score() -> None:
    """An example that was not accepted has no such score."""
    worse, better = ExampleResult(0.0), ExampleResult(1.0)
    accepted = scorecard([0.5])
    earlier, new = held_out_examples(HELD_OUT[:2], [worse, better], [better, worse], accepted)
    assert (earlier.identity, earlier.accepted, new.accepted) == (NAMES[0], 0.5, None)
    assert (earlier.baseline, earlier.compiled, new.compiled) == (worse, better, worse)
    assert earlier.expected == {"answer": HELD_OUT[0].answer}
