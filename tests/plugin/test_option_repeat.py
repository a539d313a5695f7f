"""``--mipro-repeat``, ``mipro_repeat`` and ``repeat=`` set the answers per held-out example."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from project import Project

SAMPLING = """
import pathlib
import dspy
import pytest
from scripted import ScriptedEngine

HERE = pathlib.Path(__file__).parent

class Sampling(ScriptedEngine):
    requests = {}

    def complete(self, request):
        # Every second answer is better; mipro_threads is 1.
        text = str([request.system, *[message.text for message in request.messages]])
        self.requests[text] = self.requests.get(text, 0) + 1
        self._base = 10 if self.requests[text] % 2 else 60
        return super().complete(request)

    def dump_state(self):
        return {"engine": "sampling"}

@pytest.fixture(scope="session")
def mipro_lm():
    engine = Sampling(HERE / "calls.log")
    return dspy.LM("scripted", engine=engine, cache=True, temperature=TEMPERATURE)
"""

TEST = """
import json
import pathlib
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

FEW_DEMOS = {"optimizer": "labeled", "optimizer_options": {"k": 4}}

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **FEW_DEMOS)
def test_adder(mipro):
    results = {"repeat": mipro.task.repeat, "scores": mipro.compiled.scores}
    results["n"] = mipro.comparison.n
    pathlib.Path("results.json").write_text(json.dumps(results))
    shown = mipro.beats_baseline()
"""

REGRESSION = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH, repeat=3)
def test_adder(mipro):
    assert mipro.no_regression()
"""
ROWS = 2 * 24
"""The rows of both programs on the held-out examples."""


@pytest.fixture
def sampled(project: Project) -> Project:
    """Write a project whose model gives another answer the second time."""
    project.write(conftest=SAMPLING.replace("TEMPERATURE", "0.7"), test_adder=TEST)
    (project.path / "pytest.ini").write_text("[pytest]\nmipro_threads = 1\n")
    return project


def results(project: Project) -> dict[str, Any]:
    """Return the results that the test wrote."""
    data: dict[str, Any] = json.loads((project.path / "results.json").read_text())
    return data


def test_only_new_rollouts_cost_calls(sampled: Project) -> None:
    """The stored rows are the first rollout, and no rollout is answered twice."""
    flags = ("--mipro", "-v")
    sampled.run(*flags).assert_outcomes(passed=1)
    paid, single = sampled.calls, results(sampled)
    result = sampled.run(*flags, "--mipro-repeat", "3")
    assert sampled.calls == paid + 2 * ROWS
    result.stdout.fnmatch_lines(["*beats baseline: *, n = 24 x 3 rollouts; *"])
    triple = results(sampled)
    assert (triple["repeat"], triple["n"]) == (3, 24)
    assert not set(triple["scores"]) <= {0.0, 1.0}
    assert all(3 * score == pytest.approx(round(3 * score)) for score in triple["scores"])
    pairs = zip(single["scores"], triple["scores"], strict=True)
    assert all(abs(score - mean) <= 2 / 3 + 1e-9 for score, mean in pairs)
    sampled.run(*flags, "--mipro-repeat", "2")
    sampled.run(*flags)
    assert sampled.calls == paid + 2 * ROWS
    assert results(sampled) == single


@pytest.mark.parametrize(
    "declared, arguments, repeat",
    [
        ("", ["-o", "mipro_repeat=2"], 2),
        (", repeat=3", ["-o", "mipro_repeat=2"], 3),
        (", repeat=3", ["-o", "mipro_repeat=2", "--mipro-repeat", "1"], 1),
    ],
)
def test_flag_before_marker_before_ini(
    sampled: Project, declared: str, arguments: list[str], repeat: int
) -> None:
    """The number of rollouts is the flag's, else the marker's, else the ini file's."""
    sampled.write(test_adder=TEST.replace("dataset=DATASET", f"dataset=DATASET{declared}"))
    sampled.run("--mipro", *arguments)
    assert results(sampled)["repeat"] == repeat


def test_at_temperature_0_a_warning_replaces_the_repetitions(sampled: Project) -> None:
    """Each example is answered once, because all answers would be the same."""
    sampled.write(conftest=SAMPLING.replace("TEMPERATURE", "0.0"))
    result = sampled.run("--mipro", "--mipro-repeat", "3")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*MiproWarning: test_adder: repeat=3 is of no use at temp*"])
    assert results(sampled)["repeat"] == 1
