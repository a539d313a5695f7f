"""Render the summary as one HTML file that needs nothing else, and no network.

Each value that a template shows goes through ``visible``: characters that a
browser or a reader would obey instead of see become escapes. Jinja2 escapes
the rest.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.escaping import visible
from pytest_mipro.report import charts, html_filters
from pytest_mipro.report.formatting import PROGRAMS
from pytest_mipro.report.html_filters import Limits
from pytest_mipro.report.migrations import HEADINGS as MIGRATION_HEADINGS
from pytest_mipro.report.optimizers import HEADINGS as OPTIMIZER_HEADINGS
from pytest_mipro.report.summary import worst_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jinja2 import Template
    from markupsafe import Markup

    from pytest_mipro.records import Report
    from pytest_mipro.report.summary import Summary, TaskSummary

MOST_BYTES = 5_000_000
"""No report is larger, whatever its session."""
LIMITS = (
    Limits(1000, 20_000),
    Limits(1000, 4000),
    Limits(500, 2000),
    Limits(500, 1000),
    Limits(250, 1000),
    Limits(250, 500),
    Limits(100, 500),
    Limits(50, 500),
    Limits(25, 300),
    Limits(10, 200, tasks=500),
    Limits(5, 120, tasks=200),
    Limits(1, 40, tasks=50),
)
"""From as much as is worth reading to the least; a report has the first with which it fits."""

_MOST_PICTURED = 60
_MOST_PICTURE_BYTES = MOST_BYTES // 4
_TEMPLATES = Path(__file__).with_name("templates")
_PACKAGES = {"altair": "altair", "jinja2": "jinja2", "vl_convert": "vl-convert-python"}
_MISSING = """\
the HTML report cannot be written: {missing} not installed. Install what it needs:
    python -m pip install "pytest-mipro[html]\""""
_POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)
_WORDS = {
    "symbols": {"FAIL": "✗", "ERROR": "!", "INCONCLUSIVE": "?", "not judged": "-", "PASS": "✓"},
    "programs": PROGRAMS,
    "optimizer_headings": OPTIMIZER_HEADINGS,
    "migration_headings": MIGRATION_HEADINGS,
    "labels": {
        "all": "All",
        "worse": "Got worse",
        "better": "Got better",
        "failed": "Failed",
    },
    "arrows": {"worse": "▼", "better": "▲", "same": "=", "new": "*"},
    "order": {"worse": "1", "same": "2", "new": "3", "better": "4"},
    "kinds": {"-": "removed", "+": "added", " ": "kept"},
    "tags": {"-": "del", "+": "ins", " ": ""},
}


def require_html() -> None:
    """Check that an HTML report can be written, before there is anything to report.

    Raises:
        DeclarationError: A package of the extra ``html`` is not installed.
    """
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        packages = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        raise DeclarationError(_MISSING.format(missing=packages))


def render_html(summary: Summary) -> str:
    """Return a page that shows a session, to be written as UTF-8.

    It loads nothing and takes at most ``MOST_BYTES``; it says what is left out
    for that.

    Raises:
        DeclarationError: A package of the extra ``html`` is not installed.
    """
    require_html()
    template = _template()
    pictures = dict(_pictures(worst_first(summary.tasks)))
    page = ""
    for limits in LIMITS:
        pieces = template.generate(
            summary=summary, limits=limits, shortens=limits is not LIMITS[0], pictures=pictures
        )
        page = _joined(pieces, math.inf if limits is LIMITS[-1] else MOST_BYTES).lstrip()
        if page:
            break
    return page


def _joined(pieces: Iterable[str], most: float) -> str:
    """Return the pieces in one, or nothing as soon as they take more bytes than ``most``."""
    joined = []
    for piece in pieces:
        joined.append(piece)
        most -= len(piece.encode())
        if most < 0:
            return ""
    return "".join(joined)


def _pictures(tasks: Iterable[TaskSummary]) -> Iterator[tuple[str, dict[str, Markup]]]:
    """Yield the pictures of each task by its anchor; of the first tasks if there are many."""
    size = 0
    reports = ((number, task.report) for number, task in enumerate(tasks, 1) if task.report)
    for number, report in islice(reports, _MOST_PICTURED):
        pictures = _drawn(report)
        size += sum(map(len, pictures.values()))
        if size > _MOST_PICTURE_BYTES:
            return
        yield f"task-{number}", pictures


def _drawn(report: Report) -> dict[str, Markup]:
    from markupsafe import Markup

    drawn = {"scores": charts.score_chart(html_filters.score_counts(report)), "search": ""}
    if (search := report.search) and (points := html_filters.shown_trials(search)):
        drawn["search"] = charts.search_chart(points, search.baseline, search.rows)
    # ruff: ignore[unsafe-markup-use]: pictures are of numbers and our own words
    return {name: Markup(picture) for name, picture in drawn.items()}


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_read(f"report.{kind}") for kind in ("css", "js"))
    policy = _POLICY.format(style=_hash(style), script=_hash(script))
    # ruff: ignore[unsafe-markup-use]: both are files of this package
    own = {"style": Markup(style), "script": Markup(script), "policy": policy}
    environment.filters |= html_filters.FILTERS
    environment.globals |= {**_WORDS, **own}
    return environment.get_template("report.html.j2")


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
