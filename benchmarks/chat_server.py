"""A chat-completions server on loopback with known latencies, in a process of its own.

It implements the part of OpenAI's API that a DSPy client needs, and answers from
the landscape in the path (``/plain-0/v1``). The latency of a call is uniform in
0.5 to 1.5 times the mean and depends on a hash of the request. The server is one
event loop without threads, so that it uses little processor time.

    python -m benchmarks.chat_server --latency 0.2 --salt 0

The command prints its address and serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess  # ruff: ignore[suspicious-subprocess-import] - runs this module
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.request import urlopen

from benchmarks.landscape import Landscape, digest

if TYPE_CHECKING:
    from collections.abc import Generator

_ROOT = Path(__file__).resolve().parents[1]
_HEAD_END = b"\r\n\r\n"


@dataclass
class Counts:
    """The counts of a server.

    Attributes:
        task: Calls of the program.
        prompt: All other calls, such as those for instructions.
        waited: The sum of the latencies, in seconds.
        cpu: Seconds of processor time of the server.
    """

    task: int = 0
    prompt: int = 0
    waited: float = 0.0
    cpu: float = 0.0

    def since(self, earlier: Counts) -> Counts:
        """Return the difference from ``earlier`` counts."""
        start = asdict(earlier)
        return Counts(**{name: value - start[name] for name, value in asdict(self).items()})


class Server:
    """A client of a server.

    Args:
        address: The address of the server, such as ``http://127.0.0.1:8000``.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def counts(self) -> Counts:
        """The counts of the server so far."""
        with urlopen(f"{self.address}/counts", timeout=10) as response:  # ruff: ignore[suspicious-url-open-usage] - our own server
            return Counts(**json.load(response))

    @classmethod
    @contextmanager
    def running(cls, latency: float, salt: str) -> Generator[Server]:
        """Serve in a new process while the context lasts.

        Args:
            latency: Mean seconds per call.
            salt: Decides which calls are slow.
        """
        command = [sys.executable, "-m", "benchmarks.chat_server"]
        process = subprocess.Popen(  # ruff: ignore[subprocess-without-shell-equals-true] - the same
            [*command, "--latency", str(latency), "--salt", salt],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout
            try:
                yield cls(process.stdout.readline().strip())
            finally:
                process.terminate()


class _Model:
    """Answers requests and counts them."""

    def __init__(self, latency: float, salt: str) -> None:
        self.counts = Counts()
        self._latency = latency
        self._salt = salt
        self._landscape = lru_cache(Landscape.named)

    def answer(self, landscape: str, body: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        """Return the latency of the answer in seconds, and the answer."""
        system, *turns = [str(message["content"]) for message in body["messages"]]
        if not turns:
            system, turns = "", [system]
        reply = self._landscape(landscape).reply(system, turns)
        share = int(digest(self._salt, system, *turns), 16) / 2**64
        seconds = self._latency * (0.5 + share)
        self.counts.waited += seconds
        if reply.effect is None:
            self.counts.prompt += 1
        else:
            self.counts.task += 1
        return seconds, _completion(body["model"], reply.text)


class _Connection(asyncio.Protocol):
    """A keep-alive HTTP/1.1 connection, whose client waits for each answer."""

    def __init__(self, model: _Model) -> None:
        self._model = model
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer when a request is complete."""
        self._received += data
        head, end, body = self._received.partition(_HEAD_END)
        if not end or len(body) < _content_length(head):
            return
        self._received = b""
        seconds, status, content = self._respond(head.split(b" ", 2)[1].decode(), body)
        payload = _response(status, content)
        asyncio.get_running_loop().call_later(seconds, self._send, payload)

    def _respond(self, path: str, body: bytes) -> tuple[float, str, dict[str, Any]]:
        if path == "/counts":
            self._model.counts.cpu = time.process_time()
            return 0.0, "200 OK", asdict(self._model.counts)
        landscape, _, rest = path.removeprefix("/").partition("/")
        if rest != "v1/chat/completions":
            return 0.0, "404 Not Found", {"error": {"message": f"there is no {path} here"}}
        seconds, content = self._model.answer(landscape, json.loads(body))
        return seconds, "200 OK", content

    def _send(self, payload: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(payload)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _response(status: str, content: dict[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _HEAD_END + body


def _completion(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }


async def _serve(latency: float, salt: str) -> None:
    model = _Model(latency, salt)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(model), "127.0.0.1", backlog=256)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Serve landscapes as chat models on loopback.")
    parser.add_argument("--latency", type=float, default=0.2, help="mean seconds per call")
    parser.add_argument("--salt", default="0", help="decides which calls are slow")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.latency, arguments.salt))


if __name__ == "__main__":
    _main()
