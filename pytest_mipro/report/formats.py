"""The formats of report files, by the suffix that chooses one."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_mipro.report.html import render_html, require_html
from pytest_mipro.report.json_report import render_json
from pytest_mipro.report.markdown import render_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_mipro.report.summary import Summary


def _require_nothing() -> None:
    pass


@dataclass(frozen=True)
class ReportFormat:
    """How a report file is written.

    Attributes:
        render: Returns the text of the file.
        require: Raises ``DeclarationError`` if a library of the format is not installed.
    """

    render: Callable[[Summary], str]
    require: Callable[[], None] = _require_nothing


FORMATS: Mapping[str, ReportFormat] = MappingProxyType(
    {
        ".html": ReportFormat(render_html, require_html),
        ".md": ReportFormat(render_markdown),
        ".json": ReportFormat(render_json),
    }
)
"""The formats by suffix; another one is one more line and one more renderer."""
