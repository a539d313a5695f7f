"""The keys under which the store has a row and its prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest, plain
from pytest_mipro.evaluate.prediction_form import FORMS
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import dspy

    from pytest_mipro.canonical import JSON
    from pytest_mipro.evaluate.evaluator import Evaluator


@dataclass(frozen=True)
class RowKeys:
    """The keys of one row.

    Attributes:
        key: The key of the row.
        prediction_keys: The key of its prediction, by the form of the prediction; empty if the
            evaluator does not share predictions.
    """

    key: str
    prediction_keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExampleContent:
    """The parts of an example that are in the keys of its rows.

    Attributes:
        digest: The digest of the whole example.
        inputs: Its inputs as JSON data.
    """

    digest: str
    inputs: JSON

    @classmethod
    def of(cls, example: dspy.Example) -> ExampleContent:
        """Return the content of ``example``, which all programs have in common."""
        return cls(example_digest(example), plain(example.inputs()))


def keys_of_row(evaluator: Evaluator, prompts: str, content: ExampleContent) -> RowKeys:
    """Return the keys of the row on an example of the program with these prompts."""
    key = digest([evaluator.key, prompts, content.digest])
    if evaluator.prediction_key is None:
        return RowKeys(key)
    # Without the labels: the program does not see them, so they may change.
    parts = [evaluator.prediction_key, prompts, content.inputs]
    return RowKeys(key, {form: digest([*parts, form]) for form in FORMS})


def keys_of_rows(
    evaluator: Evaluator, prompts: str, examples: Sequence[dspy.Example]
) -> Iterator[RowKeys]:
    """Yield the keys of the rows on ``examples`` of the program with these prompts."""
    for example in examples:
        yield keys_of_row(evaluator, prompts, ExampleContent.of(example))


def score_key(metric_key: str, example: dspy.Example) -> str:
    """Return the key of a score that a row has by a further metric.

    It has the whole example, because a row is kept for another label.
    """
    return digest([metric_key, example_digest(example)])
