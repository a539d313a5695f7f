"""A language model that is served over HTTP by a process of its own.

    python served.py --pause 0.02

prints its address and serves until its standard input closes. It implements
the part of OpenAI's API that a DSPy client needs, answers by a hash of the
request, as ``scripted.py`` does, and counts the requests. It can kill a client,
or hold an answer back, at the request of a certain number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_SUM = re.compile(r"(\d+) \+ (\d+)")
_PROPOSAL_FIELDS = {
    "proposed_instruction",
    "program_description",
    "module_description",
    "observations",
}
_HELD_OUT = 1000
"""The least first number of the held-out sums."""
_VALIDATION = 100
"""The least first number of the validation sums; smaller ones are training sums."""


@dataclass
class Plan:
    """The actions of a server besides answering.

    Attributes:
        kill: The process group to end with SIGKILL.
        at: The number of the request, from the plan on, at which to kill it; 0 is never.
        phase: The phase whose requests count for ``at``; empty for all.
        hang: The seconds that each answer is held back.
        hold: The number of requests, from the plan on, after which answers are
            held back until the next plan; 0 is never.
        final: Whether requests about validation sums are of the phase ``final``.
    """

    kill: int = 0
    at: int = 0
    phase: str = ""
    hang: float = 0.0
    hold: int = 0
    final: bool = False


@dataclass
class Counts:
    """The requests to a server.

    Attributes:
        requests: The number of all requests.
        phases: The number of requests of each phase.
        killed: The phases of the requests at which the client was killed.
    """

    requests: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)


class Model:
    """The client side of the server, for tests."""

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def counts(self) -> Counts:
        """The requests since the last ``forget``."""
        return Counts(**self._post("counts"))

    def forget(self) -> None:
        """Count from zero, without a plan."""
        self._post("forget")

    def plan(self, **plan: str | float) -> None:
        """Follow a plan with these attributes of ``Plan``."""
        self._post("plan", plan)

    def wait(self, requests: int, seconds: float = 60.0) -> None:
        """Return once the server has had this number of requests."""
        end = time.monotonic() + seconds
        while self.counts.requests < requests:
            assert time.monotonic() < end, self.counts
            time.sleep(0.05)

    def end_search(self) -> None:
        """Count requests about validation sums as ``final`` until the next plan."""
        self._post("final")

    def _post(self, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        request = Request(f"{self.address}/{path}", json.dumps(data or {}).encode())
        with urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    @classmethod
    @contextmanager
    def running(cls, pause: float) -> Generator[Model]:
        """Serve in a new process while the context lasts; a call takes up to ``pause`` seconds."""
        process = subprocess.Popen(
            [sys.executable, __file__, "--pause", str(pause)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal of a client must not reach it.
        )
        with process:
            assert process.stdout
            try:
                yield cls(process.stdout.readline().strip())
            finally:
                process.kill()


class _State:
    """The state that all requests of a server share."""

    def __init__(self, pause: float) -> None:
        self.lock = threading.Lock()
        self.pause = pause
        self.counts = Counts()
        self.plan = Plan()
        self._number = 0
        self._gate = threading.Event()

    def follow(self, plan: Plan) -> None:
        """Follow another plan; answers that the last plan held back are sent."""
        self.plan, self._number = plan, 0
        self._gate.set()
        self._gate = threading.Event()

    def wait(self, phase: str) -> None:
        """Count a request, kill its client if planned, and return when to answer."""
        seconds, gate = self._count(phase)
        if gate is not None:
            gate.wait()
        time.sleep(seconds)

    def _count(self, phase: str) -> tuple[float, threading.Event | None]:
        with self.lock:
            phase = "final" if phase == "search" and self.plan.final else phase
            self.counts.requests += 1
            self.counts.phases[phase] = self.counts.phases.get(phase, 0) + 1
            self.plan.at -= self.plan.phase in {"", phase}
            if self.plan.kill and self.plan.at == 0:
                self.counts.killed.append(phase)
                # A kill at once would always hit the rows before the request while they are stored.
                threading.Timer(self._random_pause(), _kill, [self.plan.kill]).start()
            self._number += 1
            is_held = 0 < self.plan.hold < self._number
            return self.plan.hang or self._random_pause(), self._gate if is_held else None

    def _random_pause(self) -> float:
        return self.pause * int.from_bytes(os.urandom(2), "big") / 65535


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ClassVar[_State]

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with suppress(OSError):  # The client may be dead.
            self._reply(self._answer(data))

    def _answer(self, data: dict[str, Any]) -> dict[str, Any]:
        state = self.state
        if self.path.endswith("/chat/completions"):
            return self._completion(data)
        with state.lock:
            if self.path == "/plan":
                state.follow(Plan(**data))
            if self.path == "/final":
                state.plan.final = True
            if self.path == "/forget":
                state.counts = Counts()
                state.follow(Plan())
            return dict(vars(state.counts))

    def _completion(self, data: dict[str, Any]) -> dict[str, Any]:
        turns = [str(message["content"]) for message in data["messages"]]
        names = [name for name in dict.fromkeys(_FIELD.findall(turns[-1])) if name != "completed"]
        self.state.wait(_phase(names, turns))
        chance = int(hashlib.sha256("\x00".join(turns).encode()).hexdigest(), 16) % 100
        fields = [f"[[ ## {name} ## ]]\n{_field(name, turns, chance)}" for name in names]
        text = "\n\n".join([*fields, "[[ ## completed ## ]]"])
        message = {"role": "assistant", "content": text}
        return {
            "id": "served",
            "object": "chat.completion",
            "created": 0,
            "model": data["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        }

    def _reply(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _phase(names: Sequence[str], turns: Sequence[str]) -> str:
    if _PROPOSAL_FIELDS.intersection(names):
        return "propose"
    number = int(_SUM.findall(turns[-1])[-1][0])
    if number >= _HELD_OUT:
        return "held out"
    return "search" if number >= _VALIDATION else "bootstrap"


def _field(name: str, turns: Sequence[str], chance: int) -> str:
    if name != "answer":
        return f"{name} {chance}"
    total = sum(map(int, _SUM.findall(turns[-1])[-1]))
    demos = (len(turns) - 2) // 2
    return str(total if chance < 30 + 12 * demos else total + 1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing, as clients are killed."""


def _main() -> None:
    parser = argparse.ArgumentParser(description="Serve a language model for tests.")
    parser.add_argument("--pause", type=float, default=0.0, help="most seconds a call takes")
    _Handler.state = _State(parser.parse_args().pause)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    _main()
