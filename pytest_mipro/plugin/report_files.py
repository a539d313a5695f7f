"""The files of a session's report: checked at the start, written at the end."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.plugin.safe_text import safe_text
from pytest_mipro.reference import write_whole

if TYPE_CHECKING:
    from pytest_mipro.plugin.options import OptionValue
    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.report import Summary


@dataclass(frozen=True)
class ReportFile:
    """One file of the report, in the format of its suffix."""

    path: Path

    @property
    def name(self) -> str:
        """The path, relative to the working directory if it is below."""
        folder = Path.cwd()
        is_inside = self.path.is_relative_to(folder)
        return str(self.path.relative_to(folder) if is_inside else self.path)

    def write(self, summary: Summary) -> None:
        """Write the report; if that fails, an earlier one stays as it is.

        Raises:
            OSError: The file cannot be written.
        """
        content = self._render(summary).encode()
        if self.path.exists() and not self.path.is_file():  # A pipe, say, cannot be replaced.
            self.path.write_bytes(content)
        else:
            write_whole(self.path, content)

    def _render(self, summary: Summary) -> str:
        from pytest_mipro.report import FORMATS

        return FORMATS[self.path.suffix].render(summary)


def report_files(settings: Settings) -> tuple[ReportFile, ...]:
    """Return the files that the user wants; all of them can be written.

    Raises:
        pytest.UsageError: A path has another suffix, or cannot be written.
    """
    values = {value.folder / value.text: value for value in settings.reports}
    for path, value in values.items():
        _check(path, value)
    return tuple(map(ReportFile, values))


def _check(path: Path, value: OptionValue) -> None:
    from pytest_mipro.errors import MiproError
    from pytest_mipro.report import FORMATS

    if path.suffix not in FORMATS:
        value.refuse(f"a file that ends in {', '.join(FORMATS)}")
    try:
        FORMATS[path.suffix].require()
    except MiproError as error:
        message = f"{value}: {error}"
        raise pytest.UsageError(safe_text(message)) from None
    try:
        _try_to_write(path)
    except OSError as error:
        message = f"{value}: cannot be written: {error}; choose another place"
        raise pytest.UsageError(safe_text(message)) from None


def _try_to_write(path: Path) -> None:
    """Do all but write the report, so that the session fails at its start, not at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("ab"):
            return
    with tempfile.TemporaryFile(dir=path.parent):
        pass
