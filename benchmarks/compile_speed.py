"""Measure how long a compile takes: ``pytest_mipro.MIPROv2`` and ``dspy.MIPROv2``.

Both ask a chat-completions server on loopback with known latencies, in a
process of its own. The limit is the least time of any optimizer that makes
these calls: calls times mean latency, divided by the number of parallel calls.
README.md beside this file explains the columns.

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
    "cpu/plain cpu": 0,
    "server cpu s": 0,
    "held-out": 0,
    "dspy/ours": 0,
    "wall/dspy limit": 0,
}

MODEL = "gpt-4o-mini"
"""A name in DSPy's price list; for other names, DSPy searches the whole list at each call."""


@dataclass(frozen=True)
class Measured:
    """The figures of a compile.

    Attributes:
        wall: Wall time in seconds.
        plain: Wall time, as a multiple of the limit, of threads that only run
            the program as often.
        cpu: Processor time of the client in seconds.
        share: Its processor time per call, as a multiple of that of these threads.
        counts: The counts of the server.
        score: The true score of the program.
    """

    wall: float
    plain: float
    cpu: float
    share: float
    counts: Counts
    score: float


def measure(work: Work, model: str, address: str, landscape: str) -> Measured:
    """Compile once, after loading all code and opening the connections."""
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
    counts, cpu, start = server.counts, time.process_time(), time.perf_counter()
    program = work.compile(lm)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    counts = server.counts.since(counts)
    rows = counts.task // work.predictors
    plain, plain_cpu = _run_plainly(work, program, lm, server, rows)
    share = cpu / (counts.task + counts.prompt) / plain_cpu
    score = true_score(program, Landscape.named(landscape))
    return Measured(wall, plain, cpu, share, counts, score)


def _run_plainly(
    work: Work, program: dspy.Module, lm: dspy.LM, server: Server, rows: int
) -> tuple[float, float]:
    """Run ``program`` on so many new rows.

    Returns:
        The wall time in limits, and the processor time per call.
    """
    counts, cpu, start = server.counts, time.process_time(), time.perf_counter()
    with dspy.context(lm=lm), ThreadPoolExecutor(work.threads) as pool:
        # DSPy's settings are those of a context, which only one thread at a time can enter.
        futures = [
            pool.submit(copy_context().run, _run_once, program, example)
            for example in examples("plain", rows)
        ]
        for future in futures:
            future.result()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    counts = server.counts.since(counts)
    return wall * work.threads / counts.waited, cpu / (counts.task + counts.prompt)


def _run_once(program: dspy.Module, example: dspy.Example) -> None:
    program(**example.inputs())


def _connect(lm: dspy.LM, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(lm, f"warm up {number}") for number in range(2 * threads)]:
            future.result()


def _measure_apart(
    work: Work, model: str, address: str, arguments: argparse.Namespace
) -> Measured | None:
    """Measure in a process of its own; return None after the timeout."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=mute) as pool:
        result = pool.apply_async(measure, (work, model, address, arguments.landscape))
        try:
            measured = result.get(arguments.timeout)
        except multiprocessing.TimeoutError:
            return None
        pool.close()
        pool.join()
    return measured


def _cells(
    work: Work, model: str, measured: Measured | None, reference: Measured | None
) -> list[object]:
    configuration = [work.auto, work.predictors, work.threads, model, work.optimizer]
    if measured is None:
        return [*configuration, "", "", "timeout", *[""] * 9]
    counts = measured.counts
    limit = counts.waited / work.threads
    return [
        *configuration,
        *(counts.task + counts.prompt, counts.prompt),
        *(f"{measured.wall:.2f}", f"{limit:.2f}", f"{measured.wall / limit:.2f}"),
        f"{measured.plain:.2f}",
        *(f"{measured.cpu:.2f}", f"{measured.share:.2f}"),
        *(f"{counts.cpu:.2f}", f"{measured.score:.1f}"),
        *_ratios(measured, reference, work.threads),
    ]


def _ratios(measured: Measured, reference: Measured | None, threads: int) -> tuple[str, str]:
    if reference is None:
        return "", ""
    limit = reference.counts.waited / threads
    return f"{reference.wall / measured.wall:.2f}", f"{measured.wall / limit:.2f}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
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
    parser.add_argument("--rounds", type=int, help="the option of ours; default is its own")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--landscape", default="plain-0", help="SHAPE-NUMBER; default plain-0")
    parser.add_argument("--latency", type=float, default=0.2, help="mean seconds per call")
    parser.add_argument(
        "--only", type=Listed(str, OPTIMIZERS), default=list(OPTIMIZERS), help="dspy, or ours"
    )
    parser.add_argument("--timeout", type=float, default=900, help="most seconds per run")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.threads, arguments.predictors, arguments.auto = [16], [1], ["light"]
        arguments.latency = 0.01
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every configuration and print the table."""
    arguments = _arguments(argv)
    table = Table(COLUMNS)
    with Server.running(arguments.latency, str(arguments.seed)) as server:
        for auto, predictors, threads, model in product(
            arguments.auto, arguments.predictors, arguments.threads, arguments.model
        ):
            reference, rows = None, FEW if arguments.quick else VALSET[auto]
            for optimizer in sorted(arguments.only):  # DSPy's first: ours is divided by its time.
                rounds = arguments.rounds if optimizer == "ours" else None
                work = Work(optimizer, auto, predictors, arguments.seed, threads, rows, rounds)
                measured = _measure_apart(work, model, server.address, arguments)
                table.row(_cells(work, model, measured, reference))
                reference = measured


if __name__ == "__main__":
    main()
