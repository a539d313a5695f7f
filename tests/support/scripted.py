"""A language model for tests, without a network, whose answers are deterministic.

It solves "a + b" with a probability that grows with the demos in the request; a
hash of the request decides. It writes instructions, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import dspy
from dspy import lm15

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_SUM = re.compile(r"(\d+) \+ (\d+)")


class ScriptedEngine:
    """Answers in the format of DSPy's ChatAdapter.

    Args:
        log: A file that gets a line per call, for counting across processes.
        base: The percentage of right sums without demos.
        per_demo: The percentage that a demo adds.
        latency: The most seconds of a call; the seconds of a call are random.
        teams: The answer for the field ``team`` or ``kind`` by a word in the request.
    """

    supports_response_schema = False
    supported_params: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens"})

    def __init__(
        self,
        log: Path | None = None,
        base: int = 30,
        per_demo: int = 12,
        latency: float = 0.0,
        teams: Mapping[str, str] | None = None,
    ) -> None:
        self.calls = 0
        self.credit = math.inf
        self._log = log
        self._base = base
        self._per_demo = per_demo
        self._latency = latency
        self._teams = teams or {}
        self._lock = threading.Lock()

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``, unless the credit is used up."""
        self._count()
        if self.calls > self.credit:
            message = "no credit left"
            raise dspy.LMBillingError(message)
        if self._latency:
            time.sleep(self._latency * int.from_bytes(os.urandom(2), "big") / 65535)
        turns = [message.text or "" for message in request.messages]
        text = reply_to([str(request.system), *turns], self._base, self._per_demo, self._teams)
        return lm15.Response(
            id="scripted",
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )

    def dump_state(self) -> dict[str, int]:
        """Return the settings that decide the answers, for the keys."""
        return {"base": self._base, "per_demo": self._per_demo}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def _count(self) -> None:
        with self._lock:
            self.calls += 1
            if self._log is not None:
                with self._log.open("a", encoding="ascii") as log:
                    log.write("call\n")


class HeldEngine:
    """Answers as the engine that it holds.

    The keys of a task follow all code of an engine, which would take longer than some compiles.
    """

    supports_response_schema = False
    supported_params: ClassVar[frozenset[str]] = ScriptedEngine.supported_params

    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    @property
    def calls(self) -> int:
        """How many calls the engine has had."""
        return self._engine.calls

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request`` as the engine does."""
        return self._engine.complete(request)

    def dump_state(self) -> dict[str, int]:
        """Return the settings of the engine."""
        return self._engine.dump_state()


class AsyncScriptedEngine:
    """The counterpart of an engine for programs that await their calls."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request`` as the engine does, after as long as a hash of it decides."""
        await asyncio.sleep(int(_digest([str(request)])[:2], 16) / 1e5)
        return self._engine.complete(request)

    def dump_state(self) -> dict[str, int]:
        """Return the settings of the engine."""
        return self._engine.dump_state()


_LABELS = frozenset({"team", "kind"})
"""The fields that are answered with a label."""
_AGENT = {"next_tool_name": "finish", "next_tool_args": "{}"}
"""The fields with which an agent finishes."""


def reply_to(
    texts: list[str], base: int = 30, per_demo: int = 12, teams: Mapping[str, str] | None = None
) -> str:
    """Return the answer to a system message and the turns that follow; see ``ScriptedEngine``."""
    _, *turns = texts
    chance = int(_digest(texts), 16) % 100
    right = chance < base + per_demo * (len(turns) // 2)
    answers = [
        f"[[ ## {name} ## ]]\n{_value(name, turns[-1], chance, right=right, teams=teams or {})}"
        for name in _field_names(turns[-1])
    ]
    return "\n\n".join([*answers, "[[ ## completed ## ]]"])


def _value(name: str, turn: str, chance: int, *, right: bool, teams: Mapping[str, str]) -> str:
    sums = _SUM.findall(turn)
    if name in _AGENT:
        return _AGENT[name]
    if name in _LABELS:
        answers = [team for word, team in teams.items() if word in turn]
        wrong_answers = [team for team in teams.values() if team not in answers]
        return (answers if right else wrong_answers)[0]
    if sums and name != "proposed_instruction":
        total = sum(map(int, sums[-1]))
        return str(total if right else total + 1)
    return f"text {chance}"


def scripted_lm(
    log: Path | None = None,
    base: int = 30,
    per_demo: int = 12,
    latency: float = 0.0,
    teams: Mapping[str, str] | None = None,
    *,
    cache: bool = False,
    temperature: float | None = 0,
) -> dspy.LM:
    """Return a ``dspy.LM`` on a new engine; ``lm._engine_spec`` counts its calls."""
    engine = ScriptedEngine(log, base, per_demo, latency, teams)
    return dspy.LM(
        "scripted",
        engine=HeldEngine(engine),
        async_engine=AsyncScriptedEngine(engine),
        cache=cache,
        temperature=temperature,
    )


def _field_names(turn: str) -> list[str]:
    names = list(dict.fromkeys(_FIELD.findall(turn)))
    return [name for name in names if name != "completed"]


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()
