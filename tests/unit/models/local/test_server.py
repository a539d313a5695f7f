from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dspy import lm15

from pytest_mipro.models.local import server as server_module
from pytest_mipro.models.local.server import LlamaServer, LlamaServers, server_count

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL_FILE = Path("unused.gguf")


@pytest.mark.parametrize(
    "error, expected",
    [
        ({"code": 400, "message": "no", "type": "exceed_context_size_error"}, "ContextLengthError"),
        ({"code": 400, "message": "no", "type": "invalid_request_error"}, "InvalidRequestError"),
        ({"code": 500, "message": "no", "type": "server_error"}, "ServerError"),
    ],
)
def test_llama_errors_become_lm15_errors(error: dict[str, Any], expected: str) -> None:
    """The reply of llama.cpp decides the error's class, and later calls work."""
    server = LlamaServer(MODEL_FILE)
    replies: Iterator[dict[str, Any]] = iter([{"error": error}, {}, {}, {"choices": []}])

    class Fake:
        def handle_completions(self, payload: dict[str, Any]) -> dict[str, Any]:
            return next(replies)

    server._server = Fake()
    with pytest.raises(lm15.LM15Error) as caught:
        server.complete("shared", "rest", {})
    assert type(caught.value).__name__ == expected
    assert server.complete("shared", "rest", {}) == {"choices": []}


def test_slots_hold_the_latest_shared_parts() -> None:
    """A shared part is read once while it is in use; the least recently used one gives way."""
    server = LlamaServer(MODEL_FILE)
    read: list[str] = []

    class Fake:
        def handle_completions(self, payload: dict[str, Any]) -> dict[str, Any]:
            if payload.get("cache_prompt") is False:
                read.append(payload["prompt"])
            return {}

    server._server = Fake()
    for shared in "ABABCADAB":
        server.complete(shared, "rest", {})
    assert read == ["A", "B", "C", "D", "B"]


@pytest.mark.parametrize("processors, count", [(None, 1), (1, 1), (2, 2), (64, 2)])
def test_a_processor_alone_has_one_server(
    processors: int | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are two servers at most, and no more than processors."""
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert server_count() == count


class Llama:
    """Stands for llama.cpp: answers with its number, and two that are asked together at once."""

    def __init__(self, number: int, barrier: threading.Barrier) -> None:
        self.number = number
        self._barrier = barrier

    def handle_completions(self, payload: dict[str, Any]) -> dict[str, Any]:
        if payload["prompt"].endswith("together"):
            self._barrier.wait(timeout=30)
        return {"number": self.number}


@pytest.fixture
def llamas(monkeypatch: pytest.MonkeyPatch) -> list[Llama]:
    """Start stand-ins for llama.cpp, on a machine of two processors; return those that run."""
    running: list[Llama] = []
    barrier = threading.Barrier(2)

    def start(_: Path) -> Llama:
        running.append(Llama(len(running), barrier))
        return running[-1]

    monkeypatch.setattr(server_module, "_start", start)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return running


def complete_together(servers: LlamaServers, *prompts: str) -> list[int]:
    """Return the server of each of some calls that wait for each other."""
    answers: dict[str, int] = {}

    def complete(shared: str) -> None:
        answers[shared] = servers.complete(shared, "together", {})["number"]

    threads = [threading.Thread(target=complete, args=(shared,)) for shared in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[shared] for shared in prompts]


def test_calls_in_turn_load_the_model_once(llamas: list[Llama]) -> None:
    """The second server does not start as long as the first one is idle."""
    servers = LlamaServers(MODEL_FILE)
    assert not servers.started
    assert {servers.complete(shared, "alone", {})["number"] for shared in "ABA"} == {0}
    assert servers.started
    assert len(llamas) == 1


def test_two_calls_are_answered_at_a_time(llamas: list[Llama]) -> None:
    """Each has a server of its own; a later call takes the one with its shared part."""
    servers = LlamaServers(MODEL_FILE)
    numbers = complete_together(servers, "A", "B")
    assert sorted(numbers) == [0, 1]
    for shared in "ABBA":
        assert servers.complete(shared, "alone", {})["number"] == numbers["AB".index(shared)]
    assert len(llamas) == 2


def test_closed_servers_start_again(llamas: list[Llama]) -> None:
    """Closing stops both, and the next call starts one."""
    servers = LlamaServers(MODEL_FILE)
    complete_together(servers, "A", "B")
    servers.close()
    assert not servers.started
    assert servers.complete("A", "alone", {})["number"] == 2
    assert len(llamas) == 3
