"""Share the spending of the processes of one run through files."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 24
"""Characters per number: a fixed width, because other processes read during a write."""
_STARTS = (0, _WIDTH, 2 * _WIDTH)


class SharedSpending:
    """Writes the spending of this process to a file, and reads the files of the other processes.

    Args:
        folder: The folder of the files, the same in all processes.
        name: The name of this process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own_file = folder / f"{name}.spent"

    def write(self, usage: Usage) -> None:
        """Write the total usage of this process."""
        text = "".join(f"{number:{_WIDTH}}" for number in (usage.calls, usage.priced, usage.usd))
        # Mode "wb" would empty the file first, and a reader could take that for no spending.
        mode = "r+b" if self._own_file.exists() else "wb"
        with suppress(OSError), self._own_file.open(mode) as file:
            file.write(text.encode("ascii"))

    def read(self) -> Usage:
        """Return the total usage of the other processes."""
        return Usage.total(self.by_process().values())

    def by_process(self) -> dict[str, Usage]:
        """Return the usage of each other process, by its name."""
        files = [file for file in self._folder.glob("*.spent") if file != self._own_file]
        return {file.stem: _read(file) for file in files}


def _read(file: Path) -> Usage:
    """Return the usage in ``file``; a file that cannot be read counts as no usage."""
    with suppress(OSError, ValueError):
        text = file.read_text(encoding="ascii")
        if len(text) == len(_STARTS) * _WIDTH:
            calls, priced, usd = (text[start : start + _WIDTH] for start in _STARTS)
            return Usage(int(calls), priced=int(priced), usd=float(usd))
    return Usage()
