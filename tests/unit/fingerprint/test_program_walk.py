from __future__ import annotations

from typing import Any

import dspy
import pytest
from fingerprints import Library, length, simple_task

from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import described_once, predictions_key, task_fingerprint

pytestmark = pytest.mark.uses("dspy", "pydantic")


DESCRIBED: list[str] = []


class Page:
    """Counts in how many descriptions it is."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        DESCRIBED.append("page")
        return {"text": "page"}


def test_program_is_described_once_in_a_block() -> None:
    """All keys of a task take one description of its program, and are those of several."""
    program, lm = Library([Page()]), dspy.LM("openai/one")
    task = simple_task(length, program)
    alone = task_fingerprint(task).key, predictions_key(program, lm, None)
    DESCRIBED.clear()
    with described_once():
        first = task_fingerprint(task).key, predictions_key(program, lm, None)
        count = len(DESCRIBED)
        with described_once():
            second = task_fingerprint(task).key, predictions_key(program, lm, None)

    assert alone == first == second
    assert len(DESCRIBED) == count


def test_version_has_a_description_of_its_own() -> None:
    """What a declared version allows in one task is refused in another, in one block."""
    program, lm = Library([object()]), dspy.LM("openai/one")

    with described_once():
        assert predictions_key(program, lm, None, "1")
        with pytest.raises(FingerprintError, match="declare version="):
            predictions_key(program, lm, None)
