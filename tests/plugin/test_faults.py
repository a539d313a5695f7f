"""Passing faults of a provider change no result, lasting faults are errors."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any

import faulty
import pytest
from project import LONGEST, PROGRAM, start_pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from forks import ForkServer

CONFTEST = """
import dspy
import pytest

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("openai/faulty", api_base="ADDRESS", api_key="x", cache=False)
"""

TEST = """
from pytest_mipro import mipro_optimize
from program import ROWS, Adder, right

@mipro_optimize(
    program=Adder,
    metric=right,
    dataset={"train": ROWS[:12], "val": ROWS[12:36], "test": ROWS[36:72]},
    auto=None,
    num_candidates=4,
    num_trials=8,
    minibatch=False,
)
def test_adder(mipro):
    assert mipro.compiled.score > 0
"""

THREADS = 8


@dataclass(frozen=True)
class StoreContent:
    """The rows and programs in a store."""

    rows: dict[str, str]
    programs: list[str]


class Site:
    """A folder with a test whose model is served by a faulty server."""

    def __init__(self, folder: Path, server: faulty.Server, fork_server: ForkServer | None) -> None:
        self.folder = folder
        self.server = server
        self._fork_server = fork_server
        (folder / "conftest.py").write_text(CONFTEST.replace("ADDRESS", server.address))
        (folder / "program.py").write_text(PROGRAM)
        (folder / "test_adder.py").write_text(TEST)

    def run(self, fault: faulty.Fault, *arguments: str) -> tuple[int, str]:
        """Run pytest while the server has ``fault``; return the exit status and the output."""
        self.server.reset(fault)
        options = ["-p", "no:cacheprovider", "--rootdir=.", "--mipro"]
        run = start_pytest(
            self._fork_server,
            *options,
            *("--mipro-threads", str(THREADS)),
            *arguments,
            cwd=self.folder,
            env={
                **os.environ,
                "DSPY_CACHEDIR": str(self.folder / "dspy-cache"),
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
        )
        output, _ = run.communicate(timeout=LONGEST)
        return run.wait(), output

    @property
    def stored(self) -> StoreContent:
        """The content of the store."""
        with closing(sqlite3.connect(self.folder / ".mipro" / "store.db")) as connection:
            rows = dict(connection.execute("SELECT key, json_remove(value, '$.seconds') FROM rows"))
            artifacts = list(starmap(json.loads, connection.execute("SELECT value FROM artifacts")))
        return StoreContent(rows, [json.dumps(artifact["state"]) for artifact in artifacts])


@dataclass(frozen=True)
class CompleteRun:
    """The results of a run without faults."""

    stored: StoreContent
    calls: int


@pytest.fixture(scope="module")
def server() -> Iterator[faulty.Server]:
    """Return a server without faults."""
    with faulty.Server.running() as faulty_server:
        yield faulty_server


@pytest.fixture(scope="module")
def complete(
    tmp_path_factory: pytest.TempPathFactory,
    server: faulty.Server,
    fork_server: ForkServer | None,
) -> CompleteRun:
    """Return the results of the test without faults."""
    site = Site(tmp_path_factory.mktemp("complete"), server, fork_server)
    status, output = site.run(faulty.none)
    assert status == 0, output
    return CompleteRun(site.stored, server.calls)


@pytest.fixture
def site(tmp_path: Path, server: faulty.Server, fork_server: ForkServer | None) -> Site:
    """Return a folder in which no test has run."""
    return Site(tmp_path, server, fork_server)


REFUSALS = faulty.sometimes(
    *[faulty.LIMITED] * 9,
    faulty.LIMITED_WITHOUT_HINT,
    *[faulty.BROKEN, faulty.UNAVAILABLE] * 5,
    percent=40,
)
BREAKS = faulty.sometimes(*[faulty.DROPPED, faulty.CUT, faulty.GARBAGE, faulty.HTML], percent=15)


@pytest.mark.parametrize("fault", [REFUSALS, BREAKS], ids=["429 and 5xx", "broken connections"])
def test_passing_faults_change_nothing(
    site: Site, complete: CompleteRun, fault: faulty.Fault
) -> None:
    """Program, rows and verdict equal those of a run without faults; only the calls are more."""
    status, output = site.run(fault)

    assert status == 0, output
    assert site.stored == complete.stored
    assert site.server.failed > 20
    assert site.server.calls == complete.calls + site.server.failed


LASTING = [(80, faulty.NO_QUOTA), (40, faulty.REVOKED), (35, faulty.NO_QUOTA)]
"""The answers of each run before its fault; the last fault hits the held-out rows."""


def test_lasting_faults_are_errors_and_the_next_run_continues(
    site: Site, complete: CompleteRun
) -> None:
    """The error shows the provider's message, and no wrong row is stored or paid for twice."""
    paid = 0
    for number, reply in LASTING:
        status, output = site.run(faulty.lasting(number, reply))

        assert status == pytest.ExitCode.TESTS_FAILED
        assert "ERROR at setup of test_adder" in output
        assert json.loads(reply.body)["error"]["message"] in output
        assert "this is no score" in output
        assert 0 < site.server.failed <= THREADS
        assert site.stored.rows.items() <= complete.stored.rows.items()
        assert site.stored.programs in ([], complete.stored.programs)
        paid += number

    assert site.stored.programs == complete.stored.programs

    status, output = site.run(faulty.none)

    assert status == 0, output
    assert site.stored == complete.stored
    assert site.server.calls == complete.calls - paid


def test_candidates_too_long_for_the_model_lose_the_search(site: Site) -> None:
    """A model with a small context fails rows of candidates with many demos, not the run."""
    status, output = site.run(lambda call: faulty.TOO_LONG if call.demos > 2 else None)

    assert status == 0, output
    assert site.server.failed > 0
    assert not any(json.loads(row)["failure"] for row in site.stored.rows.values())
    (program,) = site.stored.programs
    state: dict[str, Any] = json.loads(program)
    assert len(state["add"]["demos"]) <= 2


REPLIES = faulty.sometimes(
    *[faulty.NO_CHOICES, faulty.NO_CONTENT, faulty.NO_TEXT, faulty.ONLY_THOUGHTS, faulty.HANGING],
    percent=15,
)


def without_usage(rows: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the content of rows without what their calls took."""
    contents = {key: json.loads(row) for key, row in rows.items()}
    return {key: {**content, "usage": None, "spent": None} for key, content in contents.items()}


def test_replies_without_an_answer_change_nothing(site: Site, complete: CompleteRun) -> None:
    """Program and rows are those of a run in which every reply had one, but for their usage."""
    # On a busy machine, a call that would be answered may take longer than this, too.
    status, output = site.run(REPLIES, "--mipro-timeout", "1.5")

    assert status == 0, output
    assert site.stored.programs == complete.stored.programs
    assert without_usage(site.stored.rows) == without_usage(complete.stored.rows)
    assert site.server.failed > 10


def test_replies_that_were_cut_are_asked_for_again(site: Site) -> None:
    """The summary names them and what to change, and the next run lacks none."""
    status, output = site.run(faulty.sometimes(faulty.CUT_OFF, percent=40, most=100))
    assert status == 0, output
    assert "answers failed and score 0: " in " ".join(output.split())
    assert "cut at the token limit (raise max_tokens)" in " ".join(output.split())

    status, output = site.run(faulty.none)
    assert status == 0, output
    assert "failed and score 0" not in output
    assert site.server.calls > 0
