"""
Runs pytest in forks of a process that has loaded everything, so that a start takes no second.

Each line of its standard input holds the arguments of a run, as JSON. It
prints the number of the new process, which leads a process group and waits for
another line, then its exit status; a signal's is negative.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path


class Zygote:
    """The process, seen from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *arguments: str, before: Callable[[int], None] = lambda _: None) -> int:
        """
        Run pytest and return its exit status.

        Args:
            arguments: What pytest is given.
            before: Told the number of the process before that does anything.

        """
        before(int(self._ask(json.dumps(arguments))))
        return int(self._ask("go"))

    def _ask(self, line: str) -> str:
        process = self._process
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process.stdout.readline()

    @classmethod
    @contextmanager
    def running(cls, folder: Path, env: Mapping[str, str]) -> Generator[Zygote]:
        """Start the process in ``folder``; what pytest prints goes to ``pytest.log`` there."""
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=folder, env=dict(env), text=True, stdin=pipe, stdout=pipe
        ) as process:
            yield cls(process)


def _main() -> None:
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            _run(json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(arguments: list[str]) -> NoReturn:
    os.setsid()
    sys.stdin.readline()
    log = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import pytest

    status = int(pytest.main(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    import pytest_mipro.plugin.running  # ruff: ignore[unused-import]

    _main()
