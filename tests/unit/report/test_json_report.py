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
    "if a field went or means something else, raise VERSION"
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
    """A record that changed changes the file, too."""
    kept = json.loads(SCHEMA.read_text("ascii"))
    assert undescribed(kept) == undescribed(schema()), REWRITE
    Draft202012Validator.check_schema(kept)


def test_the_schema_describes_every_record() -> None:
    """Whoever reads it alone learns what a record is."""
    kept = json.loads(SCHEMA.read_text("ascii"))
    assert kept["description"]
    assert [name for name, each in kept["$defs"].items() if not each.get("description")] == []


def test_everything_is_in_the_document() -> None:
    """It follows its schema, and the summary can be made again from it."""
    summary = summaries.summary()
    document = json.loads(render_json(summary))
    VALIDATOR.validate(document)
    assert document.pop("version") == VERSION
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
    """What is no report of this version is not taken for one."""
    document = json.loads(render_json(summaries.summary()))
    assert not VALIDATOR.is_valid({**document, **wrong})


def test_nothing_to_report() -> None:
    """A session without tasks has a document, too."""
    empty = replace(summaries.summary(), tasks=())
    VALIDATOR.validate(json.loads(render_json(empty)))


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_numbers_that_are_not_finite(number: float) -> None:
    """JSON has no word for them; they are null, and the schema expects it."""
    found = summaries.report("PASS")
    open_ended = replace(found, comparison=replace(found.comparison, detectable=number))
    text = render_json(summaries.summary(summaries.task_summary(open_ended)))
    document = json.loads(text, parse_constant=pytest.fail)
    VALIDATOR.validate(document)
    assert document["tasks"][0]["report"]["comparison"]["detectable"] is None


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_hostile_text(text: str) -> None:
    """Whatever the text, the document is plain ASCII, valid, and says just that."""
    rendered = render_json(summaries.hostile(text))
    assert rendered.isascii()
    assert set(rendered) & {chr(code) for code in range(32)} <= {"\n"}
    document = json.loads(rendered)
    VALIDATOR.validate(document)
    assert document["tasks"][0]["report"]["task"] == text
