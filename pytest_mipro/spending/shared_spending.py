"""What the processes of one run tell each other of what they have spent."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 24
"""Characters of a number in a file that other processes read while it is written."""
_STARTS = (0, _WIDTH, 2 * _WIDTH)


class SharedSpending:
    """
    What other processes of the same run have spent; each tells it in a file of its own.

    Args:
        folder: Where the files are; all processes have the same.
        name: What this process is called among them.

    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = folder / f"{name}.spent"

    def tell(self, usage: Usage) -> None:
        """Let the others know what this process has spent."""
        text = "".join(f"{number:{_WIDTH}}" for number in (usage.calls, usage.priced, usage.usd))
        # Never empty in between, or a reader would take it for nothing.
        mode = "r+b" if self._own.exists() else "wb"
        with suppress(OSError), self._own.open(mode) as file:
            file.write(text.encode("ascii"))

    def spent(self) -> Usage:
        """Return what the others have spent."""
        return Usage.total(self.by_process().values())

    def by_process(self) -> dict[str, Usage]:
        """Return what each of the others has spent, by what it is called."""
        files = [each for each in self._folder.glob("*.spent") if each != self._own]
        return {each.stem: _read(each) for each in files}


def _read(file: Path) -> Usage:
    with suppress(OSError, ValueError):
        text = file.read_text(encoding="ascii")
        if len(text) == len(_STARTS) * _WIDTH:
            calls, priced, usd = (text[start : start + _WIDTH] for start in _STARTS)
            return Usage(int(calls), priced=int(priced), usd=float(usd))
    return Usage()
