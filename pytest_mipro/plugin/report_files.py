"""The files of a session's report: checked at the start, written at the end."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.reference import write_whole

if TYPE_CHECKING:
    from pytest_mipro.plugin.options import OptionValue
    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.report import Summary

SUFFIXES = (".html", ".md", ".json")


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
        """
        Write the report; if that fails, an earlier one stays as it is.

        Raises:
            OSError: The file cannot be written.

        """
        content = self._render(summary).encode()
        if self.path.exists() and not self.path.is_file():  # A pipe, say, cannot be replaced.
            self.path.write_bytes(content)
        else:
            write_whole(self.path, content)

    def _render(self, summary: Summary) -> str:
        if self.path.suffix == ".json":
            from pytest_mipro.report import render_json

            return render_json(summary)
        if self.path.suffix == ".md":
            from pytest_mipro.report import render_markdown

            return render_markdown(summary)
        from pytest_mipro.report import render_html

        return render_html(summary)


def report_files(settings: Settings) -> tuple[ReportFile, ...]:
    """
    Return the files that the user wants; all of them can be written.

    Raises:
        pytest.UsageError: A path has another suffix, or cannot be written.

    """
    values = {value.folder / value.text: value for value in settings.reports}
    for path, value in values.items():
        _check(path, value)
    return tuple(map(ReportFile, values))


def _check(path: Path, value: OptionValue) -> None:
    if path.suffix not in SUFFIXES:
        value.refuse(f"a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix == ".html":
        from pytest_mipro.errors import MiproError
        from pytest_mipro.report import require_html

        try:
            require_html()
        except MiproError as error:
            message = f"{value}: {error}"
            raise pytest.UsageError(message) from None
    try:
        _try_to_write(path)
    except OSError as error:
        message = f"{value}: cannot be written: {error}; choose another place"
        raise pytest.UsageError(message) from None


def _try_to_write(path: Path) -> None:
    """Do all but write the report, so that the session fails at its start, not at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("ab"):
            return
    with tempfile.TemporaryFile(dir=path.parent):
        pass
