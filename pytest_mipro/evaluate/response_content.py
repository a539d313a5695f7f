"""A response of a language model as JSON data, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspy.clients.call_result import CACHE_FORMAT, AttributeDict, attributes
from dspy.clients.legacy_outputs import plain
from pydantic import BaseModel

from pytest_mipro.canonical import is_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.canonical import JSON

_CUT = frozenset({"length", "content_filter"})
"""Reasons of a provider to end a response before its answer ends."""


def content_of(response: object) -> JSON:
    """Return ``response`` as JSON data that ``response_of`` makes an equal response of.

    None stands for a response that has no such data, and for one that lacks an answer: the
    model is asked again for both.
    """
    # The models of a client library; DSPy reads an attribute and an item alike.
    content: Any = plain(response) if isinstance(response, BaseModel | AttributeDict) else response
    return content if is_json(content) and not _is_cut(content) else None


def response_of(content: JSON) -> object:
    """Return the response that ``content_of`` made ``content`` of."""
    if isinstance(content, dict) and content.get("_dspy_format") == CACHE_FORMAT:
        return content
    return attributes(content)


def _is_cut(content: JSON) -> bool:
    """Whether an output of a response is no answer, or ends before the answer does."""
    if not isinstance(content, dict):
        return False
    reasons = (_reason(part) for part in _parts(content, "responses", "choices"))
    if content.get("status") == "incomplete" or not _CUT.isdisjoint(reasons):
        return True
    return not all(map(_has_answer, _parts(content, "outputs", "choices")))


def _parts(content: dict[str, JSON], *names: str) -> Iterator[JSON]:
    for name in names:
        part = content.get(name)
        yield from part if isinstance(part, list) else ()


def _reason(part: JSON) -> JSON:
    return part.get("finish_reason") if isinstance(part, dict) else None


def _has_answer(output: JSON) -> bool:
    """Whether an output, or a choice of a chat completion, has text or calls a tool."""
    if not isinstance(output, dict):
        return bool(output)
    message = output.get("message")
    fields = message if isinstance(message, dict) else output
    return any(fields.get(name) for name in ("text", "content", "tool_calls", "function_call"))
