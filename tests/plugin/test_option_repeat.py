"""``--mipro-repeat`` and its twins: held-out examples answered several times."""

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
    asked = {}

    def complete(self, request):
        # Better every other time; one at a time, see the ini file.
        text = str([request.system, *[message.text for message in request.messages]])
        self.asked[text] = self.asked.get(text, 0) + 1
        self._base = 10 if self.asked[text] % 2 else 60
        return super().complete(request)

    def dump_state(self):
        return {"what it says about itself": "it samples"}

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

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder(mipro):
    said = {"repeat": mipro.task.repeat, "scores": mipro.compiled.scores, "n": mipro.comparison.n}
    pathlib.Path("said.json").write_text(json.dumps(said))
    mipro.beats_baseline()
"""

REGRESSION = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, repeat=3)
def test_adder(mipro):
    assert mipro.no_regression()
"""
ROWS = 2 * 60
"""Both programs on the held-out examples."""


@pytest.fixture
def sampled(project: Project) -> Project:
    """Write a project whose model answers differently when it is asked again."""
    project.write(conftest=SAMPLING.replace("TEMPERATURE", "0.7"), test_adder=TEST)
    (project.path / "pytest.ini").write_text("[pytest]\nmipro_threads = 1\n")
    return project


def said(project: Project) -> dict[str, Any]:
    """Return what the test found in its outcome."""
    found: dict[str, Any] = json.loads((project.path / "said.json").read_text())
    return found


def test_only_new_rollouts_are_asked(sampled: Project) -> None:
    """The first rollout is what is stored already, and no rollout is asked twice."""
    run = ("--mipro", "-v")
    sampled.run(*run).assert_outcomes(passed=1)
    paid, once = sampled.calls, said(sampled)
    result = sampled.run(*run, "--mipro-repeat", "3")
    assert sampled.calls == paid + 2 * ROWS
    result.stdout.fnmatch_lines(["*beats baseline: *, n = 60 x 3 rollouts; *"])
    thrice = said(sampled)
    assert (thrice["repeat"], thrice["n"]) == (3, 60)
    assert not set(thrice["scores"]) <= {0.0, 1.0}
    assert all(3 * score == pytest.approx(round(3 * score)) for score in thrice["scores"])
    first = zip(once["scores"], thrice["scores"], strict=True)
    assert all(abs(one - mean) <= 2 / 3 + 1e-9 for one, mean in first)
    sampled.run(*run, "--mipro-repeat", "2")
    sampled.run(*run)
    assert sampled.calls == paid + 2 * ROWS
    assert said(sampled) == once


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
    assert said(sampled)["repeat"] == repeat


def test_at_temperature_0_a_warning_says_that_it_is_of_no_use(sampled: Project) -> None:
    """Answers that are all the same are not paid for several times."""
    sampled.write(conftest=SAMPLING.replace("TEMPERATURE", "0.0"))
    result = sampled.run("--mipro", "--mipro-repeat", "3")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*MiproWarning: test_adder: repeat=3 is of no use at temp*"])
    assert said(sampled)["repeat"] == 1
