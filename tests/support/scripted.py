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
        chance = int(_digest([str(request.system), *turns]), 16) % 100
        answers = [self._field(name, turns, chance) for name in _wanted(turns[-1])]
        text = "\n\n".join([*answers, "[[ ## completed ## ]]"])
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

    def _field(self, name: str, turns: list[str], chance: int) -> str:
        demos = len(turns) // 2
        sums = _SUM.findall(turns[-1])
        right = chance < self._base + self._per_demo * demos
        value = f"text {chance}"
        if name == "team":
            answers = [answer for word, answer in self._known.items() if word in turns[-1]]
            others = [answer for answer in self._known.values() if answer not in answers]
            value = (answers if right else others)[0]
        elif sums and name != "proposed_instruction":
            total = sum(map(int, sums[-1]))
            value = str(total if right else total + 1)
        return f"[[ ## {name} ## ]]\n{value}"


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
