"""Find out whether a program got a part of an answer, from a reply that was cut off."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import BaseCallback

from pytest_mipro.dspy_internals import calling_modules, watch_adapters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 100
"""Characters at the end of a cut reply that its error shows."""
_FIELD = re.compile(r"\[\[ ## \w+ ## \]\]")
_OBJECT = re.compile(r"\s*(?:```\w*\s*)?(\{.*)", re.DOTALL)
_END = "[[ ## completed ## ]]"
"""What DSPy's chat adapter asks for after the last field."""
_CHOOSING = dspy.BestOfN, dspy.Refine
"""Modules that call a module several times and take one of its predictions."""


class CutAnswerError(Exception):
    """A reply ended within an answer, of which the program got a part."""


@dataclass(frozen=True)
class _CutReply:
    """An output that ends within an answer.

    Attributes:
        text: Its text, which adapters parse.
        end: Its end, for the error.
        place: The place of its request among those from the first cut reply on.
    """

    text: str
    end: str
    place: int


class CutReplies(BaseCallback):
    """The cut replies of an attempt, and what became of them.

    After a reply that it cannot read, DSPy asks again in another format, and a module such as
    ``dspy.BestOfN`` drops what is not the best. An adapter says which replies it could read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._replies: list[_CutReply] = []
        self._requests: list[Sequence[object]] = []
        self._parsing: dict[str, str] = {}
        # By text: whether it was read, or the trace that decides whether it was chosen.
        self._fates: dict[str, bool | list[Any]] = {}

    def add(self, call: Mapping[str, Any], *, is_cut: bool) -> None:
        """Record a call, as DSPy's history has it, and whether its reply was cut."""
        cut = [output for output in call["outputs"] if is_cut and _is_part(output)]
        if cut and not self._replies:
            watch_adapters(self)  # Only now, because it costs time at each call.
        place = len(self._requests)
        self._replies += [_CutReply(_text(part), str(part)[-_SHOWN:], place) for part in cut]
        if self._replies:
            self._requests.append(call.get("messages") or [call.get("prompt")])

    def on_adapter_parse_start(
        self,
        call_id: str,
        instance: object,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        inputs: dict[str, Any],
    ) -> None:
        """Keep what an adapter is about to read; the parameter has any name."""
        *_, self._parsing[call_id] = inputs.values()

    def on_adapter_parse_end(
        self,
        call_id: str,
        outputs: object,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        exception: BaseException | None = None,
    ) -> None:
        """Record whether the adapter could read it; the last one decides, the outer one."""
        text = self._parsing.pop(call_id)
        is_of_choice = any(isinstance(module, _CHOOSING) for module in calling_modules())
        is_read = dspy.settings.trace if is_of_choice else True
        self._fates[text] = is_read if exception is None else False

    def check(self, steps: Sequence[object]) -> None:
        """Check that no cut reply is a part of the program's answer.

        Args:
            steps: The program's predictor calls.

        Raises:
            CutAnswerError: One is.
        """
        for reply in self._replies:
            if self._is_used(reply, steps):
                message = f"the reply ended within a field: {reply.end}"
                raise CutAnswerError(message)

    def _is_used(self, reply: _CutReply, steps: Sequence[object]) -> bool:
        fate = self._fates.get(reply.text)
        if fate is None:  # The program has read it by itself.
            return not self._is_asked_again(reply)
        if isinstance(fate, bool):
            return fate
        chosen = set(map(id, steps))
        return any(id(step) in chosen for step in fate)

    def _is_asked_again(self, reply: _CutReply) -> bool:
        """Whether a later request is the same one, or goes on from it."""
        request, later = self._requests[reply.place], self._requests[reply.place + 1 :]
        return any(messages[: len(request)] == request for messages in later)


def _is_part(output: object) -> bool:
    """Whether an output ends within an answer, in the formats of DSPy's own adapters.

    DSPy's chat adapter takes as the last field whatever there is of it, its JSON adapter and its
    calls of tools repair half an object, and its adapter in two steps has another model read any
    text. Its XML adapter reads no field without an end.
    """
    if any(not _begins_with_json(arguments) for arguments in _tool_arguments(output)):
        return True
    text = _text(output)
    if _FIELD.search(text):
        return _END not in text
    json_object = _OBJECT.match(text)
    if json_object is not None:
        return not _begins_with_json(json_object[1])
    return isinstance(dspy.settings.adapter, dspy.TwoStepAdapter) and bool(text.strip())


def _text(output: object) -> str:
    return output if isinstance(output, str) else str(value_of(output, "text") or "")


def _tool_arguments(output: object) -> Iterator[str]:
    """Yield the arguments of an output's calls of tools that are texts."""
    for call in items_of(output, "tool_calls"):
        for place in (value_of(call, "function"), call):
            arguments = value_of(place, "arguments")
            if isinstance(arguments, str):
                yield arguments


def _begins_with_json(text: str) -> bool:
    try:
        json.JSONDecoder().raw_decode(text)
    except (RecursionError, ValueError):
        return False
    return True


def value_of(record: object, name: str) -> Any:  # ruff: ignore[any-type] - any provider's data
    """Return the entry or the attribute of this name; None if there is none."""
    return record.get(name) if isinstance(record, dict) else getattr(record, name, None)


def items_of(record: object, name: str) -> Sequence[Any]:
    """Return the items of the list of this name; none if there is no such list."""
    items = value_of(record, name)
    return items if isinstance(items, list | tuple) else ()
