"""A response of a language model as JSON data, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_mipro.canonical import is_json
from pytest_mipro.dspy_internals import dump_response, load_response
from pytest_mipro.evaluate.replies import reply_fault

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON


def content_of(response: object) -> JSON:
    """Return ``response`` as JSON data that ``response_of`` makes an equal response of.

    None stands for a response that has no such data, and for one with a fault, see
    ``reply_fault``: the model is asked again for both.
    """
    content: Any = dump_response(response)
    return content if is_json(content) and not _is_faulty(content) else None


def response_of(content: JSON) -> object:
    """Return the response that ``content_of`` made ``content`` of."""
    return load_response(content)


def _is_faulty(content: JSON) -> bool:
    """Whether a response has no answer, or one that is cut off, filtered or refused."""
    if not isinstance(content, dict):
        return False
    replies, choices = _items(content, "responses"), _items(content, "choices")
    outputs = _items(content, "outputs") or [_output_of(choice) for choice in choices]
    fault = reply_fault(outputs, tuple(replies) or content)
    # A response of a third format has its outputs elsewhere, and says itself if it is cut off.
    is_readable = bool(replies or "choices" in content)
    if content.get("status") == "incomplete":  # for whatever reason
        return True
    return fault is not None and (is_readable or fault != "no answer")


def _items(content: dict[str, JSON], name: str) -> list[JSON]:
    items = content.get(name)
    return items if isinstance(items, list) else []


def _output_of(choice: JSON) -> dict[str, JSON]:
    """Return the text and the tool calls of a choice of a chat completion."""
    fields = choice if isinstance(choice, dict) else {}
    message = fields.get("message")
    if isinstance(message, dict):
        fields = message
    calls = fields.get("tool_calls") or fields.get("function_call")
    return {"text": fields.get("content") or fields.get("text"), "tool_calls": calls}
