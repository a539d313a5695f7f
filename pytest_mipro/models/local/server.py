"""The llama.cpp servers of one model file, and which of them answers a call.

The answer to a call depends on the call alone, not on earlier calls, their order, the
server that answers, or the number of threads; see `LlamaServer`.
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import TYPE_CHECKING, Any

from dspy import lm15

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTEXT_TOKENS = 4096
"""Most tokens of prompt and answer together."""

RUNTIME = "xllamacpp"

_MOST_SERVERS = 2
_SLOTS = 3  # of each server, 90 MB each


class LlamaServers:
    """The servers of one model file in this process: two, or one on a single processor.

    Two calls at a time take half as long as one after the other. The second server starts
    with the first call that finds the other one busy.

    Args:
        model_file: The model, as GGUF.
    """

    def __init__(self, model_file: Path) -> None:
        self._servers = [LlamaServer(model_file) for _ in range(server_count())]
        self._idle = list(self._servers)
        self._returned = threading.Condition()

    @property
    def started(self) -> bool:
        """Whether the model is loaded."""
        return any(server.started for server in self._servers)

    def complete(self, shared: str, rest: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the completion of `LlamaServer.complete`, by the first server that is idle.

        Args:
            shared: The beginning of the prompt, which other calls share.
            rest: The rest of the prompt.
            options: llama.cpp's options for this completion.
        """
        server = self._take(shared)
        try:
            return server.complete(shared, rest, options)
        finally:
            with self._returned:
                self._idle.append(server)
                self._returned.notify()

    def close(self) -> None:
        """Stop the servers and free the model, after the calls in progress."""
        for server in self._servers:
            server.close()

    def _take(self, shared: str) -> LlamaServer:
        """Return an idle server: one that holds ``shared``, or else one that runs."""
        with self._returned:
            self._returned.wait_for(lambda: self._idle)
            server = max(self._idle, key=lambda server: (server.holds(shared), server.started))
            self._idle.remove(server)
            return server


class LlamaServer:
    """One llama.cpp server and its model, used by one call at a time.

    llama.cpp caches its computations for the last prompt and continues where the
    next prompt differs. That makes few-shot calls several times as fast, but the
    batches of a prompt, and so the last bits of its logits, then depend on earlier
    prompts. Here every prompt is computed in the same two steps, independent of
    earlier prompts: the part that calls share, as a whole, then the rest. Each of
    the slots holds one shared part, so that calls of several predictors or
    candidates can alternate without computing theirs again.

    Args:
        model_file: The model, as GGUF.
    """

    def __init__(self, model_file: Path) -> None:
        self._model_file = model_file
        self._lock = threading.Lock()
        self._server: Any = None
        self._slots: dict[str, int] = {}  # shared part -> slot, the least recently used first

    @property
    def started(self) -> bool:
        """Whether the model is loaded."""
        return self._server is not None

    def holds(self, shared: str) -> bool:
        """Return whether a slot holds ``shared``."""
        return shared in self._slots

    def complete(self, shared: str, rest: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return llama.cpp's completion of a prompt, as an OpenAI text completion.

        Args:
            shared: The beginning of the prompt, which other calls share.
            rest: The rest of the prompt.
            options: llama.cpp's options for this completion.
        """
        with self._lock:
            if self._server is None:
                self._server = _start(self._model_file)
            slot = self._slot(shared)
            return self._ask({**options, "prompt": shared + rest, "id_slot": slot})

    def close(self) -> None:
        """Stop the server and free the model, after the call in progress."""
        with self._lock:
            self._server = None
            self._slots.clear()

    def _slot(self, shared: str) -> int:
        """Return a slot that holds ``shared`` and nothing after it."""
        reading = {"prompt": shared, "max_tokens": 0, "temperature": 0.0}
        slot = self._slots.pop(shared, None)
        if slot is None:
            slot = self._free_slot()
            self._ask({**reading, "id_slot": slot, "cache_prompt": False})
        # Cuts off the rest of the last prompt. llama.cpp computes the last token of the
        # shared part again; the first call does the same, so that all are computed alike.
        self._ask({**reading, "id_slot": slot})
        self._slots[shared] = slot
        return slot

    def _free_slot(self) -> int:
        unused = set(range(_SLOTS)) - set(self._slots.values())
        return min(unused) if unused else self._slots.pop(next(iter(self._slots)))

    def _ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = self._server.handle_completions(payload)
        except Exception as error:  # any exception of the C++ side is a failure of the provider
            message = f"llama.cpp failed: {error}"
            raise lm15.ProviderError(message, provider=RUNTIME) from error
        if "error" in reply:
            raise _error(reply["error"])
        return reply


def server_count() -> int:
    """Return how many servers a model file has in a process: the most calls at a time."""
    return min(_MOST_SERVERS, os.cpu_count() or 1)


def _start(model_file: Path) -> Any:  # ruff: ignore[any-type]  # it has no types
    xllamacpp = importlib.import_module(RUNTIME)
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file)
    params.hostnames, params.port, params.ui = ["127.0.0.1"], 0, False
    params.n_parallel, params.n_ctx = _SLOTS, CONTEXT_TOKENS * _SLOTS
    params.cont_batching = params.cache_prompt = True
    params.cache_ram_mib = 0  # the default may take 8 GiB
    params.n_gpu_layers, params.fit_params, params.verbosity = 0, False, 0
    # One thread or two compute the same bits. But threads wait for each other in busy
    # loops: where they do not get a core each, two take ten times as long as one.
    threads = 2 if (os.cpu_count() or 1) >= 2 * _MOST_SERVERS else 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.sampling.temp = 0.0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        message = f"llama.cpp cannot load {model_file}: {error}"
        raise lm15.ProviderError(message, provider=RUNTIME) from error


def _error(error: Mapping[str, Any]) -> lm15.LM15Error:
    message, code = f"llama.cpp: {error.get('message')}", error.get("code")
    if error.get("type") == "exceed_context_size_error":
        return lm15.ContextLengthError(message, provider=RUNTIME)
    if code is not None and code < 500:  # ruff: ignore[magic-value-comparison]  # an HTTP status
        return lm15.InvalidRequestError(message, provider=RUNTIME)
    return lm15.ServerError(message, provider=RUNTIME)
