"""A user's project, run by pytest in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SUPPORT = Path(__file__).parent
OPTIONS = "-W 'ignore:40 validation examples hardly'"
"""Its examples are few, which is no matter here."""

PROGRAM = '''
import dspy

class Adder(dspy.Module):
    """Adds two numbers."""

    def __init__(self):
        super().__init__()
        self.add = dspy.Predict("question -> answer: int")

    def forward(self, question):
        return self.add(question=question)

def right(example, prediction, trace=None):
    return example.answer == prediction.answer

ROWS = [
    dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3).with_inputs("question")
    for i in range(120)
]
DATASET = {"train": ROWS[:20], "val": ROWS[20:60], "test": ROWS[60:]}
'''

CONFTEST = """
import pathlib
import pytest
from scripted import scripted_lm

@pytest.fixture(scope="session")
def mipro_lm():
    return scripted_lm(pathlib.Path(__file__).parent / "calls.log")
"""

TEST = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder(mipro):
    assert mipro.beats_baseline()
"""


@dataclass(frozen=True)
class Project:
    """A folder with a program, a conftest that gives a scripted model, and a test."""

    pytester: pytest.Pytester

    @property
    def path(self) -> Path:
        """The folder."""
        return self.pytester.path

    @property
    def calls(self) -> int:
        """How often the model has been asked, over all runs."""
        log = self.path / "calls.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def write(self, **files: str) -> None:
        """Write Python files by module name."""
        self.pytester.makepyfile(**files)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest on the project in a process of its own."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)
