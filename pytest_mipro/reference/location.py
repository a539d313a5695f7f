"""The location of a test's reference: beside the test file, under names that every system takes."""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "__mipro__"
PROGRAM_SUFFIX = ".program.json"
HISTORY_SUFFIX = ".history.json"
SCORES_SUFFIX = ".json"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.,=+@\[\]-]")
_LONGEST = 100
"""Characters of a name, so that with digest and suffix it fits into 255 bytes."""
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
"""Windows reads these names as devices, with any suffix."""


@dataclass(frozen=True)
class ReferenceLocation:
    """The location of one test's reference.

    Attributes:
        folder: The folder of the test's module in ``__mipro__``.
        name: The name of its files, without the suffix.
        test: The test's name in its module, with class and parameters.
        command: The command that accepts the present outcome.
        display_path: The folder's path in messages.
        revision: The commit of git that its files are read from; empty for the work tree.
        lm: The model that the end of the command names; empty if it names none.
    """

    folder: Path
    name: str
    test: str
    command: str
    display_path: str
    revision: str = ""
    lm: str = ""

    @classmethod
    def beside(
        cls, file: Path, names: Sequence[str], *, command: str, root: Path
    ) -> ReferenceLocation:
        """Return the location for a test.

        Args:
            file: The test file.
            names: The names of the test's classes, from the outside in, and its own.
            command: The command that accepts the present outcome.
            root: The folder that paths in messages are relative to.
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

    @property
    def history(self) -> Path:
        """The file with the anchor, the acceptances and the looks."""
        return self.folder / f"{self.name}{HISTORY_SUFFIX}"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the reference."""
        return self.scores, self.program, self.history

    @property
    def anchor_command(self) -> str:
        """The command that accepts the present outcome as the new anchor."""
        return f"{self.command} --mipro-new-anchor"

    def with_flags(self, flags: str, lm: str) -> ReferenceLocation:
        """Return the location with a command that has further flags, and one for a model."""
        return replace(self, command=f"{self.command}{flags}{_lm_flag(lm)}", lm=lm)

    def command_for(self, lm: str) -> str:
        """Return the command that accepts what a model gives; empty for that of the project."""
        return f"{self.command.removesuffix(_lm_flag(self.lm))}{_lm_flag(lm)}"

    def show(self, file: Path) -> str:
        """Return the path of a file in messages."""
        shown = f"{self.display_path}/{file.name}"
        return f"{self.revision}:{shown}" if self.revision else shown


def file_name(name: str) -> str:
    """Return ``name`` as the name of a file, without its suffix.

    Characters and names that a system could refuse or misread are replaced. A
    digest of the whole name then keeps different names apart.
    """
    name = unicodedata.normalize("NFC", name)
    plain = _UNSAFE.sub("_", name)[:_LONGEST]
    if not plain or plain.startswith(".") or plain.partition(".")[0].lower() in _DEVICES:
        plain = f"_{plain}"
    if plain == name and not name.endswith("."):
        return name
    return f"{plain}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _lm_flag(lm: str) -> str:
    return f" --mipro-lm {shlex.quote(lm)}" if lm else ""


def same_file(path: Path) -> str:
    """Return a text that is equal for two paths if some system has one file for both."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
