"""How DSPy's own adapters write and read the values of fields, for an adapter like them."""

from __future__ import annotations

from dspy.adapters.utils import (
    apply_output_field_defaults,
    find_enum_member,
    format_field_value,
    get_annotation_name,
    parse_value,
)

__all__ = [
    "apply_output_field_defaults",
    "find_enum_member",
    "format_field_value",
    "get_annotation_name",
    "parse_value",
]
