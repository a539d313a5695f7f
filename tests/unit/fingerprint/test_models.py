from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.utils import DummyLM
from fingerprints import Question, length, simple_task
from scripted import scripted_lm

from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import (
    describe_adapter,
    describe_model,
    predictions_key,
    task_fingerprint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.uses("dspy", "pydantic")

SECRET = "sk-do-not-show-5f1d"


@pytest.mark.parametrize(
    "kwargs",
    [
        {"api_key": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"extra_headers": {"X-Api-Key": SECRET}},
        {"api_base": f"https://user:{SECRET}@models.example/v1"},
        {"api_base": f"https://{SECRET}@models.example/v1"},
        {"api_base": f"https://models.example/v1?key={SECRET}"},
        {"api_base": f"https://models.example/v1#{SECRET}"},
        {"api_base": f"user:{SECRET}@models.example/v1"},
        {"base_url": f"https://user:{SECRET}@models.example/v1?key={SECRET}"},
        {"extra_query": {"code": SECRET}},
        {"aws_secret_access_key": SECRET},
        {"aws_session_token": SECRET},
        {"vertex_credentials": SECRET},
        {"azure_password": SECRET},
        {"azure_ad_token_provider": lambda: SECRET},
        {"extra_body": {"api_key": SECRET}},
        {"fallbacks": [{"model": "openai/other", "api_key": SECRET}]},
    ],
    ids="-".join,
)
def test_no_secret_in_the_description_of_a_model(kwargs: dict[str, Any]) -> None:
    """A description has no credential, and another credential does not change it."""
    rotated = json.loads(json.dumps(kwargs, default=str).replace(SECRET, "sk-other"))

    description = describe_model(dspy.LM("openai/gpt-test", **kwargs))

    assert SECRET not in json.dumps(description)
    assert description == describe_model(dspy.LM("openai/gpt-test", **rotated))


def test_description_of_a_model_is_readable() -> None:
    """The description has the model, the endpoint and the sampling parameters."""
    lm = dspy.LM("openai/gpt-test", temperature=0.3, max_tokens=5, api_base="http://h:8000/v1?a=b")

    description = describe_model(lm)

    assert description["model"] == "openai/gpt-test"
    assert str(description["endpoint"]).startswith("http://h:8000/v1?")
    assert description["sampling"] == {"temperature": 0.3, "max_tokens": 5}


def test_endpoint_of_the_environment_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway in the environment replaces the provider's endpoint, and loses its credentials."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_BASE", f"https://user:{SECRET}@one.example/v1?key={SECRET}")

    assert describe_model(dspy.LM("openai/gpt-test"))["endpoint"] == "https://one.example/v1"
    assert (
        describe_model(dspy.LM("openai/gpt-test", api_base="http://two/v1"))["endpoint"]
        == "http://two/v1"
    )
    assert describe_model(dspy.LM("anthropic/claude-test"))["endpoint"] is None
    assert describe_model(scripted_lm())["endpoint"] is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_completion_tokens": 5},
        {"stop_token_ids": [1]},
        {"extra_body": {"min_tokens": 3}},
        {"fallbacks": [{"model": "openai/other"}]},
        {"tools": [length]},
    ],
    ids="-".join,
)
def test_parameters_change_the_description(kwargs: dict[str, Any]) -> None:
    """A sampling parameter is described at any depth, though its name resembles a credential's."""
    assert describe_model(dspy.LM("openai/gpt-test", **kwargs)) != describe_model(
        dspy.LM("openai/gpt-test")
    )


def test_engine_is_described_by_class_and_state() -> None:
    """Engines with equal states have equal descriptions; the state changes the description."""
    assert describe_model(scripted_lm(base=30)) == describe_model(scripted_lm(base=30))
    assert describe_model(scripted_lm(base=30)) != describe_model(scripted_lm(base=31))


def test_malformed_endpoint_is_described() -> None:
    """Malformed URLs change the description, too."""
    first, second = (
        describe_model(dspy.LM("openai/gpt-test", api_base=url))
        for url in ("http://[::1", "http://[::2")
    )

    assert first != second


class Quiet(dspy.ChatAdapter):
    def __init__(self, tone: object) -> None:
        super().__init__()
        self._tone = tone
        self.calls = 0
        self.replies: list[str] = []

    def format_field_structure(self, signature: type[dspy.Signature]) -> str:
        self.calls += 1
        self._keep("structure")
        return super().format_field_structure(signature)

    def _keep(self, reply: str) -> None:
        self.replies.append(reply)


def test_adapter_is_described_by_its_class_and_attributes() -> None:
    """All attributes change the description, but those that the adapter fills when it is used."""
    quiet = Quiet("calm")
    description = describe_adapter(quiet)
    quiet.format_field_structure(Question)

    assert describe_adapter(quiet) == description == describe_adapter(Quiet("calm"))
    assert description != describe_adapter(Quiet("sharp"))
    assert description != describe_adapter(dspy.ChatAdapter())
    assert describe_adapter(None) is None


