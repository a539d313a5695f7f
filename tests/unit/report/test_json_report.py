from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import summaries
from hostile import TEXTS
from jsonschema import Draft202012Validator

from pytest_mipro.report.json_report import SCHEMA, VERSION, render_json, schema
from pytest_mipro.report.summary import Summary

VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text("ascii")))
REWRITE = (
    "write json.dumps(pytest_mipro.report.json_report.schema(), indent=1) to the file; "
    "if a field is removed or changes its meaning, raise VERSION"
)


def undescribed(value: Any) -> Any:
    """Return a schema without its descriptions, which Pydantic 2.12 does not write."""
    if isinstance(value, dict):
        return {
            name: undescribed(item)
            for name, item in value.items()
            if name != "description" or not isinstance(item, str)
        }
    return [undescribed(item) for item in value] if isinstance(value, list) else value


def test_the_schema_is_that_of_the_records() -> None:
    """The file has the schema that the records have."""
    document = json.loads(SCHEMA.read_text("ascii"))
    assert undescribed(document) == undescribed(schema()), REWRITE
    Draft202012Validator.check_schema(document)


def test_the_schema_describes_every_record() -> None:
    """Each record has a description in it."""
    document = json.loads(SCHEMA.read_text("ascii"))
    assert document["description"]
    assert [
        name for name, record in document["$defs"].items() if not record.get("description")
    ] == []


def test_everything_is_in_the_document() -> None:
    """The document follows its schema, and the summary can be restored from it."""
    summary = summaries.summary()
    document = json.loads(render_json(summary))
    VALIDATOR.validate(document)
    assert document.pop("version") == VERSION
    assert document.pop("left_out") == []
    assert Summary.from_dict(document) == summary
    (example, *_) = document["tasks"][1]["report"]["held_out"]
    assert example["inputs"] == {"ticket": "Ticket 1"}
    assert example["compiled"] == {
        "score": 1.0,
        "predictions": [{"team": "mobile"}],
        "failures": [],
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": VERSION + 1},
        {"tasks": [{"task": "router"}]},
        {"usage": {"calls": "many"}},
        {"created": None},
    ],
)
def test_the_schema_refuses(wrong: dict[str, object]) -> None:
    """The schema refuses a document that is no report of this version."""
    document = json.loads(render_json(summaries.summary()))
    assert not VALIDATOR.is_valid({**document, **wrong})


def test_nothing_to_report() -> None:
    """A session without tasks has a document, too."""
    empty = replace(summaries.summary(), tasks=())
    VALIDATOR.validate(json.loads(render_json(empty)))


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_numbers_that_are_not_finite(number: float) -> None:
    """They are null, which JSON has and the schema allows."""
    outcome = summaries.report("PASS")
    comparison = replace(outcome.comparison, detectable=number)
    open_ended = replace(outcome, comparison=comparison)
    text = render_json(summaries.summary(summaries.task_summary(open_ended)))
    document = json.loads(text, parse_constant=pytest.fail)
    VALIDATOR.validate(document)
    assert document["tasks"][0]["report"]["comparison"]["detectable"] is None


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_text(text: str) -> None:
    """Whatever the text, the document is ASCII, valid, and has that text in it."""
    rendered = render_json(summaries.hostile(text))
    assert rendered.isascii()
    assert set(rendered) & {chr(code) for code in range(32)} <= {"\n"}
    document = json.loads(rendered)
    VALIDATOR.validate(document)
    assert document["tasks"][0]["report"]["task"] == text


@pytest.mark.parametrize(
    "examples, most, left_out",
    [
        (1, 140_000, ["all but the first 100000 characters of each text"]),
        (1, 100_000, ["all but the first 10000 characters of each text"]),
        (
            200,
            100_000,
            [
                "all but the first 1000 characters of each text",
                "the held-out examples of all tasks",
            ],
        ),
    ],
)
def test_a_document_has_a_limit(examples: int, most: int, left_out: list[str]) -> None:
    """Texts are cut first, examples go last, and the document says so and follows the schema."""
    task = summaries.task_summary(summaries.report("PASS"))
    assert task.report is not None
    first, *_ = task.report.held_out
    long = replace(first, compiled=replace(first.compiled, predictions=({"team": "x" * 150_000},)))
    report = replace(task.report, held_out=(long,) * examples)

    text = render_json(summaries.summary(replace(task, report=report)), most)
    document = json.loads(text)
    VALIDATOR.validate(document)
    assert len(text) <= most
    assert document["left_out"] == left_out
    assert ("more characters)" in text) == (len(left_out) == 1)
