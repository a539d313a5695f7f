"""The summary as a JSON document, for programs; its JSON Schema is beside this module."""

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
"""Raised when a field goes or means something else; further fields may come at any time."""
SCHEMA = Path(__file__).with_name(f"report-{VERSION}.schema.json")
"""The JSON Schema of documents of this version."""
_UNBOUNDED = ("low", "high", "detectable")
"""What few examples leave open in a comparison."""


def render_json(summary: Summary) -> str:
    """
    Return everything there is to say about a session, as a JSON document.

    It is of ASCII characters only, and of the form that ``SCHEMA`` describes.
    A number that is not finite is null.
    """
    document = {"version": VERSION, **summary.to_dict()}
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of documents of this version, as the records have it."""
    described = TypeAdapter(Summary).json_schema(mode="serialization")
    described["properties"] = {"version": {"const": VERSION}, **described["properties"]}
    described["required"] = ["version", *described["required"]]
    comparison = described["$defs"]["PairedComparison"]["properties"]
    for name in _UNBOUNDED:
        comparison[name]["type"] = ["number", "null"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pytest-mipro:report:{VERSION}",
        **described,
    }


def _finite(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
