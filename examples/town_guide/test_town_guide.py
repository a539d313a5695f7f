"""Answer questions about a town: classify, look up a fact, read a number out of it."""

import json
import re
from pathlib import Path
from typing import Literal

import dspy

from pytest_mipro import Outcome, mipro_optimize

FACTS = [
    json.loads(line)
    for line in Path(__file__).with_name("facts.jsonl").read_text(encoding="utf-8").splitlines()
]


class Topic(dspy.Signature):
    """Say what the visitor asks about."""

    question: str = dspy.InputField()
    topic: Literal["start", "end", "fee", "route"] = dspy.OutputField()


class ReadNumber(dspy.Signature):
    """Answer the question with a number from the fact."""

    fact: str = dspy.InputField()
    question: str = dspy.InputField()
    number: int = dspy.OutputField()


class TownGuide(dspy.Module):
    """Two predictors, with a search for a fact between them."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict(Topic)
        self.read = dspy.Predict(ReadNumber)

    def forward(self, question: str) -> dspy.Prediction:
        topic = self.classify(question=question).topic
        fact = nearest_fact(question, topic)
        return self.read(fact=fact, question=question)


def nearest_fact(question: str, topic: str) -> str:
    """Return the fact on the topic that has most words of the question."""
    words = set(re.findall(r"\w+", question.lower()))
    texts = [fact["text"] for fact in FACTS if fact["topic"] == topic]
    return max(texts, key=lambda text: len(words.intersection(re.findall(r"\w+", text.lower()))))


def same_number(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    return bool(example.number == prediction.number)


@mipro_optimize(
    program=TownGuide,
    metric=same_number,
    dataset="questions.jsonl",
    inputs=["question"],
    split="split",
    optimizer="labeled",
    optimizer_options={"k": 12},
    seed=7,
)
def test_town_guide(mipro: Outcome) -> None:
    assert mipro.beats_baseline()
