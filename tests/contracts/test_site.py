"""The documentation site, which ``tox run -e docs`` builds, is whole and asks nobody for anything.

The variable ``MIPRO_SITE`` names the folder of the built site.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
SITE = Path(os.environ.get("MIPRO_SITE", ""))
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
LINKED = frozenset({"stylesheet", "icon", "shortcut icon", "preload", "prefetch", "modulepreload"})

pytestmark = pytest.mark.skipif(
    not os.environ.get("MIPRO_SITE"), reason="`tox run -e docs` builds the site"
)


class Page(HTMLParser):
    """An HTML page of the site: its anchors, its links, and what it loads.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors.update(filter(None, (attributes.get("id"), attributes.get("name"))))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag in LOADED and LOADED[tag] in attributes:
            self.loaded.append(attributes[LOADED[tag]])
        if tag == "link" and attributes.get("rel") in LINKED:
            self.loaded.append(attributes["href"])

    @cached_property
    def name(self) -> str:
        """The path within the site."""
        return self.path.relative_to(SITE).as_posix()


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    """Read all pages of the built site."""
    files = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
    assert len(files) > 20
    return {path.resolve(): Page(path) for path in files}


def is_foreign(address: str) -> bool:
    """Whether an address is of another host."""
    return bool(urlsplit(address).netloc)


def test_no_page_asks_a_third_party(pages: dict[Path, Page]) -> None:
    """Scripts, styles, fonts and pictures are files of the site."""
    foreign = [f"{page.name}: {url}" for page in pages.values() for url in page.loaded]
    assert [line for line in foreign if is_foreign(line.partition(": ")[2])] == []


def test_no_style_or_script_asks_a_third_party() -> None:
    """No stylesheet loads a font or an import of another host, and no script of ours is foreign."""
    requests = [
        f"{style.name}: {match}"
        for style in SITE.rglob("*.css")
        for match in re.findall(
            r"(?:url\(|@import\s+)[\"']?(https?:[^)\"'\s]+|//[^)\"'\s]+)",
            style.read_text(encoding="utf-8"),
        )
    ]
    assert requests == []


def test_each_internal_link_leads_to_a_file_and_an_anchor(pages: dict[Path, Page]) -> None:
    """Sphinx checks what MyST links to; this checks the finished pages."""
    dead = []
    for page in pages.values():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (page.path.parent / unquote(url.path)).resolve() if url.path else page.path
            target = target.resolve()
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (url.fragment and unquote(url.fragment) not in anchors):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_the_text_for_models_lists_every_page() -> None:
    """``llms.txt`` names each page once, with its first sentence, and the file is there."""
    text = (SITE / "llms.txt").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[.+?\]\((.+?)\): \S", text, re.MULTILINE)
    sources = {
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    } - {"index.md"}
    assert text.startswith("# pytest-mipro\n\n> ")
    assert sorted(listed) == sorted(sources)
    assert not re.search(r":\.?$", text, re.MULTILINE)  # A sentence that announces more.
    for name in listed:
        assert not re.search(r"^<!-- ", (SITE / name).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_reference_has_each_option_argument_fixture_and_hook() -> None:
    """Whatever the code declares is on the built pages."""
    from pytest_mipro import plugin
    from pytest_mipro.plugin import hookspecs
    from pytest_mipro.plugin.declaration import NAMES
    from pytest_mipro.plugin.settings import options
    from pytest_mipro.report.json_report import schema

    def text(name: str) -> str:
        return (SITE / "reference" / f"{name}.html").read_text(encoding="utf-8")

    flags = [option.flag for _, option in options() if option.has_flag]
    ini_options = [option.key for _, option in options() if option.has_ini]
    fixtures = [name for name in plugin.__all__ if name.startswith("mipro")]
    hooks = [name for name in vars(hookspecs) if name.startswith("pytest_mipro_")]
    for page, names in {
        "options": ["--mipro", *flags, *ini_options],
        "declaration": NAMES,
        "fixtures": fixtures,
        "hooks": hooks,
        "report": schema()["$defs"],
    }.items():
        assert [name for name in names if name not in text(page)] == [], page
