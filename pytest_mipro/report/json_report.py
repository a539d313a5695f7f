"""Render the summary as a JSON document, whose JSON Schema is beside this module."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pytest_mipro.report.summary import Summary

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON

VERSION = 1
"""It changes when a field is removed or changes its meaning; fields may be added without that."""
SCHEMA = Path(__file__).with_name(f"report-{VERSION}.schema.json")
"""The JSON Schema of documents of this version."""
_UNBOUNDED = ("low", "high", "detectable", "sufficient")
"""Figures of a comparison that are not finite where there are few examples."""


def render_json(summary: Summary) -> str:
    """Return the summary of a session as a JSON document.

    It has ASCII characters only and follows ``SCHEMA``. A number that is not
    finite is null.
    """
    document = {"version": VERSION, **summary.to_dict()}
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of documents of this version, built from the records."""
    document_schema = TypeAdapter(Summary).json_schema(mode="serialization")
    document_schema["properties"] = {"version": {"const": VERSION}, **document_schema["properties"]}
    document_schema["required"] = ["version", *document_schema["required"]]
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
