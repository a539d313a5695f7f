"""Each row of docs/reference/other-plugins.md is a test, and each such test has a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "other-plugins.md"
TESTS = ROOT / "tests" / "plugin"


def names_in(name: str) -> set[str]:
    """Return the tests of a module, as the page names them."""
    tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f"{name}::{function}" for function in functions if function.startswith("test_")}


def test_each_row_is_a_test() -> None:
    """The last cell of a row names it, and no test of these two modules is left out."""
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^\|.*\| `(test_\w+\.py::test_\w+)` \|$", text, re.MULTILINE)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(named) == len(set(named)) == len(rows) - 2 * text.count("| with |")
    beside = names_in("test_beside_pytest.py") | names_in("test_beside_plugins.py")
    assert beside <= set(named)
    assert set(named) - beside <= names_in("test_xdist.py")
