"""The faults of a language model's reply: no answer, cut off, filtered or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import dspy

from pytest_mipro.dspy_internals import logged_calls
from pytest_mipro.evaluate.cut_replies import CutReplies, items_of, value_of

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
    yield value_of(reply, "finish_reason")
    yield value_of(value_of(reply, "incomplete_details"), "reason")
    for choice in items_of(reply, "choices"):
        yield value_of(choice, "finish_reason")


def _refusals(reply: object) -> Iterator[object]:
    """Yield the refusals in the formats of lm15, chat completions and responses."""
    messages = [value_of(choice, "message") for choice in items_of(reply, "choices")]
    yield from (value_of(message, "refusal") for message in messages)
    parts = [*items_of(value_of(reply, "message"), "parts")]
    for item in items_of(reply, "output"):
        parts += items_of(item, "content")
    yield from (part for part in parts if value_of(part, "type") == "refusal")


def _has_answer(output: object) -> bool:
    """Whether an output has a text or a tool call."""
    if isinstance(output, str):
        return bool(output.strip())
    return bool(str(value_of(output, "text") or "").strip() or value_of(output, "tool_calls"))


class ReplyLog:
    """The faults of the replies to the calls of an attempt, which DSPy reports to this log.

    Attributes:
        faults: The faults, in the order of the replies.
        error: The error that stands for the first reply without an answer, if there was one.
    """

    def __init__(self) -> None:
        self.faults: list[ReplyFault] = []
        self.error: dspy.LMError | None = None
        self._cuts = CutReplies()

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
        self._cuts.add(call, is_cut=fault in _CUTS)
        if fault == "no answer" and self.error is None:
            message = "the reply has no answer, neither a text nor a tool call"
            self.error = dspy.LMProviderError(message, model=str(call["model"]), status=200)

    def check_complete(self, steps: Sequence[object]) -> None:
        """Check that the program got no part of an answer.

        Args:
            steps: The program's predictor calls.

        Raises:
            CutAnswerError: It did.
        """
        self._cuts.check(steps)

    def begin_attempt(self) -> dict[str, Any]:
        """Forget all replies, and return the settings with which DSPy reports those to come."""
        self.faults, self.error, self._cuts = [], None, CutReplies()
        return logged_calls(self)
