from __future__ import annotations

import json
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.clients.call_result import CallResult
from pydantic import BaseModel, ConfigDict

from pytest_mipro.evaluate.response_content import content_of, response_of

TOKEN = lm15.TokenLogprob(
    token="four", logprob=-0.25, bytes=(102,), top=(lm15.TopLogprob(token="4", logprob=-2.0),)
)
USAGE = lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12)
MESSAGES: dict[str, Any] = {
    "text": {"content": "four"},
    "tool call": {
        "content": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
        ],
    },
    "reasoning": {"content": "four", "reasoning_content": "two and two"},
    "lone surrogate": {"content": "\ud800"},
}
LOGPROBS = {
    "content": [{"token": "four", "logprob": -0.25, "bytes": [102], "top_logprobs": []}],
    "refusal": None,
}


class ClientModel(BaseModel):
    """A class of a client library, such as those of LiteLLM, which takes long to import."""

    model_config = ConfigDict(extra="allow")

    def __init__(self, **values: Any) -> None:
        super().__init__(**{name: nested(value) for name, value in values.items()})


def nested(value: object) -> object:
    """Return ``value`` with its mappings as objects of a client library."""
    if isinstance(value, list):
        return [nested(item) for item in value]
    return ClientModel(**value) if isinstance(value, dict) else value


def native(*parts: Any, finish_reason: Any = "stop", **values: Any) -> CallResult:
    """Return the result of a call of DSPy's own client."""
    response = lm15.Response(
        id="r",
        model="m",
        message=lm15.Message("assistant", parts),
        finish_reason=finish_reason,
        usage=USAGE,
        **values,
    )
    return CallResult.native(response, logprobs="logprobs" in values)


def chat(*messages: dict[str, Any], finish_reason: str = "stop", **choice: Any) -> ClientModel:
    """Return a chat completion of a client library, with a choice for each message."""
    choices = [
        {"index": index, "finish_reason": finish_reason, "message": message, **choice}
        for index, message in enumerate(messages)
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return ClientModel(id="r", model="m", choices=choices, usage=usage)


def reread(response: object) -> Any:
    """Return ``response`` after a trip through JSON text."""
    return response_of(json.loads(json.dumps(content_of(response))))


@pytest.mark.parametrize(
    "result",
    [
        native(lm15.TextPart("four")),
        native(lm15.ThinkingPart("two and two"), lm15.TextPart("four")),
        native(lm15.ToolCallPart("c", "add", {"a": 1}), finish_reason="tool_call"),
        native(
            lm15.TextPart("four"),
            logprobs=(TOKEN,),
        ),
    ],
    ids=["text", "reasoning", "tool call", "logprobs"],
)
def test_a_response_of_dspys_client(result: CallResult) -> None:
    """It is read back with all it held, but for the usage, which DSPy drops."""
    loaded = CallResult.load(reread(result.dump()))
    assert loaded.responses == result.responses
    assert loaded.outputs == result.outputs
    assert loaded.response_model == "m"


@pytest.mark.parametrize("logprobs", [None, LOGPROBS], ids=["plain", "logprobs"])
@pytest.mark.parametrize(
    "messages",
    [*([message] for message in MESSAGES.values()), [{"content": "4"}, {"content": "four"}]],
)
def test_a_response_of_a_client_library(messages: list[dict[str, Any]], logprobs: object) -> None:
    """DSPy reads the same outputs and the same usage from it."""
    lm = dspy.LM("openai/m")
    response = chat(*messages, logprobs=logprobs)
    kwargs = {"logprobs": logprobs is not None}
    first, second = (
        CallResult.legacy(lm, value, kwargs=kwargs) for value in (response, reread(response))
    )
    as_json = [json.dumps(outputs, default=dict) for outputs in (first.outputs, second.outputs)]
    assert as_json[0] == as_json[1]
    assert first.usage == second.usage
    assert second.response_model == "m"


@pytest.mark.parametrize(
    "response",
    [
        native(lm15.ThinkingPart("hm")).dump(),
        native(lm15.TextPart("fou"), finish_reason="length").dump(),
        native(lm15.TextPart(""), finish_reason="content_filter").dump(),
        chat({"content": None}),
        chat({"content": ""}),
        chat({"content": "four"}, {"content": None}),
        chat({"content": "fou"}, finish_reason="length"),
        chat({"content": None, "refusal": "I cannot"}),
        chat({"content": "four", "refusal": "I cannot"}),
        chat({"content": "   "}),
        {"status": "incomplete", "output": []},
        {"incomplete_details": {"reason": "max_output_tokens"}, "output": []},
        {"output": [{"content": [{"type": "refusal", "refusal": "no"}]}]},
    ],
)
def test_a_response_without_a_whole_answer(response: object) -> None:
    """It is not kept, so that asking again asks the model."""
    assert content_of(response) is None


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, [float("nan")], object(), {"a": {1}}, b"bytes"])
def test_a_value_that_json_changes(value: object) -> None:
    """It is not kept."""
    assert content_of(value) is None


def test_an_embedding() -> None:
    """It is read back as it was."""
    assert reread([[0.1, 1e-300], [2.0, -0.0]]) == [[0.1, 1e-300], [2.0, -0.0]]
