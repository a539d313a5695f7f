"""After SIGKILL at any moment, the next run repeats no finished call."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import pytest
from paid import CALLS_PER_ROW, RANDOM_SEARCH, THREADS, artifact, environment, options, write
from project import LONGEST
from served import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from forks import ForkServer
    from paid import CompleteRun
    from project import Project

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL, no fork")

KILLS = 15
ATTEMPTS = 12
"""Stores at most; a run that survives its plans is the last one with its store."""
FEW_KILLS = 6
PHASES = {"bootstrap", "propose", "search", "final", "held out"}


@dataclass(frozen=True)
class Runs:
    """Runs of one project on one model, each in a process of its own."""

    project: Project
    model: Model
    server: ForkServer
    env: Mapping[str, str]

    def complete(self) -> tuple[bytes, int]:
        """Run without a kill; return the artifact and the number of calls."""
        assert self._run("complete") == 0
        return artifact(self.project, "complete"), self.model.counts.requests

    def until_done(self, store: str, plans: Iterator[Callable[[int], None]]) -> int:
        """Run with a new store and one plan each until a run survives; return the kills."""
        self.model.forget()
        for kills in count():
            if self._run(store, next(plans)) == 0:
                return kills
        raise AssertionError

    def _run(self, store: str, plan: Callable[[int], None] = lambda _: None) -> int:
        """Run with the store of that name until its end or the planned kill."""
        run = self.server.start(options(store), cwd=self.project.path, env=self.env, prepare=plan)
        output, _ = run.communicate(LONGEST)
        assert run.returncode in {0, -signal.SIGKILL}, output
        return run.returncode

    def at(self, request: int, phase: str = "") -> Callable[[int], None]:
        """Plan a kill soon after the request of that number, in one phase or in all."""
        return lambda group: self.model.plan(kill=group, at=request, phase=phase)


@pytest.fixture
def runs(
    project: Project, request: pytest.FixtureRequest, fork_server: ForkServer
) -> Iterator[Runs]:
    """Prepare a project, with or without DSPy's response cache."""
    write(project)
    with Model.running(pause=0.02) as model:
        env = environment(model, cached=getattr(request, "param", False))
        yield Runs(project, model, fork_server, env)


def plans(runs: Runs, dice: random.Random, kills: int) -> Iterator[Callable[[int], None]]:
    """Yield plans for ``kills`` kills, the first in the shortest phases, then plans for none."""
    yield runs.at(3, "bootstrap")
    yield runs.at(2, "propose")
    for _ in range(kills - 2):
        yield runs.at(dice.randint(1, 24))
    yield runs.at(2, "final")
    yield runs.at(5, "held out")
    while True:
        yield lambda _: runs.model.plan()


def test_a_killed_compile_continues(runs: Runs, complete_run: CompleteRun) -> None:
    """15 kills, in every phase, leave the artifact the same and repeat only running rows."""
    dice = random.Random(0)
    killed: Counter[str] = Counter()
    for attempt in range(ATTEMPTS):
        store = f"killed{attempt}"
        kills = runs.until_done(store, plans(runs, dice, KILLS - killed.total()))
        killed.update(runs.model.counts.killed)
        assert artifact(runs.project, store) == complete_run.artifact
        # A row is stored as a whole: its first calls are lost with the last.
        repeated = runs.model.counts.requests - complete_run.calls
        assert repeated <= kills * THREADS * CALLS_PER_ROW
        # A kill among the held-out rows leaves none for the phase before them in this store.
        if killed.total() >= KILLS and set(killed) == PHASES:
            break
    assert killed.total() >= KILLS
    assert set(killed) == PHASES


@pytest.mark.parametrize("runs", [True], indirect=True)
def test_with_cached_responses_a_kill_costs_only_running_calls(runs: Runs) -> None:
    """The store has the responses of unfinished rows, but for those of the last moment."""
    expected, calls = runs.complete()
    kills = runs.until_done("killed", plans(runs, random.Random(1), FEW_KILLS))
    assert kills >= FEW_KILLS
    assert artifact(runs.project, "killed") == expected
    # Each thread has a call under way, and may have had one that ended just before.
    assert 0 < runs.model.counts.requests - calls <= kills * 2 * THREADS


@pytest.mark.parametrize("runs", [True], indirect=True)
def test_an_optimizer_of_dspy_continues_from_stored_responses(runs: Runs) -> None:
    """Its program is the same after kills, which cost only the calls that were running."""
    write(runs.project, optimizer=RANDOM_SEARCH)
    expected, calls = runs.complete()
    kills = runs.until_done("killed", iter([runs.at(9), runs.at(20), lambda _: runs.model.plan()]))
    assert kills == 2
    assert artifact(runs.project, "killed") == expected
    assert 0 <= runs.model.counts.requests - calls <= kills * 2 * THREADS


def test_the_run_after_a_kill_at_any_time_continues(runs: Runs, complete_run: CompleteRun) -> None:
    """A kill during start-up, reading or writing leaves a usable store."""
    dice = random.Random(2)

    def kill_later(group: int) -> None:
        threading.Timer(dice.uniform(0.2, 2.0), kill_group, [group]).start()

    def timed_plans() -> Iterator[Callable[[int], None]]:
        yield from [kill_later] * FEW_KILLS
        while True:
            yield lambda _: None

    kills = runs.until_done("killed", timed_plans())
    assert artifact(runs.project, "killed") == complete_run.artifact
    repeated = runs.model.counts.requests - complete_run.calls
    assert repeated <= kills * THREADS * CALLS_PER_ROW


def kill_group(group: int) -> None:
    """Kill a process group, unless it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
