"""
The summary as one HTML file that needs nothing else, and no network.

Whatever a template shows goes through ``visible``: what a browser or a reader
would obey instead of see becomes an escape, and Jinja2 escapes the rest.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.report import charts
from pytest_mipro.report.escaping import visible
from pytest_mipro.report.formatting import PROGRAMS
from pytest_mipro.report.lengths import LIMITS
from pytest_mipro.report.page import Task, page
from pytest_mipro.report.size_estimate import sample, weigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jinja2 import Template
    from markupsafe import Markup

    from pytest_mipro.report.summary import Summary

MOST_BYTES = 5_000_000
"""No report is larger, whatever it is about."""

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
    "symbols": {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "ERROR": "!", "not judged": "-"},
    "programs": PROGRAMS,
    "filters": {
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
    """
    Check that an HTML report can be written, before there is anything to report.

    Raises:
        DeclarationError: What it needs is not installed.

    """
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        named = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        raise DeclarationError(_MISSING.format(missing=named))


def render_html(summary: Summary) -> str:
    """
    Return a page that shows a session, to be written as UTF-8.

    It has everything in it, asks nobody for anything, and takes at most
    ``MOST_BYTES``; what is left out for that, it says. The extra ``html`` has
    to be installed.

    Raises:
        DeclarationError: It is not.

    """
    require_html()
    template = _template()
    some = sample(summary)
    pictures = dict(_pictures(page(some, LIMITS[0]).tasks))
    room = MOST_BYTES - sum(map(_size, pictures.values()))
    fitting = (each for each in LIMITS[:-1] if weigh(some, summary, each) <= room)
    rendered = ""
    for limits in chain(fitting, LIMITS[-1:]):
        rendered = template.render(page=page(summary, limits), pictures=pictures).lstrip()
        if len(rendered.encode()) <= MOST_BYTES:
            break
    return rendered


def _pictures(tasks: Iterable[Task]) -> Iterator[tuple[str, dict[str, Markup]]]:
    """Yield the pictures of each task by its anchor, of the first tasks if there are many."""
    size = 0
    for task in islice((task for task in tasks if task.found), _MOST_PICTURED):
        drawn = _drawn(task)
        size += _size(drawn)
        if size > _MOST_PICTURE_BYTES:
            return
        yield task.anchor, drawn


def _drawn(task: Task) -> dict[str, Markup]:
    # ruff: ignore[import-outside-top-level]: an optional dependency
    from markupsafe import Markup

    drawn = {"scores": "", "search": ""}
    if task.found is not None:
        drawn["scores"] = charts.distribution(task.found.bars)
        if (found := task.found.search) and found.points:
            drawn["search"] = charts.search(found.points, found.baseline, found.rows)
    # ruff: ignore[unsafe-markup-use]: pictures are of numbers and our own words
    return {name: Markup(picture) for name, picture in drawn.items()}


def _size(drawn: dict[str, Markup]) -> int:
    return sum(map(len, drawn.values()))


@cache
def _template() -> Template:
    # ruff: ignore[import-outside-top-level]: an optional dependency
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # ruff: ignore[import-outside-top-level]: the same
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
    return environment.get_template("report.html.j2", globals={**_WORDS, **own})


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
