"""Write a question about a passage; a second program judges what kind of answer it wants."""

from typing import Literal

import dspy

from pytest_mipro import Outcome, mipro_optimize

Kind = Literal["person", "place", "number", "date"]


class WriteQuestion(dspy.Signature):
    """Write a short question about the passage whose answer is of this kind."""

    passage: str = dspy.InputField()
    kind: Kind = dspy.InputField()
    question: str = dspy.OutputField()


class QuestionKind(dspy.Signature):
    """Say what kind of answer the question wants."""

    question: str = dspy.InputField()
    kind: Kind = dspy.OutputField()


def judge() -> dspy.Predict:
    """Return the judge: a predictor with demos that were written by hand."""
    predictor = dspy.Predict(QuestionKind)
    predictor.demos = [
        {"question": question, "kind": kind}
        for question, kind in (
            ("Who invented the telephone?", "person"),
            ("Where is the Louvre?", "place"),
            ("How many strings does a violin have?", "number"),
            ("When did the Second World War end?", "date"),
            ("Which actor played the king?", "person"),
            ("In which country is Lake Como?", "place"),
            ("How tall is the Eiffel Tower?", "number"),
            ("In what year was the bridge built?", "date"),
        )
    ]
    return predictor


JUDGE = judge()


def wanted_kind(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    return bool(JUDGE(question=prediction.question).kind == example.kind)


@mipro_optimize(
    program=dspy.Predict(WriteQuestion, stop=["\n"]),
    metric=wanted_kind,
    dataset="passages.jsonl",
    inputs=["passage", "kind"],
    split="split",
    cluster="passage",
    optimizer="bootstrap",
)
def test_judged_questions(mipro: Outcome) -> None:
    assert mipro.beats_baseline()
