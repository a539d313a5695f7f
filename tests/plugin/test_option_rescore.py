"""``--mipro-rescore`` answers the held-out examples again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

DRIFTING = """
import pathlib
import dspy
import pytest
from scripted import ScriptedEngine

HERE = pathlib.Path(__file__).parent

class Drifting(ScriptedEngine):
    def __init__(self, log):
        super().__init__(log)
        if (HERE / "drifted").exists():
            self._base, self._per_demo = 0, 0

    def dump_state(self):
        return {"what it says about itself": "nothing new"}

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("scripted", engine=Drifting(HERE / "calls.log"), cache=True)
"""


def test_drift_is_found(guarded: Project) -> None:
    """A model that changed under the same name fails against the reference, and only so."""
    guarded.write(conftest=DRIFTING)
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    paid = guarded.calls
    same = guarded.run("--mipro", "--mipro-rescore")
    same.assert_outcomes(passed=1)
    same.stdout.fnmatch_lines(["test_adder *  120 * from the store"])
    assert guarded.calls == paid + 120
    (guarded.path / "drifted").touch()
    guarded.run("--mipro").assert_outcomes(passed=1)
    assert guarded.calls == paid + 120
    result = guarded.run("--mipro", "--mipro-rescore", "--mipro-frozen")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["no regression: FAIL: compiled 0.000, *", "test_adder *  120 * from the reference"]
    )
    # What is stored is not what the model says today.
    guarded.run("--mipro").stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])


def test_workers_answer_again_once(project: Project) -> None:
    """Tests of one task in several processes hear the same, and it is paid for once."""
    test = (project.path / "test_adder.py").read_text()
    project.write(test_other=test.replace("test_adder", "test_other"))
    project.run("--mipro").assert_outcomes(passed=2)
    paid = project.calls
    for _ in range(2):  # What one run has asked again is not the next one's.
        result = project.run("--mipro", "--mipro-rescore", "-n2")
        result.assert_outcomes(passed=2)
        paid += 120
        assert project.calls == paid
        lines = [line for line in result.outlines if line.startswith(("test_adder", "test_other"))]
        assert sorted(line.split()[8] for line in lines) == ["0", "120"]
