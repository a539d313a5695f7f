from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_mipro.records import Row, shown_row
from pytest_mipro.records.shown import MOST_SHOWN

ROW = Row("k", 1.0, {"answer": "short", "facts": ["x" * MOST_SHOWN, 1, None]}, feedback="good")


@pytest.mark.parametrize("prediction", [ROW.prediction, None, "short", 1, []])
def test_row_with_short_texts_stays_as_it_is(prediction: Any) -> None:
    """Most rows are not copied."""
    row = replace(ROW, prediction=prediction)

    assert shown_row(row) is row


def test_long_texts_are_cut_with_a_note() -> None:
    """Those of nested fields and of feedback, too; a number stays one."""
    long = "é" * (MOST_SHOWN + 7)
    row = replace(ROW, prediction={"answer": "short", "facts": [long, 1]}, feedback=long)

    shown = shown_row(row)

    cut = f"{'é' * MOST_SHOWN}... (7 more characters)"
    assert shown == replace(row, prediction={"answer": "short", "facts": [cut, 1]}, feedback=cut)


def test_credential_at_the_cut_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of one would not be recognized later."""
    secret = "sk-" + "secret" * 8
    monkeypatch.setenv("SHOWN_API_KEY", secret)
    text = "x" * (MOST_SHOWN - 10) + secret + "y" * 100

    shown = shown_row(replace(ROW, prediction={"answer": text}))

    assert shown.prediction["answer"].startswith("x" * (MOST_SHOWN - 10) + "***y")
