"""The code blocks of the README and of the documentation's pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = "README.md"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/*/README.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
)
"""The pages, by their paths in the repository."""
_FENCE = re.compile(
    r"^(?P<margin> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=margin)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: The path of its page.
        line: The line of the page on which it begins.
        language: The word beside its fence.
        text: What it holds.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str, pages: list[str] | None = None) -> list[Block]:
    """Return the blocks of some languages, of all by default."""
    return [
        block
        for page in (PAGES if pages is None else pages)
        for block in _of_page(page)
        if not languages or block.language in languages
    ]


def block(page: str, language: str, holds: str) -> str:
    """Return the text of the one block of a page that holds a text."""
    (code,) = [block.text for block in blocks(language, pages=[page]) if holds in block.text]
    return code


def _of_page(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            re.sub(f"^{match['margin']}", "", match["text"], flags=re.MULTILINE),
        )
        for match in _FENCE.finditer(text)
    ]
