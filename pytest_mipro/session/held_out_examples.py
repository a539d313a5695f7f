"""Put the results of both programs on each held-out example side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_mipro.canonical import plain
from pytest_mipro.records import HeldOutExample
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.records import ExampleResult, Scorecard


def held_out_examples(
    test: Sequence[dspy.Example],
    baseline: Sequence[ExampleResult],
    compiled: Sequence[ExampleResult],
    accepted: Scorecard | None,
) -> tuple[HeldOutExample, ...]:
    """Return the examples of the held-out split, with both results and the accepted score.

    Args:
        test: The held-out split.
        baseline: The results of the baseline, in its order.
        compiled: The results of the compiled program.
        accepted: The accepted scores, which may be of other examples.
    """
    names, scores = ((), ()) if accepted is None else (accepted.examples, accepted.scores)
    accepted_scores = dict(zip(names, scores, strict=True))
    return tuple(
        HeldOutExample(
            identity=(name := example_digest(example)),
            inputs=_fields(example.inputs()),
            expected=_fields(example.labels()),
            baseline=baseline_result,
            compiled=compiled_result,
            accepted=accepted_scores.get(name),
        )
        for example, baseline_result, compiled_result in zip(test, baseline, compiled, strict=True)
    )


def _fields(example: dspy.Example) -> dict[str, Any]:
    return {str(name): plain(value, fallback=str) for name, value in example.items()}
