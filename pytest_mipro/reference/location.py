"""Where a test's reference is: beside the test file, under a name every system takes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "__mipro__"
PROGRAM_SUFFIX = ".program.json"
SCORES_SUFFIX = ".json"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.,=+@\[\]-]")
_LONGEST = 100
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
"""What Windows takes for a device, whatever follows the first dot."""


@dataclass(frozen=True)
class ReferenceLocation:
    """
    Where the reference of one test is.

    Attributes:
        folder: The folder of the test's module in ``__mipro__``.
        name: What its two files are called, up to the suffix.
        test: The test's name in its module, with class and parameters.
        command: The command that accepts the present outcome.
        shown: The folder as messages show it.

    """

    folder: Path
    name: str
    test: str
    command: str
    shown: str

    @classmethod
    def beside(
        cls, file: Path, names: Sequence[str], *, command: str, root: Path
    ) -> ReferenceLocation:
        """
        Return the place of a test.

        Args:
            file: The test file.
            names: The names of the test's classes, from the outside in, and its own.
            command: The command that accepts the present outcome.
            root: What messages show paths relative to.

        """
        folder = file.parent / FOLDER / file_name(file.stem)
        shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
        return cls(folder, file_name(".".join(names)), "::".join(names), command, shown.as_posix())

    @property
    def scores(self) -> Path:
        """The file with the fingerprint and the scores."""
        return self.folder / f"{self.name}{SCORES_SUFFIX}"

    @property
    def program(self) -> Path:
        """The file with the program's state, for ``program.load(path)``."""
        return self.folder / f"{self.name}{PROGRAM_SUFFIX}"

    def show(self, file: Path) -> str:
        """Return the path of one of the files as messages show it."""
        return f"{self.shown}/{file.name}"


def file_name(name: str) -> str:
    """
    Return ``name`` as the name of a file, without its suffix.

    What a system could refuse, or read as something else, is replaced; a
    digest of the whole name then keeps different names apart.
    """
    name = unicodedata.normalize("NFC", name)
    plain = _UNSAFE.sub("_", name)[:_LONGEST]
    if not plain or plain.startswith(".") or plain.partition(".")[0].lower() in _DEVICES:
        plain = f"_{plain}"
    if plain == name and not name.endswith("."):
        return name
    return f"{plain}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def same_file(path: Path) -> str:
    """Return what two paths have in common if some system takes them for one file."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
