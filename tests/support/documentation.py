"""The code blocks of the README and of the documentation's pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
README = "README.md"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/*/README.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
)
"""The pages, by their paths in the repository."""
NAMED = {
    "first example": (README, "# test_routing.py"),
    "first row": (README, '{"ticket"'),
    "reason of a compile": ("docs/explanation/cache.md", "compiling: "),
    "reason in a red build": ("docs/how-to/red-build.md", "compiling: "),
    "verdict": ("docs/explanation/verdicts.md", "PASS: "),
    "seventh look": ("docs/explanation/verdicts.md", "7th look"),
    "metric with feedback": ("docs/explanation/search.md", "feedback=feedback"),
    "conftest of processes": ("docs/how-to/cluster.md", "def processes"),
    "conftest of a cluster": ("docs/how-to/cluster.md", '"tcp://SCHEDULER:8786"'),
    "conftest of a cluster for xdist": ("docs/how-to/cluster.md", "MIPRO_SCHEDULER"),
    "optimizer on an executor": ("docs/how-to/cluster.md", "executor=pool"),
    "judge": ("docs/how-to/metrics.md", "JUDGE"),
    "assert on costs": ("docs/how-to/metrics.md", "costs_no_more("),
    "file of a reference": ("docs/how-to/moving.md", '"versions"'),
    "verdicts after a move": ("docs/how-to/moving.md", "FAIL: model"),
    "table of a move": ("docs/how-to/moving.md", "reference, stored"),
    "two predictors": ("docs/how-to/programs.md", "class TownGuide"),
    "look inside": ("docs/how-to/programs.md", "def test_topics"),
    "assert on a reference": ("docs/how-to/references.md", "no_regression(tolerance"),
    "accepting command": ("docs/how-to/references.md", "--mipro-update"),
    "loading in production": ("docs/how-to/references.md", "router.load("),
    "sequential verdict": ("docs/how-to/sequential.md", "interim analysis 2 of 4"),
    "script without pytest": ("docs/how-to/without-pytest.md", "compiled.save"),
    "conftest with a model": ("docs/reference/fixtures.md", "def mipro_lm"),
    "owners of references": ("docs/security.md", "__mipro__"),
    "tutorial's rows": ("docs/tutorial.md", "# make_questions.py"),
    "tutorial's first row": ("docs/tutorial.md", '{"question": "Who'),
    "tutorial's test": ("docs/tutorial.md", "# test_kinds.py"),
    "tutorial's result": ("docs/tutorial.md", "PASS   "),
    "tutorial's change": ("docs/tutorial.md", "Tell what kind"),
    "tutorial's reason": ("docs/tutorial.md", "compiling: "),
}
"""The page of each block that a test of its own runs or compares, and a text that it holds."""
TEAMS = {"charged": "billing", "crashes": "technical", "quote": "sales"}
"""The answers of the model to the README's test, by a word in the ticket."""
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


def block(name: str) -> str:
    """Return the text of the block with a name in ``NAMED``."""
    page, held = NAMED[name]
    (code,) = [block.text for block in blocks(pages=[page]) if held in block.text]
    return code


def conftest(answers: Mapping[str, str]) -> str:
    """Return a ``conftest.py`` whose model gives one of some answers, by a word in the request."""
    return f"""
import pytest
from scripted import scripted_lm

@pytest.fixture(scope="session")
def mipro_lm():
    return scripted_lm(teams={answers!r}, base=20, per_demo=20)
"""


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
