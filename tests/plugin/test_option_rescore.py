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
        return {"engine": "unchanged"}

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("scripted", engine=Drifting(HERE / "calls.log"), cache=True)
"""


def test_drift_is_found(guarded: Project) -> None:
    """Only ``--mipro-rescore`` shows that a model under the same name got worse."""
    guarded.write(conftest=DRIFTING)
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    paid = guarded.calls
    rescored = guarded.run("--mipro", "--mipro-rescore")
    rescored.assert_outcomes(passed=1)
    rescored.stdout.fnmatch_lines(["test_adder *  48 * from the store"])
    assert guarded.calls == paid + 48
    (guarded.path / "drifted").touch()
    guarded.run("--mipro").assert_outcomes(passed=1)
    assert guarded.calls == paid + 48
    result = guarded.run("--mipro", "--mipro-rescore", "--mipro-frozen")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["no regression: FAIL: *; compiled 0.000, *", "test_adder *  48 * from the reference"]
    )
    # The store keeps the earlier answers.
    guarded.run("--mipro").stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])


def test_workers_rescore_once(compiled: Project) -> None:
    """Tests of one task in two processes share the new answers of a run."""
    test = (compiled.path / "test_adder.py").read_text()
    compiled.write(test_other=test.replace("test_adder", "test_other"))
    paid = compiled.calls
    for _ in range(2):  # The second run does not use the answers of the first.
        result = compiled.run("--mipro", "--mipro-rescore", "-n2")
        result.assert_outcomes(passed=2)
        paid += 48
        assert compiled.calls == paid
        lines = [line for line in result.outlines if line.startswith(("test_adder", "test_other"))]
        assert sorted(line.split()[8] for line in lines) == ["0", "48"]
