"""Async programs and async metrics are compiled and judged like others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

TEST = """
import asyncio
import dspy
from pytest_mipro import mipro_optimize
from program import ROWS

DATASET = {"train": ROWS[:10], "val": ROWS[10:20], "test": ROWS[20:40]}

class Adder(dspy.Module):
    def __init__(self):
        super().__init__()
        self.check = dspy.Predict("question -> remark")
        self.add = dspy.Predict("question -> answer: int")

    async def aforward(self, question):
        parts = [self.check.acall(question=f"{question} [{part}]") for part in "ab"]
        await asyncio.gather(*parts)
        return await self.add.acall(question=question)

async def right(example, prediction, trace=None):
    await asyncio.sleep(0)
    return example.answer == prediction.answer

@mipro_optimize(
    program=Adder,
    metric=right,
    dataset=DATASET,
    auto=None,
    num_candidates=3,
    num_trials=2,
    minibatch=False,
)
def test_adder(mipro):
    assert mipro.compiled.score > 0
    assert mipro.no_regression(tolerance=0.9)
"""


def test_an_async_program_is_compiled_alike_at_any_parallelism(project: Project) -> None:
    """The artifact of a program that asks twice at once is the same at 1 and 8 threads."""
    project.write(test_adder=TEST)
    path = project.path / "__mipro__" / "test_adder" / "test_adder.program.json"
    states = []
    for threads in ("1", "8"):
        flags = ("--mipro-update", "--mipro-refresh", "--mipro-threads", threads)
        result = project.run("--mipro", *flags, "-W", "ignore::pytest_mipro.MiproWarning")
        result.assert_outcomes(passed=1)
        states.append(path.read_bytes())
    assert states[0] == states[1]
    assert b"What is" in states[0]  # It has demos.
