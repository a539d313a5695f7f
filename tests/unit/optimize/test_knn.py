"""The most similar examples as demos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import numpy as np
import pytest
from sessions import Checkout, adding

from pytest_mipro.errors import DeclarationError
from pytest_mipro.optimize import optimizer_of
from pytest_mipro.optimize.knn import letter_counts
from pytest_mipro.task import OptimizerChoice

if TYPE_CHECKING:
    from pathlib import Path


class AsyncAdder(dspy.Module):
    """Adds two numbers, and has to be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.add = dspy.Predict("question -> answer: int")

    async def aforward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        prediction: dspy.Prediction = await self.add.acall(question=question)
        return prediction


def test_similar_texts_have_a_large_product() -> None:
    """The same text has 1; case does not count, and an empty text or a lone surrogate is none."""
    same, upper, near, far = letter_counts(
        ["What is 12 + 3?", "WHAT IS 12 + 3?", "What is 12 + 4?", "\ud800 Zebra"]
    )
    assert same @ same == np.float32(same @ upper)
    assert same @ near > same @ far
    assert letter_counts([""]).shape == (1, len(same))


def test_each_question_has_the_nearest_demos(tmp_path: Path) -> None:
    """They are in the prompt, and the program has none of its own."""
    checkout = Checkout(tmp_path, model=adding(0, 100))
    task = checkout.task(optimizer=OptimizerChoice("knn", {"k": 2}))
    program = optimizer_of(task.optimizer).shape(task)
    assert program.predictors()[0].demos == []
    outcome = checkout.outcome(task)
    assert outcome.baseline.score < outcome.compiled.score
    assert outcome.compiled.program.predictors()[0].demos == []


def test_a_vectorizer_of_the_user_decides(tmp_path: Path) -> None:
    """It gets the inputs of the examples and of the question."""
    texts: list[str] = []

    def vectors(batch: list[str]) -> np.ndarray:
        texts.extend(batch)
        return np.ones((len(batch), 2), dtype=np.float32)

    checkout = Checkout(tmp_path)
    choice = OptimizerChoice("knn", {"k": 1, "vectorizer": vectors})
    checkout.outcome(checkout.task(optimizer=choice, version="1"))
    assert texts.count("question: What is 0 + 3?") == 1, "the examples are asked about once"
    assert "question: What is 20 + 23?" in texts


def test_a_program_without_forward_is_refused(tmp_path: Path) -> None:
    """Its answers would be those of the baseline."""
    checkout = Checkout(tmp_path)
    task = checkout.task(program=AsyncAdder(), optimizer=OptimizerChoice("knn"))
    with pytest.raises(DeclarationError, match="optimizer knn calls forward, and AsyncAdder has"):
        checkout.outcome(task)
