from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from alterations import ALTERATIONS
from fingerprints import Question, evaluation_key, length, simple_task
from scripted import scripted_lm
from ticket_project import FILES

from pytest_mipro.fingerprint import demo_fields, prompts, prompts_key, task_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from fingerprints import Load

    from pytest_mipro.task import Task

pytestmark = pytest.mark.uses("dspy", "pydantic")


def _reward(inputs: dict[Any, Any], prediction: dspy.Prediction) -> float:
    return float(len(prediction.answer))


def _look_up(title: str) -> str:
    """Find a page."""
    return title


OUTPUTS = {
    "a model in a model": "Text",
    "a list of a model": "list[Text]",
    "a validator in a list": "list[Word]",
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_validators_in_the_type_of_an_output_count(load: Load, output: str) -> None:
    """What reads an answer counts at any depth of its type, and has one key in all processes."""
    code = (
        "import dspy, pydantic, typing\ndef known(value):\n    return 'before'\n"
        "Word = typing.Annotated[str, pydantic.AfterValidator(known)]\n"
        "class Line(pydantic.BaseModel):\n    words: list[Word]\n"
        "class Text(pydantic.BaseModel):\n    lines: list[Line]\n"
        "class Writing(dspy.Signature):\n    'Write.'\n"
        f"    question: str = dspy.InputField()\n    answer: {output} = dspy.OutputField()\n"
    )
    keys = []
    for word in ("before", "before", "after"):
        written = load({"user_code.py": code.replace("'before'", f"'{word}'")}).Writing
        keys.append(_keys(simple_task(length, dspy.Predict(written))))

    assert keys[0] == keys[1]
    assert keys[0][0] != keys[2][0]
    assert keys[0][1:] != keys[2][1:]  # A row has the keys of its evaluation and of its prompts.


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DSPy deprecates its own modules
@pytest.mark.parametrize(
    "make",
    [
        lambda: dspy.ChainOfThought("question -> answer"),
        lambda: dspy.MultiChainComparison("question -> answer"),
        lambda: dspy.ReAct(Question, tools=[_look_up]),
        lambda: dspy.CodeAct("question -> answer", tools=[_look_up]),
        lambda: dspy.ProgramOfThought("question -> answer"),
        lambda: dspy.BestOfN(dspy.Predict("question -> answer"), 2, _reward, 1.0),
        lambda: dspy.Refine(dspy.Predict("question -> answer"), 2, _reward, 1.0),
    ],
    ids=[
        "ChainOfThought",
        "MultiChain",
        "ReAct",
        "CodeAct",
        "ProgramOfThought",
        "BestOfN",
        "Refine",
    ],
)
def test_modules_of_dspy_have_a_key(make: Callable[[], dspy.Module]) -> None:
    """Two instances of a module of DSPy have the same key, without version=."""
    assert (
        task_fingerprint(simple_task(length, make())).key
        == task_fingerprint(simple_task(length, make())).key
    )


def test_frozen_module_changes_the_evaluation_key() -> None:
    """A search does not change a compiled module, so its demos are part of the evaluation key."""

    class Program(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")
            self.check = dspy.ChainOfThought("answer -> good")
            self.check._compiled = True

    program = Program()
    task = simple_task(length, program)
    key = evaluation_key(task)

    program.check.predict.demos = [dspy.Example(answer="yes", good="no")]

    assert evaluation_key(task) != key


def test_use_changes_no_key() -> None:
    """Neither the history that modules keep of their calls nor a copy changes a key."""
    judge = dspy.Predict("answer -> good")

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> Any:
        return judge(answer=prediction.answer)

    lm = scripted_lm()
    task = replace(simple_task(metric), lm=lm, prompt_lm=lm)
    keys = _keys(task)

    with dspy.context(lm=lm):
        metric(dspy.Example(), task.program(question="1 + 1"))

    assert _keys(task) == keys
    assert _keys(replace(task, program=task.program.deepcopy())) == keys


def _keys(task: Task) -> list[str]:
    return [task_fingerprint(task).key, evaluation_key(task), prompts_key(task.program)]


@pytest.mark.parametrize(
    "name, changes",
    [
        ("nothing", False),
        ("traces", False),
        ("attribute of the program", False),
        ("instruction", True),
        ("demo", True),
        ("demo added", True),
        ("demo as a dictionary", False),
        ("model of a predictor", True),
    ],
)
def test_prompts_key(load: Load, name: str, changes: bool) -> None:
    """Two candidates have the same prompts key if and only if their prompts are equal."""
    declared = load(FILES)
    _, alter = ALTERATIONS[name]

    altered = alter(declared.task(), declared)

    assert (prompts_key(altered.program) != prompts_key(declared.task().program)) is changes


def test_prompts_lists_predictors_in_their_order(load: Load) -> None:
    """Each predictor has its name, its instruction and its demos as JSON data."""
    first, second = prompts(load(FILES).task().program)

    assert (first.predictor, first.instruction) == ("classify", "Route the ticket.")
    assert first.demos == ({"ticket": "Invoice?", "queue": "billing"},)
    assert (second.predictor, second.demos) == ("explain.predict", ())


def test_demo_fields_are_json() -> None:
    """A set is a sorted list and a NaN has a JSON form; other values stay as they are."""
    demo = dspy.Example(question="Why?", score=float("nan"), tags={"b", "a"}, augmented=True)

    fields = demo_fields(demo)

    assert fields["question"] == "Why?"
    assert fields["tags"] == ["a", "b"]
    assert fields["augmented"] is True
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields
