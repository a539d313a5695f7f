"""
A language model behind HTTP, in a process of its own, that outlives its clients.

    python served.py --pause 0.02

prints its address and serves until its standard input closes. It speaks as
much of OpenAI's API as a DSPy client needs, answers as ``scripted.py`` does (a
hash of the request decides), and counts what it was really asked. It can kill
a client, or hold an answer back, at a request of a given number.
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

_WANTED = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_SUM = re.compile(r"(\d+) \+ (\d+)")
_PROPOSES = {"proposed_instruction", "program_description", "module_description", "observations"}
_HELD_OUT = 1000
"""Sums from here on are held out."""
_VALIDATION = 100
"""Sums from here on are for validation; the others are for training."""


@dataclass
class Plan:
    """
    What a server is to do besides answering.

    Attributes:
        kill: A process group to end with SIGKILL.
        after: At which of the requests to come; 0 is never.
        phase: Which requests count for that; all if it is empty.
        hang: Seconds each answer is held back.
        hold: After how many of the requests to come answers are held back until
            the next plan; 0 is never.
        final: Whether what is asked about validation is asked about finalists.

    """

    kill: int = 0
    after: int = 0
    phase: str = ""
    hang: float = 0.0
    hold: int = 0
    final: bool = False


@dataclass
class Counts:
    """
    What a server was asked.

    Attributes:
        asked: All requests.
        phases: The requests by what they were for.
        killed: The phases that requests were for when the client was killed.

    """

    asked: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)


class Model:
    """The server, seen from a test."""

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def counts(self) -> Counts:
        """What it was asked since it was last told to ``forget``."""
        return Counts(**self._ask("counts"))

    def forget(self) -> None:
        """Count from zero, and keep to no plan."""
        self._ask("forget")

    def plan(self, **plan: str | float) -> None:
        """Tell it what to do besides answering: the attributes of a ``Plan``."""
        self._ask("plan", plan)

    def wait(self, requests: int, seconds: float = 60.0) -> None:
        """Return once it was asked so often."""
        end = time.monotonic() + seconds
        while self.counts.asked < requests:
            assert time.monotonic() < end, self.counts
            time.sleep(0.05)

    def finalists(self) -> None:
        """Tell it that the search is over, until the next plan."""
        self._ask("final")

    def _ask(self, what: str, told: dict[str, Any] | None = None) -> dict[str, Any]:
        request = Request(f"{self.address}/{what}", json.dumps(told or {}).encode())
        with urlopen(request, timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    @classmethod
    @contextmanager
    def running(cls, pause: float) -> Generator[Model]:
        """Serve in a new process while the context lasts; a call takes up to ``pause`` seconds."""
        process = subprocess.Popen(
            [sys.executable, __file__, "--pause", str(pause)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal of a client is not for us.
        )
        with process:
            assert process.stdout
            try:
                yield cls(process.stdout.readline().strip())
            finally:
                process.kill()


class _State:
    """What all requests of a server share."""

    def __init__(self, pause: float) -> None:
        self.lock = threading.Lock()
        self.pause = pause
        self.counts = Counts()
        self.plan = Plan()
        self._come = 0
        self._gate = threading.Event()

    def follow(self, plan: Plan) -> None:
        """Keep to another plan; what was held back for the last one is answered."""
        self.plan, self._come = plan, 0
        self._gate.set()
        self._gate = threading.Event()

    def answer(self, phase: str) -> None:
        """Count a request, kill its client if it is time, and return when it is to be answered."""
        seconds, gate = self._take(phase)
        if gate is not None:
            gate.wait()
        time.sleep(seconds)

    def _take(self, phase: str) -> tuple[float, threading.Event | None]:
        with self.lock:
            phase = "final" if phase == "search" and self.plan.final else phase
            self.counts.asked += 1
            self.counts.phases[phase] = self.counts.phases.get(phase, 0) + 1
            self.plan.after -= self.plan.phase in {"", phase}
            if self.plan.kill and self.plan.after == 0:
                self.counts.killed.append(phase)
                # Not at once: what came before the request would always be being stored.
                threading.Timer(self._some_time(), _end, [self.plan.kill]).start()
            self._come += 1
            is_held = 0 < self.plan.hold < self._come
            return self.plan.hang or self._some_time(), self._gate if is_held else None

    def _some_time(self) -> float:
        return self.pause * int.from_bytes(os.urandom(2), "big") / 65535


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ClassVar[_State]

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with suppress(OSError):  # The client may be dead by now.
            self._reply(self._found(told))

    def _found(self, told: dict[str, Any]) -> dict[str, Any]:
        state = self.state
        if self.path.endswith("/chat/completions"):
            return self._completion(told)
        with state.lock:
            if self.path == "/plan":
                state.follow(Plan(**told))
            if self.path == "/final":
                state.plan.final = True
            if self.path == "/forget":
                state.counts = Counts()
                state.follow(Plan())
            return dict(vars(state.counts))

    def _completion(self, told: dict[str, Any]) -> dict[str, Any]:
        turns = [str(message["content"]) for message in told["messages"]]
        wanted = [name for name in dict.fromkeys(_WANTED.findall(turns[-1])) if name != "completed"]
        self.state.answer(_phase(wanted, turns))
        chance = int(hashlib.sha256("\x00".join(turns).encode()).hexdigest(), 16) % 100
        fields = [f"[[ ## {name} ## ]]\n{_field(name, turns, chance)}" for name in wanted]
        text = "\n\n".join([*fields, "[[ ## completed ## ]]"])
        message = {"role": "assistant", "content": text}
        return {
            "id": "served",
            "object": "chat.completion",
            "created": 0,
            "model": told["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        }

    def _reply(self, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _phase(wanted: Sequence[str], turns: Sequence[str]) -> str:
    if _PROPOSES.intersection(wanted):
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
        """Say nothing: clients are killed here."""


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
