"""Complete the Markdown of the site: tables from the code, pages from elsewhere, a text for models.

A page that says ``<!-- generated: options -->`` has the table in that place. A page that says
``<!-- page: ../examples/question_type/README.md -->`` is that file. Links of all pages lead to the
files of the repository, so that they work on GitHub; here, those that leave the folder ``docs``
lead to the page with that file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import site_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
MARKER = re.compile(r"^<!-- (?P<kind>generated|page): (?P<name>\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
PARAGRAPH = re.compile(r"(?<=\n\n)(?!```)[\w`\[][^\n]*(?:\n[^\n]+)*")
"""A paragraph of prose: no heading, list, table, picture or block of code."""
SECTIONS = {
    "": "Start here",
    "how-to": "How to",
    "reference": "Reference",
    "explanation": "Explanation",
    "examples": "Examples",
}
SUMMARY = """# pytest-mipro

> A pytest plugin that treats a prompt as something that can regress: a test declares a DSPy
> program, a metric and a dataset; `pytest --mipro` compiles the program with MIPROv2, scores it
> before and after on held-out examples, and plain asserts decide the merge.

Each page is here as Markdown, too.
"""


class DeadLink(ValueError):
    """A link of a page leads to no file."""


def markdown(docname: str) -> str:
    """Return the text of a page, complete."""
    path = DOCS / f"{docname}.md"
    text = path.read_text(encoding="utf-8")
    page = MARKER.search(text)
    if page is not None and page["kind"] == "page":
        path = (path.parent / page["name"]).resolve()
        text = path.read_text(encoding="utf-8")
    return _linked(MARKER.sub(_generated, text), path)


def pages_elsewhere() -> dict[Path, str]:
    """Return the name of the page of each file outside of the folder that has one."""
    pages: dict[Path, str] = {}
    for page in DOCS.rglob("*.md"):
        marker = MARKER.search(page.read_text(encoding="utf-8"))
        if marker is not None and marker["kind"] == "page":
            pages[(page.parent / marker["name"]).resolve()] = docname_of(page)
    return pages


def docname_of(page: Path) -> str:
    """Return the name by which Sphinx knows a page."""
    return page.relative_to(DOCS).with_suffix("").as_posix()


def _generated(marker: re.Match[str]) -> str:
    return site_tables.TABLES[marker["name"]]()


def _linked(text: str, path: Path) -> str:
    """Return the text of a file with links that work on the site.

    Raises:
        DeadLink: One leads to no file.
    """
    elsewhere = pages_elsewhere()

    def link(match: re.Match[str]) -> str:
        target, hash_sign, anchor = match["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        file = (path.parent / target).resolve()
        if not file.exists():
            message = f"{path.relative_to(ROOT)} links to {target}, which does not exist"
            raise DeadLink(message)
        if file in elsewhere:
            return f"[{match['text']}](/{elsewhere[file]}.md{hash_sign}{anchor})"
        if file.is_relative_to(DOCS):
            address = f"/{file.relative_to(DOCS).as_posix()}{hash_sign}{anchor}"
            return f"{match['picture']}[{match['text']}]({address})"
        return match["text"]  # a file that has no page

    return LINK.sub(link, text)


def _complete(_app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = markdown(docname)


def _write_texts(app: Sphinx, exception: Exception | None) -> None:
    """Write ``llms.txt``, and beside each page its Markdown."""
    if exception is not None or app.builder.name != "html":
        return
    docnames = sorted(app.env.found_docs)
    for docname in docnames:
        file = Path(app.outdir) / f"{docname}.md"
        file.write_text(markdown(docname), encoding="utf-8")
    (Path(app.outdir) / "llms.txt").write_text(llms_text(docnames), encoding="utf-8")


def llms_text(docnames: list[str]) -> str:
    """Return the table of contents for language models, in the form of llmstxt.org."""
    return "\n".join([SUMMARY, *_sections(docnames)])


def _sections(docnames: list[str]) -> Iterator[str]:
    for folder, title in SECTIONS.items():
        names = [name for name in docnames if name.rpartition("/")[0] == folder and name != "index"]
        yield f"## {title}\n"
        yield from map(_entry, names)
        yield ""


def _entry(docname: str) -> str:
    text = markdown(docname)
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    if title is None:
        message = f"{docname}.md has no title"
        raise ValueError(message)
    first = PARAGRAPH.search(text, title.end())
    words = (
        "" if first is None else " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", first[0]).split())
    )
    sentence = re.split(r"(?<=[.:]) ", words, maxsplit=1)[0]
    # What stands behind a colon is not in the list.
    return f"- [{title[1]}]({docname}.md): {sentence.rstrip('.:')}."


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions with Sphinx."""
    app.connect("source-read", _complete)
    app.connect("build-finished", _write_texts)
    return {"parallel_read_safe": True}
