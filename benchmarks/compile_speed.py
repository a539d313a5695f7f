"""
How long a compile takes: ``pytest_mipro.MIPROv2`` beside ``dspy.MIPROv2``.

Both ask a chat-completions server on loopback with known latencies, in a
process of its own. The limit is what no optimizer that makes these calls can
beat: calls times mean latency, divided by the calls at a time. See README.md
beside this file for the columns.

    python benchmarks/compile_speed.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import dspy

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.chat_server import Counts, Server
from benchmarks.landscape import Landscape
from benchmarks.optimizers import (
    FEW,
    OPTIMIZERS,
    STUDENTS,
    VALSET,
    Work,
    examples,
    mute,
    true_score,
)
from benchmarks.printing import Listed, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = {
    "auto": 6,
    "predictors": 0,
    "threads": 0,
    "model": 12,
    "optimizer": 0,
    "calls": 6,
    "prompt calls": 0,
    "wall s": 7,
    "limit s": 0,
    "wall/limit": 0,
    "plain/limit": 0,
    "cpu s": 6,
    "server cpu s": 0,
    "held-out": 0,
    "dspy/ours": 0,
    "wall/dspy limit": 0,
}

MODEL = "gpt-4o-mini"
"""A name in DSPy's price list; DSPy searches all of the list for any other, at each call."""


@dataclass(frozen=True)
class Measured:
    """
    What a compile came to.

    Attributes:
        wall: Seconds it took.
        plain: How many times the limit threads take that run the program as
            often, and do nothing else.
        cpu: Seconds of processor time the client used.
        counts: What the server did for it.
        score: The true score of the program.

    """

    wall: float
    plain: float
    cpu: float
    counts: Counts
    score: float


def measure(work: Work, model: str, address: str, landscape: str) -> Measured:
    """Compile once, with everything loaded and connected beforehand."""
    server = Server(address)
    lm = dspy.LM(
        f"openai/{model}",
        api_base=f"{address}/{landscape}/v1",
        api_key="x",  # The client insists on one.
        timeout=60,
        engine="lm15",
    )
    work.rehearse()
    _connect(lm, work.threads)
    before, cpu, start = server.counts, time.process_time(), time.perf_counter()
    program = work.compile(lm)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    counts = server.counts.since(before)
    plain = _run_plainly(work, program, lm, server, counts.task // work.predictors)
    return Measured(wall, plain, cpu, counts, true_score(program, Landscape.named(landscape)))


def _run_plainly(work: Work, program: dspy.Module, lm: dspy.LM, server: Server, rows: int) -> float:
    """Return how many times the limit it takes to run ``program`` on so many new rows."""
    before, start = server.counts, time.perf_counter()
    with dspy.context(lm=lm), ThreadPoolExecutor(work.threads) as pool:
        # DSPy's settings belong to a context, and a context to one thread at a time.
        running = [
            pool.submit(copy_context().run, _run_once, program, example)
            for example in examples("plain", rows)
        ]
        for run in running:
            run.result()
    wall = time.perf_counter() - start
    return wall * work.threads / server.counts.since(before).waited


def _run_once(program: dspy.Module, example: dspy.Example) -> None:
    program(**example.inputs())


def _connect(lm: dspy.LM, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for answered in [pool.submit(lm, f"warm up {number}") for number in range(2 * threads)]:
            answered.result()


def _measure_apart(
    work: Work, model: str, address: str, asked: argparse.Namespace
) -> Measured | None:
    """Measure in a process of its own; return None if that takes longer than it may."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=mute) as pool:
        running = pool.apply_async(measure, (work, model, address, asked.landscape))
        try:
            measured = running.get(asked.timeout)
        except multiprocessing.TimeoutError:
            return None
        pool.close()
        pool.join()
    return measured


def _cells(
    work: Work, model: str, measured: Measured | None, rival: Measured | None
) -> list[object]:
    asked = [work.auto, work.predictors, work.threads, model, work.optimizer]
    if measured is None:
        return [*asked, "", "", "timeout", *[""] * 8]
    counts = measured.counts
    limit = counts.waited / work.threads
    return [
        *asked,
        *(counts.task + counts.prompt, counts.prompt),
        *(f"{measured.wall:.2f}", f"{limit:.2f}", f"{measured.wall / limit:.2f}"),
        f"{measured.plain:.2f}",
        *(f"{measured.cpu:.2f}", f"{counts.cpu:.2f}", f"{measured.score:.1f}"),
        *_beside(measured, rival, work.threads),
    ]


def _beside(measured: Measured, rival: Measured | None, threads: int) -> tuple[str, str]:
    if rival is None:
        return "", ""
    limit = rival.counts.waited / threads
    return f"{rival.wall / measured.wall:.2f}", f"{measured.wall / limit:.2f}"


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time both optimizers on a slow server.")
    parser.add_argument(
        "--quick", action="store_true", help="one small run of each, on a fast server"
    )
    parser.add_argument("--threads", type=Listed(int), default=[16, 64], help="default 16,64")
    parser.add_argument(
        "--predictors", type=Listed(int, list(STUDENTS)), default=[1, 2], help="default 1,2"
    )
    parser.add_argument(
        "--auto",
        type=Listed(str, list(VALSET)),
        default=["light", "medium"],
        help="default light,medium",
    )
    parser.add_argument(
        "--model",
        type=Listed(str),
        default=[MODEL],
        help=f"names of the model, in DSPy's price list or not; default {MODEL}",
    )
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--landscape", default="plain-0", help="SHAPE-NUMBER; default plain-0")
    parser.add_argument("--latency", type=float, default=0.2, help="mean seconds per call")
    parser.add_argument(
        "--only", type=Listed(str, OPTIMIZERS), default=list(OPTIMIZERS), help="dspy, or ours"
    )
    parser.add_argument("--timeout", type=float, default=900, help="most seconds per run")
    arguments = parser.parse_args(given)
    if arguments.quick:
        arguments.threads, arguments.predictors, arguments.auto = [16], [1], ["light"]
        arguments.latency = 0.01
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Measure every configuration and print the table."""
    asked = _arguments(given)
    table = Table(COLUMNS)
    with Server.running(asked.latency, str(asked.seed)) as server:
        for auto, predictors, threads, model in product(
            asked.auto, asked.predictors, asked.threads, asked.model
        ):
            rival, rows = None, FEW if asked.quick else VALSET[auto]
            for optimizer in sorted(asked.only):  # The rival first: its time is the yardstick.
                work = Work(optimizer, auto, predictors, asked.seed, threads, rows)
                measured = _measure_apart(work, model, server.address, asked)
                table.row(_cells(work, model, measured, rival))
                rival = measured


if __name__ == "__main__":
    main()
