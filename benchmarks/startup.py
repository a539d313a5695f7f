"""Measure how long sessions without work take: a warm session, and an idle one.

A warm session is ``pytest --mipro`` with all results in the store. It is
compared with the import of its dependencies: pytest, DSPy and SQLAlchemy. An
idle session is ``pytest`` without the flag, compared with a session without the
plugin. Runs alternate, so that the load of the machine affects both. README.md
beside this file explains the columns.

    python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import os
import subprocess  # ruff: ignore[suspicious-subprocess-import] - runs Python on files of its own
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from project import CONFTEST, PROGRAM, SUPPORT, TEST

from benchmarks.printing import Listed, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = {
    "session": 7,
    "bytecode": 0,
    "runs": 0,
    "ms": 6,
    "cpu ms": 6,
    "beside": 0,
    "beside cpu": 0,
    "ratio": 0,
    "cpu ratio": 0,
    "limit": 0,
}
LIMITS = {"warm": 1.4, "idle": 1.1}
"""The most times that a session may take, as multiples of its reference."""
FILES = {
    "warm/program.py": PROGRAM,
    "warm/conftest.py": CONFTEST,
    "warm/test_adder.py": TEST,
    "idle/test_nothing.py": "def test_nothing() -> None: ...\n",
}
_IMPORTS = ("-c", "import pytest, dspy, sqlalchemy")
_SETTINGS = ("GITHUB_", "PYTEST_", "PYTHON")
"""Prefixes of environment variables that change the figures."""


@dataclass
class Times:
    """Wall times and processor times of the runs of a command, in milliseconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter that runs in the projects.

    Attributes:
        folder: The folder of the projects, and of the files that runs write.
        bytecode: Whether it uses the bytecode of earlier runs.
    """

    folder: Path
    bytecode: bool

    def run(self, session: str, arguments: Sequence[str], times: Times) -> None:
        """Run it once in the project of ``session``, and add the duration to ``times``."""
        start_times, start = os.times(), time.perf_counter()
        subprocess.run(  # ruff: ignore[subprocess-without-shell-equals-true] - the same
            [sys.executable, *arguments],
            cwd=self.folder / session,
            env=self._env(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        end_times = os.times()
        times.wall.append(1000 * (time.perf_counter() - start))
        user = end_times.children_user - start_times.children_user
        system = end_times.children_system - start_times.children_system
        times.cpu.append(1000 * (user + system))

    def _env(self) -> dict[str, str]:
        return {
            **{name: text for name, text in os.environ.items() if not name.startswith(_SETTINGS)},
            "DSPY_CACHEDIR": str(self.folder / "dspy"),
            "PYTHONPATH": str(SUPPORT),
            **({} if self.bytecode else self._without_bytecode()),
        }

    def _without_bytecode(self) -> dict[str, str]:
        """Return variables that hide the bytecode beside the sources, and let none be written."""
        return {
            "PYTHONPYCACHEPREFIX": str(self.folder / "no-bytecode"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def pytest_with(*arguments: str) -> tuple[str, ...]:
    """Return the arguments that run pytest without the other installed plugins."""
    plugins = sorted({plugin.name for plugin in entry_points(group="pytest11")} - {"mipro"})
    blocked = [argument for name in plugins for argument in ("-p", f"no:{name}")]
    return ("-m", "pytest", "-p", "no:cacheprovider", *blocked, *arguments)


COMMANDS = {
    "warm": (pytest_with("--mipro"), _IMPORTS),
    "idle": (pytest_with(), pytest_with("-p", "no:mipro")),
}


def compare(python: Interpreter, session: str, runs: int) -> list[object]:
    """Return the row of a session: its times, and those of its reference."""
    session_times, reference_times = Times(), Times()
    # Compiles the program, and the bytecode, that of the reference too.
    python.run(session, COMMANDS[session][0], Times())
    log = python.folder / "warm" / "calls.log"
    calls = log.read_bytes() if log.exists() else b""
    for _ in range(runs):
        for command, times in zip(COMMANDS[session], (session_times, reference_times), strict=True):
            python.run(session, command, times)
    if calls != (log.read_bytes() if log.exists() else b""):
        sys.exit("the session asked a model: it is not warm")
    figures = [
        median(times)
        for measured in (session_times, reference_times)
        for times in (measured.wall, measured.cpu)
    ]
    return [
        *(session, "yes" if python.bytecode else "no", runs),
        *(f"{figure:.0f}" for figure in figures),
        f"{figures[0] / figures[2]:.2f}",
        f"{figures[1] / figures[3]:.2f}" if figures[3] else "",
        LIMITS[session],
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time sessions without work.")
    parser.add_argument("--quick", action="store_true", help="one run of each, with bytecode")
    parser.add_argument("--runs", type=int, default=15, help="of each command; default 15")
    parser.add_argument(
        "--bytecode", type=Listed(str, ["yes", "no"]), default=["yes", "no"], help="default yes,no"
    )
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.runs, arguments.bytecode = 1, ["yes"]
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    arguments = _arguments(argv)
    table = Table(COLUMNS)
    with TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for bytecode in arguments.bytecode:
            python = Interpreter(Path(folder), bytecode == "yes")
            for session in COMMANDS:
                table.row(compare(python, session, arguments.runs))


if __name__ == "__main__":
    main()
