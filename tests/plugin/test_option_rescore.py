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
