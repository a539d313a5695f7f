"""Executors for tests, and programs and engines whose counts are in files."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dspy
from scripted import AsyncScriptedEngine, ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from dspy import lm15


def process_pool() -> ProcessPoolExecutor:
    """Return a pool of two processes; its server has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest_mipro.evaluate.worker"])
    return ProcessPoolExecutor(
        2, mp_context=context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    )


@contextmanager
def running_pool() -> Generator[ProcessPoolExecutor]:
    """Yield a pool of two processes, and end them at once."""
    pool = process_pool()
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class LoggedEngine(ScriptedEngine):
    """Answers right, logs each call to a file, and raises an error at some calls.

    Args:
        log: The file.
        error: The error.
        failures: The number of calls that fail.
        first: The number of the first of them.
    """

    def __init__(
        self, log: Path, error: Exception | None = None, failures: int = 0, first: int = 1
    ) -> None:
        super().__init__(log, base=100)
        self.log = log
        self._error = error
        self._failing = range(first, first + failures)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``, or raise the error."""
        response = super().complete(request)
        if self._error is not None and calls_in(self.log) in self._failing:
            raise self._error
        return response


def logged_lm(
    log: Path,
    error: Exception | None = None,
    failures: int = 0,
    first: int = 1,
    *,
    cache: bool = False,
) -> dspy.LM:
    """Return a model on a ``LoggedEngine``."""
    engine = LoggedEngine(log, error, failures, first)
    return dspy.LM(
        "scripted",
        engine=engine,
        async_engine=AsyncScriptedEngine(engine),
        cache=cache,
        num_retries=0,
        temperature=0,
    )


def calls_in(log: Path) -> int:
    """Return the number of calls of all processes."""
    return len(log.read_text("ascii").splitlines()) if log.exists() else 0


class Killing(dspy.Module):
    """Kills its process on one question, as often as a file says.

    Args:
        folder: Gets a file per kill.
        question: The question.
        kills: The number of kills.
    """

    def __init__(self, folder: Path, question: str, kills: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.predict = dspy.Predict("question -> answer")
        self.folder = folder
        self.question = question
        self.kills = kills

    def forward(self, question: str) -> object:
        """Answer ``question``, or kill the process."""
        earlier = len(list(self.folder.glob("*.kill")))
        if question == self.question and earlier < self.kills:
            (self.folder / f"{earlier}.kill").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.predict(question=question)
