"""What kind of answer does a question want: a person, a place, a number or a date?"""

from typing import Literal

import dspy

from pytest_mipro import Outcome, mipro_optimize


class QuestionType(dspy.Signature):
    """Say what kind of answer the question wants."""

    question: str = dspy.InputField()
    kind: Literal["person", "place", "number", "date"] = dspy.OutputField()


class Classifier(dspy.Module):
    """One predictor: the question goes in, the kind comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict(QuestionType)

    def forward(self, question: str) -> dspy.Prediction:
        return self.classify(question=question)


def same_kind(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    return bool(example.kind == prediction.kind)


@mipro_optimize(
    program=Classifier,
    metric=same_kind,
    dataset="questions.jsonl",
    inputs=["question"],
    split="split",
    data_aware_proposer=False,
    rounds=0,
    seed=7,
)
def test_question_type(mipro: Outcome) -> None:
    assert mipro.beats_baseline()
    assert mipro.compiled.score >= 0.6
