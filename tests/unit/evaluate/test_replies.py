from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dspy
import faulty
import pytest
from dspy import lm15

from pytest_mipro.evaluate.replies import ReplyLog, reply_fault

pytestmark = pytest.mark.uses("dspy")

FAULTS = {
    "NO_CHOICES": "no answer",
    "NO_CONTENT": "no answer",
    "NO_TEXT": "no answer",
    "ONLY_THOUGHTS": "no answer",
    "CUT_OFF": "token limit",
    "CUT_BEFORE_TEXT": "token limit",
    "FILTERED": "filter",
    "REFUSAL": "refusal",
}


def chat(finish_reason: str, content: str | None, **message: object) -> SimpleNamespace:
    """Return a chat completion as an object, as LiteLLM does."""
    choice = SimpleNamespace(
        finish_reason=finish_reason, message=SimpleNamespace(content=content, **message)
    )
    return SimpleNamespace(choices=[choice])


def log_of(server: faulty.Server, reply: faulty.Reply, **settings: Any) -> ReplyLog:
    """Return the log of a call that gets this reply."""
    server.reset(lambda _: reply)
    options: dict[str, Any] = {"api_base": server.address, "api_key": "x", "cache": False}
    lm = dspy.LM("openai/faulty", engine="lm15", num_retries=0, timeout=5, **options)
    log = ReplyLog()
    with dspy.context(**settings), dspy.context(**log.begin_attempt()):
        lm("hello")
    return log


@pytest.mark.parametrize("name", FAULTS)
def test_faults_over_the_wire(server: faulty.Server, name: str) -> None:
    """DSPy's client reports the fault of a reply, and a missing answer is an error."""
    log = log_of(server, getattr(faulty, name))

    assert log.faults == [FAULTS[name]]
    assert (log.error is not None) == (FAULTS[name] == "no answer")


def test_a_user_without_history_gets_the_same(server: faulty.Server) -> None:
    """The log does not need the history that a user has turned off."""
    log = log_of(server, faulty.REFUSAL, disable_history=True, max_history_size=0)

    assert log.faults == ["refusal"]


@pytest.mark.parametrize(
    "outputs, response",
    [
        (["yes"], None),
        ([{"text": "yes"}], {"choices": [{"finish_reason": "stop"}]}),
        ([{"text": None, "tool_calls": [{"id": "1"}]}], {"choices": [{"message": None}]}),
        (["yes"], object()),
    ],
    ids=["text", "chat", "tool call", "unknown format"],
)
def test_an_answer_has_no_fault(outputs: list[object], response: object) -> None:
    """A text or a tool call is an answer, whatever else a reply has."""
    assert reply_fault(outputs, response) is None


@pytest.mark.parametrize(
    "response, fault",
    [
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "token limit"),
        ({"incomplete_details": {"reason": "content_filter"}}, "filter"),
        ({"output": [{"content": [{"type": "refusal", "refusal": "no"}]}]}, "refusal"),
        (chat("length", "ye"), "token limit"),
        (chat("content_filter", None), "filter"),
        (chat("stop", None, refusal="I cannot"), "refusal"),
        ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, "token limit"),
        (
            (
                lm15.Response(
                    id="1",
                    model="x",
                    message=lm15.Message.assistant("yes"),
                    finish_reason="stop",
                    usage=lm15.Usage(),
                ),
                lm15.Response(
                    id="2",
                    model="x",
                    message=lm15.Message.assistant("ye"),
                    finish_reason="length",
                    usage=lm15.Usage(),
                ),
            ),
            "token limit",
        ),
    ],
    ids=[
        *("responses cut", "responses filtered", "responses refused"),
        *("LiteLLM cut", "LiteLLM filtered", "LiteLLM refused", "choices", "several replies"),
    ],
)
def test_faults_in_other_formats(response: object, fault: str) -> None:
    """LiteLLM, OpenAI's responses, and several candidates of one call, have their faults found."""
    assert reply_fault(["yes", "ye"], response) == fault


def test_an_attempt_forgets_the_replies_before_it() -> None:
    """Only the last attempt counts."""
    log = ReplyLog()
    log.append({"outputs": [], "response": None, "model": "x"})
    assert log.faults == ["no answer"]
    assert "no answer" in str(log.error)

    log.begin_attempt()

    assert log.faults == []
    assert log.error is None
