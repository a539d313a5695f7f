"""The faults of a language model's reply: no answer, cut off, filtered or refused."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import dspy

from pytest_mipro.dspy_internals import logged_calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

ReplyFault: TypeAlias = Literal["token limit", "filter", "refusal", "no answer"]

_FAULT_OF_FINISH: dict[object, ReplyFault] = {
    "content_filter": "filter",
    "length": "token limit",
    "max_output_tokens": "token limit",
}
"""The fault by why a reply ended, in the words of lm15 and of OpenAI's two APIs."""
_CUTS = frozenset({"filter", "token limit"})
"""Faults that a reply can have in the middle of an answer."""
_SHOWN = 100
"""Characters at the end of a cut reply that its error shows."""
_FIELD = re.compile(r"\[\[ ## \w+ ## \]\]")
_OBJECT = re.compile(r"\s*(?:```\w*\s*)?(\{.*)", re.DOTALL)
_END = "[[ ## completed ## ]]"
"""What DSPy's chat adapter asks for after the last field."""


def reply_fault(outputs: Sequence[object], response: object) -> ReplyFault | None:
    """Return what is wrong with a reply, if anything is.

    A reply that ended for one of the program's reasons has that fault, also without an answer.

    Args:
        outputs: The outputs that DSPy makes of the reply.
        response: The reply as DSPy's history has it: of lm15, of LiteLLM or of a user's model.
    """
    for reply in response if isinstance(response, tuple) else (response,):
        for reason in _finish_reasons(reply):
            if reason in _FAULT_OF_FINISH:
                return _FAULT_OF_FINISH[reason]
        if any(_refusals(reply)):
            return "refusal"
    return None if outputs and all(map(_has_answer, outputs)) else "no answer"


def _finish_reasons(reply: object) -> Iterator[object]:
    yield _value(reply, "finish_reason")
    yield _value(_value(reply, "incomplete_details"), "reason")
    for choice in _items(reply, "choices"):
        yield _value(choice, "finish_reason")


def _refusals(reply: object) -> Iterator[object]:
    """Yield the refusals in the formats of lm15, chat completions and responses."""
    messages = [_value(choice, "message") for choice in _items(reply, "choices")]
    yield from (_value(message, "refusal") for message in messages)
    parts = [*_items(_value(reply, "message"), "parts")]
    for item in _items(reply, "output"):
        parts += _items(item, "content")
    yield from (part for part in parts if _value(part, "type") == "refusal")


def _has_answer(output: object) -> bool:
    """Whether an output has a text or a tool call."""
    if isinstance(output, str):
        return bool(output.strip())
    return bool(str(_value(output, "text") or "").strip() or _value(output, "tool_calls"))


def _is_cut_off(output: object) -> bool:
    """Whether an output ends within an answer, in the formats of DSPy's own adapters.

    DSPy's chat adapter takes as the last field whatever there is of it, and its JSON adapter
    repairs half an object. Its XML adapter reads no field without an end.
    """
    text = output if isinstance(output, str) else str(_value(output, "text") or "")
    if _FIELD.search(text):
        return _END not in text
    json_object = _OBJECT.match(text)
    return json_object is not None and not _begins_with_json(json_object[1])


def _begins_with_json(text: str) -> bool:
    try:
        json.JSONDecoder().raw_decode(text)
    except (RecursionError, ValueError):
        return False
    return True


def _value(record: object, name: str) -> Any:  # ruff: ignore[any-type] - any provider's data
    return record.get(name) if isinstance(record, dict) else getattr(record, name, None)


def _items(record: object, name: str) -> Sequence[Any]:
    items = _value(record, name)
    return items if isinstance(items, list | tuple) else ()


class CutAnswerError(Exception):
    """A reply ended within an answer, of which the program got a part."""


class ReplyLog:
    """The faults of the replies to the calls of an attempt, which DSPy reports to this log.

    Attributes:
        faults: The faults, in the order of the replies.
        error: The error that stands for the first reply without an answer, if there was one.
    """

    def __init__(self) -> None:
        self.faults: list[ReplyFault] = []
        self.error: dspy.LMError | None = None
        self._cuts: list[str] = []

    @property
    def history(self) -> ReplyLog:
        """The object that DSPy appends calls to, if this log is in its ``caller_modules``."""
        return self

    def __len__(self) -> int:
        """Return 0: the log keeps no call, so that there is none to drop."""
        return 0

    def append(self, call: Mapping[str, Any]) -> None:
        """Record the fault of the reply to a call, as DSPy's history has it."""
        outputs = call["outputs"]
        fault = reply_fault(outputs, call["response"])
        if fault is not None:
            self.faults.append(fault)
        is_cut = fault in _CUTS and any(map(_is_cut_off, outputs))
        self._cuts.append(str(outputs)[-_SHOWN:] if is_cut else "")
        if fault == "no answer" and self.error is None:
            message = "the reply has no answer, neither a text nor a tool call"
            self.error = dspy.LMProviderError(message, model=str(call["model"]), status=200)

    def check_complete(self, steps: int) -> None:
        """Check that the program got no part of an answer.

        After a reply that it cannot read, DSPy may ask again in another format. So with more
        replies than ``steps``, the program is known to have got the last one only.

        Args:
            steps: The number of the program's predictor calls.

        Raises:
            CutAnswerError: It did.
        """
        used = self._cuts if len(self._cuts) <= steps else self._cuts[-1:]
        for end in filter(None, used):
            message = f"the reply ended within a field: {end}"
            raise CutAnswerError(message)

    def begin_attempt(self) -> dict[str, Any]:
        """Forget all replies, and return the settings with which DSPy reports those to come."""
        self.faults, self.error, self._cuts = [], None, []
        return logged_calls(self)
