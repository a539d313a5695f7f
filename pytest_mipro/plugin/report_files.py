"""The files that a session's report is written to: checked first, replaced at the end."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.reference import write_whole

if TYPE_CHECKING:
    from pytest_mipro.report import Summary

SUFFIXES = (".html", ".md", ".json")


@dataclass(frozen=True)
class ReportFile:
    """One file that a report is written to, in the form that its suffix says."""

    path: Path

    @property
    def shown(self) -> str:
        """The path as somebody in the present folder would write it."""
        here = Path.cwd()
        inside = self.path.is_relative_to(here)
        return str(self.path.relative_to(here) if inside else self.path)

    def write(self, summary: Summary) -> None:
        """
        Write the report, and leave no half of one where that fails.

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


def targets_of(config: pytest.Config) -> tuple[ReportFile, ...]:
    """
    Return what the flags, or else the ini file, ask for; each can be written.

    Raises:
        pytest.UsageError: A path has another suffix, or cannot be written.

    """
    flags = config.getoption("mipro_report")
    source = "--mipro-report" if flags else "mipro_report"
    start = config.invocation_params.dir if flags else config.rootpath
    asked = flags or config.getini("mipro_report")
    found = {start / text: f"{source}={text!r}" for text in asked}
    for path, named in found.items():
        _check(path, named)
    return tuple(map(ReportFile, found))


def _check(path: Path, named: str) -> None:
    if path.suffix not in SUFFIXES:
        message = f"{named}: expected a file that ends in {', '.join(SUFFIXES)}"
        raise pytest.UsageError(message)
    if path.suffix == ".html":
        from pytest_mipro.errors import MiproError
        from pytest_mipro.report import require_html

        try:
            require_html()
        except MiproError as error:
            message = f"{named}: {error}"
            raise pytest.UsageError(message) from None
    try:
        _try(path)
    except OSError as error:
        message = f"{named}: cannot be written: {error}; choose another place"
        raise pytest.UsageError(message) from None


def _try(path: Path) -> None:
    """Do all but write the report; what cannot be done now cannot be done then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("ab"):
            return
    with tempfile.TemporaryFile(dir=path.parent):
        pass
