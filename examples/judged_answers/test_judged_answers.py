"""Tag a sentence with its city; a judge reads the city out of whatever the program says."""

import dspy

from pytest_mipro import Outcome, mipro_optimize

MOST_WORDS = 3


class TagSentence(dspy.Signature):
    """Tag the sentence as the archive does."""

    sentence: str = dspy.InputField()
    tag: str = dspy.OutputField()


class ReadCity(dspy.Signature):
    """Read the name of the city out of the answer."""

    answer: str = dspy.InputField()
    name: str = dspy.OutputField()


def judge() -> dspy.Predict:
    """Return the judge: a predictor with demos that were written by hand."""
    predictor = dspy.Predict(ReadCity, stop=["\n"])
    predictor.demos = [
        {"answer": answer, "name": name}
        for answer, name in (
            ("Rome", "Rome"),
            ("The city is called Hamburg.", "Hamburg"),
            ("It happened in Seville.", "Seville"),
            ("Malmo.", "Malmo"),
            ("They went to Krakow by train.", "Krakow"),
            ("Leeds", "Leeds"),
        )
    ]
    return predictor


JUDGE = judge()


def right_and_short(
    example: dspy.Example, prediction: dspy.Prediction, trace: object = None
) -> bool:
    if len(prediction.tag.split()) > MOST_WORDS:
        return False
    return bool(JUDGE(answer=prediction.tag).name == example.tag)


@mipro_optimize(
    program=dspy.Predict(TagSentence, stop=["\n"]),
    metric=right_and_short,
    dataset="sentences.jsonl",
    inputs=["sentence"],
    split="split",
    cluster="report",
    optimizer="labeled",
    optimizer_options={"k": 8},
    seed=7,
)
def test_judged_answers(mipro: Outcome) -> None:
    assert mipro.beats_baseline()
