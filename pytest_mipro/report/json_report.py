"""Render the summary as a JSON document, whose JSON Schema is beside this module."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pytest_mipro.canonical import cut_texts
from pytest_mipro.report.summary import Summary

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON

VERSION = 1
"""It changes when a field is removed or changes its meaning; fields may be added without that."""
SCHEMA = Path(__file__).with_name(f"report-{VERSION}.schema.json")
"""The JSON Schema of documents of this version."""
MOST_CHARACTERS = 50_000_000
"""Characters of a document; a larger one leaves texts out, then examples, and says so."""
_TEXT_LENGTHS = (100_000, 10_000, 1_000)
"""Characters that texts are cut to, one length after another, until a document is small enough."""
_UNBOUNDED = ("low", "high", "detectable", "sufficient")
"""Figures of a comparison that are not finite where there are few examples."""


def render_json(summary: Summary, most: int = MOST_CHARACTERS) -> str:
    """Return the summary of a session as a JSON document of at most ``most`` characters.

    It has ASCII characters only and follows ``SCHEMA``. A number that is not
    finite is null. What is too much is left out, and ``left_out`` says what.
    """
    document = _finite({"version": VERSION, "left_out": [], **summary.to_dict()})
    assert isinstance(document, dict)
    text = _text(document)
    for length in _TEXT_LENGTHS:
        if len(text) <= most:
            return text
        document = {**cut_texts(document, length), "left_out": [_cut_texts(length)]}
        text = _text(document)
    return text if len(text) <= most else _text(_without_examples(document))


def _text(document: JSON) -> str:
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _cut_texts(length: int) -> str:
    return f"all but the first {length} characters of each text"


def _without_examples(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without its held-out examples, of which the verdicts have the scores."""
    for report in filter(None, (task["report"] for task in document["tasks"])):
        report["held_out"] = []
    return {**document, "left_out": [*document["left_out"], "the held-out examples of all tasks"]}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of documents of this version, built from the records."""
    document_schema = TypeAdapter(Summary).json_schema(mode="serialization")
    document_schema["properties"] = {
        "version": {"const": VERSION},
        "left_out": {"type": "array", "items": {"type": "string"}},
        **document_schema["properties"],
    }
    document_schema["required"] = ["version", "left_out", *document_schema["required"]]
    comparison = document_schema["$defs"]["PairedComparison"]["properties"]
    for name in _UNBOUNDED:
        comparison[name]["type"] = ["number", "null"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pytest-mipro:report:{VERSION}",
        **document_schema,
    }


def _finite(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
