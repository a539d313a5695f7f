"""Behind each sentence of the pages about security stand tests, or it promises nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "security.md", ROOT / "SECURITY.md")
TABLE = Path(__file__).with_name("security_promises.txt")
"""Each sentence on a line, with what stands behind it on the indented lines below it: the node
ids of tests, or why it needs none."""
NO_PROMISE = frozenset({"advice", "about others", "no protection", "introduction", "people"})


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a page, those of list items and of the cells of tables."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    blocks = re.split(r"\n\s*\n|\n(?=\s*- |\| )", text)
    lines = [" ".join(block.split()) for block in blocks if not block.startswith("#")]
    rows = [line for line in lines if not re.fullmatch(r"[|\s:-]*", line)]
    return [
        sentence
        for row in rows
        for sentence in re.split(r"(?:(?<=\.)|(?<=\.\*\*)) (?=[A-Z`\[])", row)
    ]


def table() -> dict[str, list[str]]:
    """Return what stands behind each sentence."""
    entries: dict[str, list[str]] = {}
    sentence = ""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            entries[sentence].append(line.strip())
        else:
            sentence = line
            entries[sentence] = []
    return entries


def names_of_tests(path: Path) -> set[str]:
    """Return the tests of a module, as the ends of their node ids."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names |= {f"{prefix}{item.name}" for item in members if isinstance(item, ast.FunctionDef)}
    return names


def test_each_sentence_is_in_the_table() -> None:
    """A promise that is new or changed needs a test, and one that is gone needs none."""
    sentences = [
        sentence for page in PAGES for sentence in sentences_of(page.read_text(encoding="utf-8"))
    ]
    assert list(table()) == sentences


@pytest.mark.parametrize("sentence, behind", table().items())
def test_what_stands_behind_a_sentence_exists(sentence: str, behind: list[str]) -> None:
    """It is a test, or the reason why the sentence promises nothing."""
    assert behind, f"no test holds: {sentence}"
    for entry in behind:
        file, _, name = entry.partition("::")
        assert entry in NO_PROMISE or name in names_of_tests(ROOT / file)