def test_adapter_with_a_model_is_described_by_the_model() -> None:
    """A model inside an adapter is described by its content, without its credentials."""
    original, rotated, changed = (
        describe_adapter(dspy.TwoStepAdapter(dspy.LM(name, api_key=key)))
        for name, key in (("openai/a", SECRET), ("openai/a", "other"), ("openai/b", "other"))
    )

    assert original == rotated != changed
    assert SECRET not in json.dumps(original)


class Echo(dspy.BaseLM):
    """Answers with one of its texts."""

    def __init__(self, text: str, **state: object) -> None:
        super().__init__("echo")
        self._text = text
        self.api_key = state.pop("api_key", None)
        self.lock = threading.Lock()
        self.calls = 0
        self.replies: dict[str, str] = {}
        self.state = state

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.calls += 1
        self.replies[str(messages)] = self._text
        return self._text


class Popping(dspy.BaseLM):
    """Answers with its texts one after the other."""

    def __init__(self, *texts: str) -> None:
        super().__init__("popping")
        self.texts = list(texts)

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return self.texts.pop(0)


class Wrapper(dspy.BaseLM):
    """Hands calls on."""

    def __init__(self, inner: dspy.BaseLM) -> None:
        super().__init__("wrapper")
        self._inner = inner


class Engine:
    """Answers with its text, and has no ``dump_state``."""

    supported_params = frozenset[str]()
    supports_response_schema = False

    def __init__(self, text: str) -> None:
        self._text = text
        self.calls = 0

    def complete(self, request: Any) -> Any:
        self.calls += 1
        return self._text


class AsyncEngine:
    """Answers with its text, and keeps it with its rules."""

    def __init__(self, text: str) -> None:
        self.rules = {"text": text}

    async def complete(self, request: Any) -> Any:
        return self.rules["text"]


class Dumping(Echo):
    """Says itself what its state is."""

    def dump_state(self) -> dict[str, Any]:
        return {"text": self._text}


MODELS: dict[str, Callable[[str], dspy.BaseLM]] = {
    "an attribute": Echo,
    "a nested attribute": lambda text: Echo("", rules=[{"text": text}]),
    "an object that an attribute holds": lambda text: Echo("", adapter=Quiet(text)),
    "texts that are used up": lambda text: Popping("first", text),
    "a dump": Dumping,
    "an engine": lambda text: dspy.LM("one", engine=Engine(text)),
    "an engine for asynchronous calls": lambda text: dspy.LM(
        "one", engine=Engine(""), async_engine=AsyncEngine(text)
    ),
    "DummyLM": lambda text: DummyLM({"question": {"answer": text}}),
    "a wrapper": lambda text: Wrapper(dspy.LM("openai/one", stop=text)),
    "a wrapper of a wrapper": lambda text: Wrapper(Wrapper(Echo(text))),
    "the role of instructions": lambda text: dspy.LM("openai/one", use_developer_role=text == "a"),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_model_is_described_by_its_state(make: Callable[[str], dspy.BaseLM]) -> None:
    """What a model holds and answers with changes the keys of tasks and of predictions."""
    tasks = [replace(simple_task(length), lm=make(text)) for text in ("a", "a", "b")]
    keys = [
        (task_fingerprint(task).key, predictions_key(task.program, task.lm, None)) for task in tasks
    ]

    assert keys[0] == keys[1]
    assert keys[0][0] != keys[2][0]
    assert keys[0][1] != keys[2][1]


def test_use_of_a_model_changes_no_description() -> None:
    """What a model or an engine counts and fills is no state."""
    echo, engine = Echo("a"), Engine("a")
    descriptions = describe_model(echo), describe_model(dspy.LM("one", engine=engine))

    echo.forward(messages=["Hello?"])
    engine.complete(None)

    assert (describe_model(echo), describe_model(dspy.LM("one", engine=engine))) == descriptions


def test_credential_of_a_model_changes_no_description() -> None:
    """A key that a model holds is left out, as text and as a digest."""
    first, second = (describe_model(Echo("a", api_key=key)) for key in (SECRET, "other"))

    assert first == second
    assert SECRET not in json.dumps(first)


@pytest.mark.parametrize(
    "lm",
    [
        DummyLM([{"answer": "a"}]),
        Echo("a", client=object()),
        Wrapper(Echo("a", client=object())),
    ],
    ids=["the iterator of DummyLM", "a client", "a client behind a wrapper"],
)
def test_state_without_content_needs_a_version(lm: dspy.BaseLM) -> None:
    """The error names the attribute, and version= stands for it."""
    task = replace(simple_task(length), lm=lm)

    with pytest.raises(FingerprintError, match=r"of the model is .* declare version="):
        task_fingerprint(task)
    assert task_fingerprint(replace(task, version="1")).key
