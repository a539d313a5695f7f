"""
A language model for tests: no network, the same answer to the same request.

It solves "a + b" with a chance that grows with the demos it is shown, decided
by a hash of the request, and writes instructions when asked to.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, ClassVar

import dspy
from dspy import lm15

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WANTED = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_SUM = re.compile(r"(\d+) \+ (\d+)")


class ScriptedEngine:
    """
    Answers in the format of DSPy's ChatAdapter.

    Args:
        log: A file that gets a line per call, for counting across processes.
        base: Percentage of sums it gets right without demos.
        per_demo: What each demo adds to it.
        latency: Seconds a call takes at most; how long each takes is random.
        known: Words in a request that have another answer than a sum.

    """

    supports_response_schema = False
    supported_params: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens"})

    def __init__(
        self,
        log: Path | None = None,
        base: int = 30,
        per_demo: int = 12,
        latency: float = 0.0,
        known: Mapping[str, str] | None = None,
    ) -> None:
        self.calls = 0
        self._log = log
        self._base = base
        self._per_demo = per_demo
        self._latency = latency
        self._known = known or {}
        self._lock = threading.Lock()

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        self._count()
        if self._latency:
            time.sleep(self._latency * int.from_bytes(os.urandom(2), "big") / 65535)
        turns = [message.text or "" for message in request.messages]
        text = reply_to([str(request.system), *turns], self._base, self._per_demo, self._known)
        return lm15.Response(
            id="scripted",
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )

    def dump_state(self) -> dict[str, int]:
        """Say what decides the answers; it goes into the keys."""
        return {"base": self._base, "per_demo": self._per_demo}

    def _count(self) -> None:
        with self._lock:
            self.calls += 1
            if self._log is not None:
                with self._log.open("a", encoding="ascii") as log:
                    log.write("call\n")


_AGENT = {"next_tool_name": "finish", "next_tool_args": "{}"}
"""What an agent does next: nothing more."""


def reply_to(
    texts: list[str], base: int = 30, per_demo: int = 12, known: Mapping[str, str] | None = None
) -> str:
    """Return the answer to a system message and the turns after it; see ``ScriptedEngine``."""
    _, *turns = texts
    chance = int(_digest(texts), 16) % 100
    right = chance < base + per_demo * (len(turns) // 2)
    answers = [
        f"[[ ## {name} ## ]]\n{_value(name, turns[-1], chance, right=right, known=known or {})}"
        for name in _wanted(turns[-1])
    ]
    return "\n\n".join([*answers, "[[ ## completed ## ]]"])


def _value(name: str, turn: str, chance: int, *, right: bool, known: Mapping[str, str]) -> str:
    sums = _SUM.findall(turn)
    if name in _AGENT:
        return _AGENT[name]
    if name == "team":
        answers = [answer for word, answer in known.items() if word in turn]
        others = [answer for answer in known.values() if answer not in answers]
        return (answers if right else others)[0]
    if sums and name != "proposed_instruction":
        total = sum(map(int, sums[-1]))
        return str(total if right else total + 1)
    return f"text {chance}"


def scripted_lm(
    log: Path | None = None,
    base: int = 30,
    per_demo: int = 12,
    latency: float = 0.0,
    known: Mapping[str, str] | None = None,
    *,
    cache: bool = False,
) -> dspy.LM:
    """Return a ``dspy.LM`` on a new engine; ``lm._engine_spec`` counts its calls."""
    engine = ScriptedEngine(log, base, per_demo, latency, known)
    return dspy.LM("scripted", engine=engine, cache=cache)


def _wanted(turn: str) -> list[str]:
    names = list(dict.fromkeys(_WANTED.findall(turn)))
    return [name for name in names if name != "completed"]


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()
