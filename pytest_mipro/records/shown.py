"""Rows as a run holds them: their long texts are cut, since only reports still show them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_mipro.canonical import cut_texts
from pytest_mipro.records.work import Row
from pytest_mipro.redaction import SECRETS

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON

MOST_SHOWN = 100_000
"""Characters of a text of a prediction, or of feedback, that a run holds and reports show."""


def shown_row(row: Row) -> Row:
    """Return ``row`` with at most ``MOST_SHOWN`` characters of each text; the store has the rest.

    Credentials are taken out before, as a part of one would not be recognized.
    """
    texts = [row.prediction, row.feedback]
    if cut_texts(texts, MOST_SHOWN) == texts:
        return row
    return replace(row, prediction=_shown(row.prediction), feedback=_shown(row.feedback))


def _shown(value: JSON) -> Any:  # ruff: ignore[any-type] - as in the row
    return cut_texts(SECRETS.redact(value), MOST_SHOWN)
