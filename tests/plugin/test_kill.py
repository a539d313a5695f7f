"""SIGKILL at any moment: nothing that was paid for and finished is paid for again."""

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
from paid import CALLS_PER_ROW, THREADS, artifact, environment, options, write
from project import LONGEST
from served import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from forks import ForkServer
    from project import Project

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL, no fork")

KILLS = 30
ATTEMPTS = 12
"""Stores at most; a run that survives all that was planned ends one."""
FEWER = 6
PHASES = {"bootstrap", "propose", "search", "final", "held out"}


@dataclass(frozen=True)
class Runs:
    """Runs of one project on one model, each in a process of its own."""

    project: Project
    model: Model
    server: ForkServer
    env: Mapping[str, str]

    def whole(self) -> tuple[bytes, int]:
        """Run without a kill; return the artifact and the number of calls."""
        assert self._run("whole") == 0
        return artifact(self.project, "whole"), self.model.counts.asked

    def until_done(self, store: str, plans: Iterator[Callable[[int], None]]) -> int:
        """Run with a new store, with one plan after the other, until one run survives."""
        self.model.forget()
        for kills in count():
            if self._run(store, next(plans)) == 0:
                return kills
        raise AssertionError

    def _run(self, store: str, plan: Callable[[int], None] = lambda _: None) -> int:
        """Run with the store of that name to the end, or to the kill that is planned."""
        run = self.server.start(options(store), cwd=self.project.path, env=self.env, prepare=plan)
        output, _ = run.communicate(LONGEST)
        assert run.returncode in {0, -signal.SIGKILL}, output
        return run.returncode

    def at(self, request: int, phase: str = "") -> Callable[[int], None]:
        """Plan a kill soon after a request; those of one phase count, or all."""
        return lambda group: self.model.plan(kill=group, after=request, phase=phase)


@pytest.fixture
def runs(
    project: Project, request: pytest.FixtureRequest, fork_server: ForkServer
) -> Iterator[Runs]:
    """Prepare a project, with or without DSPy's own cache of responses."""
    write(project)
    with Model.running(pause=0.02) as model:
        env = environment(model, cached=getattr(request, "param", False))
        yield Runs(project, model, fork_server, env)


def plans(runs: Runs, dice: random.Random, kills: int) -> Iterator[Callable[[int], None]]:
    """Yield plans for so many kills anywhere, beginning in the shortest phases; then none."""
    yield runs.at(3, "bootstrap")
    yield runs.at(2, "propose")
    for _ in range(kills - 2):
        yield runs.at(dice.randint(1, 24))
    yield runs.at(2, "final")
    yield runs.at(5, "held out")
    while True:
        yield lambda _: runs.model.plan()


def test_a_killed_compile_goes_on_where_it_was(runs: Runs) -> None:
    """Killed 30 times, in every phase: the same artifact, and only running rows are paid again."""
    expected, calls = runs.whole()
    dice = random.Random(0)
    killed: Counter[str] = Counter()
    for attempt in range(ATTEMPTS):
        store = f"killed{attempt}"
        kills = runs.until_done(store, plans(runs, dice, KILLS - killed.total()))
        killed.update(runs.model.counts.killed)
        assert artifact(runs.project, store) == expected
        # A row is stored as a whole: its first calls are lost with the last.
        assert runs.model.counts.asked - calls <= kills * THREADS * CALLS_PER_ROW
        # A kill among the held-out rows leaves none for the phase before them in this store.
        if killed.total() >= KILLS and set(killed) == PHASES:
            break
    assert killed.total() >= KILLS
    assert set(killed) == PHASES


@pytest.mark.parametrize("runs", [True], indirect=True)
def test_with_cached_responses_a_kill_costs_running_calls_alone(runs: Runs) -> None:
    """DSPy keeps the responses of unfinished rows."""
    expected, calls = runs.whole()
    (runs.project.path / ".mipro" / "lm").rename(runs.project.path / "away")
    kills = runs.until_done("killed", plans(runs, random.Random(1), FEWER))
    assert kills >= FEWER
    assert artifact(runs.project, "killed") == expected
    assert 0 < runs.model.counts.asked - calls <= kills * THREADS


def test_a_kill_at_any_time_breaks_nothing(runs: Runs) -> None:
    """Whatever is being started, read or written then, the next run goes on."""
    expected, calls = runs.whole()
    dice = random.Random(2)

    def later(group: int) -> None:
        threading.Timer(dice.uniform(0.2, 2.0), end, [group]).start()

    def soon() -> Iterator[Callable[[int], None]]:
        yield from [later] * FEWER
        while True:
            yield lambda _: None

    kills = runs.until_done("killed", soon())
    assert artifact(runs.project, "killed") == expected
    assert runs.model.counts.asked - calls <= kills * THREADS * CALLS_PER_ROW


def end(group: int) -> None:
    """Kill a process group, unless it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
