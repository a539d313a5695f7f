"""A chat-completions server on loopback with chosen faults.

It implements the part of OpenAI's API that DSPy needs, and answers like the
model of ``scripted.py``. A hash of the request and the number of equal requests
so far decide whether a call fails, so that a run meets the same faults at any
speed.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

from scripted import reply_to

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import TypeAlias

HINT = {"Retry-After": "0.02"}
_HANG = 20.0


@dataclass(frozen=True)
class Reply:
    """The reply to a call.

    Attributes:
        body: The body.
        status: The HTTP status.
        headers: Further headers.
        how: ``send`` the reply, ``reset`` the connection instead, ``hang``,
            ``cut`` the body in the middle, or send it ``raw``, without HTTP.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    how: str = "send"


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an error in OpenAI's format."""
    body = {"error": {"message": message, "type": code, "code": code}}
    return Reply(json.dumps(body).encode(), status, tuple((headers or {}).items()))


def completion(content: str | None, finish_reason: str = "stop", **message: object) -> Reply:
    """Return a completion with one choice."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish_reason,
    }
    return _reply(choice)


def _reply(*choices: Mapping[str, object]) -> Reply:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "faulty"}
    return Reply(json.dumps({**body, "choices": choices, "usage": usage}).encode())


LIMITED = error(429, "rate_limit_exceeded", "slow down", HINT)
LIMITED_WITHOUT_HINT = error(429, "rate_limit_exceeded", "slow down")
BROKEN = error(500, "server_error", "the server tripped", HINT)
UNAVAILABLE = error(503, "server_error", "overloaded", HINT)
NO_QUOTA = error(429, "insufficient_quota", "you exceeded your current quota")
REVOKED = error(401, "invalid_api_key", "the key was revoked")
FORBIDDEN = error(403, "permission_denied", "not for you")
REFUSED = error(400, "invalid_request_error", "there is no such parameter")
NOT_FOUND = error(404, "model_not_found", "there is no such model")
TOO_LONG = error(400, "context_length_exceeded", "the context is 4096 tokens")
FILTERED_PROMPT = error(400, "content_filter", "the prompt was filtered")
NO_CHOICES = _reply()
NO_CONTENT = completion(None)
NO_TEXT = completion(" \n")
ONLY_THOUGHTS = completion(None, reasoning_content="well")
CUT_OFF = completion("[[ ## answer", "length")
CUT_BEFORE_TEXT = completion("", "length")
FILTERED = completion(None, "content_filter")
REFUSAL = completion(None, refusal="I cannot help with that")
DROPPED = Reply(how="reset")
HANGING = Reply(how="hang")
CUT = Reply(how="cut")
GARBAGE = Reply(bytes(range(128, 256)) * 4 + b"\r\n\r\n", how="raw")
HTML = Reply(b"<html><body>Bad gateway</body></html>", 200, (("Content-Type", "text/html"),))


@dataclass(frozen=True)
class Call:
    """A call, as the argument of a fault.

    Attributes:
        number: The number of calls so far, with this one.
        turn: The number of equal requests so far, with this one.
        chance: A number below 100 that depends on the request and the turn.
        demos: The number of demos in the request.
    """

    number: int
    turn: int
    chance: int
    demos: int


if TYPE_CHECKING:
    Fault: TypeAlias = Callable[[Call], Reply | None]


def none(_call: Call) -> Reply | None:
    """Never fail."""
    return None


def sometimes(*replies: Reply, percent: int = 20, most: int = 3) -> Fault:
    """Fail ``percent`` percent of the calls, and equal requests at most ``most`` times."""

    def fault(call: Call) -> Reply | None:
        if call.turn > most or call.chance >= percent:
            return None
        return replies[call.chance * len(replies) // percent]

    return fault


def lasting(number: int, reply: Reply) -> Fault:
    """Fail all calls after the first ``number``."""
    return lambda call: reply if call.number > number else None


class Server:
    """A server in a thread of this process; ``fault`` may change at any time."""

    def __init__(self) -> None:
        self.address = ""
        self.fault: Fault = none
        self.calls = 0
        self.failed = 0
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.closing = threading.Event()

    def reset(self, fault: Fault) -> None:
        """Forget all calls, and apply ``fault`` to those that follow."""
        with self._lock:
            self.fault, self.calls, self.failed = fault, 0, 0
            self._turns.clear()

    def reply(self, body: Mapping[str, Any]) -> Reply:
        """Return the reply to a call."""
        turns = [str(message["content"]) for message in body["messages"]]
        request = hashlib.sha256(json.dumps([turns, body.get("temperature")]).encode()).hexdigest()
        with self._lock:
            self.calls += 1
            self._turns[request] += 1
            number, turn = self.calls, self._turns[request]
        chance = int(hashlib.sha256(f"{request}/{turn}".encode()).hexdigest(), 16) % 100
        failure = self.fault(Call(number, turn, chance, (len(turns) - 2) // 2))
        if failure is not None:
            with self._lock:
                self.failed += 1
            if failure.how != "cut":
                return failure
        answer = json.dumps(_completion(str(body["model"]), reply_to(turns))).encode()
        return Reply(answer, how="send" if failure is None else "cut")

    @classmethod
    @contextmanager
    def running(cls) -> Generator[Server]:
        """Run a server while the context lasts."""
        server = cls()
        handler = type("Handler", (_Handler,), {"server_state": server})
        http = _Http(("127.0.0.1", 0), handler)
        server.address = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            http.shutdown()
            http.server_close()
            thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing if a client closes its connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: ClassVar[Server]

    def do_POST(self) -> None:
        """Send the reply to a call."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server_state.reply(body)
        if reply.how == "hang":
            self.server_state.closing.wait(_HANG)
        if reply.how in {"hang", "reset"}:
            self._reset()
        elif reply.how == "raw":
            self.wfile.write(reply.body)
            self.close_connection = True
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", **dict(reply.headers)}
        for name, value in {**headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.how == "cut" else reply.body)
        self.close_connection = reply.how == "cut"

    def _reset(self) -> None:
        # A linger time of 0 makes close() send a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # ruff: ignore[builtin-argument-shadowing]  # its name in the base class
        """Print nothing."""


def _completion(model: str, text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
