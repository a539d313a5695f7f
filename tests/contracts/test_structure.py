"""The package is built as CONTRIBUTING says, and stays easy to take in."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from statistics import quantiles

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_mipro"
NAME = "pytest_mipro"

LONGEST_CHAIN = 10
"""Modules that one import may load one after the other, the first and the last included."""
LONGEST_FILE = 450
"""Lines of a module."""
LONGEST_FUNCTION = 15
"""Lines that nine of ten functions have at most, without their docstrings."""


def name_of(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """Return the room of a module; a module beside the rooms is one of its own."""
    return (*module.split("."), "")[1]


def is_for_types(node: ast.AST) -> bool:
    """Whether a statement is for type checkers alone."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imported_at_once(node: ast.AST) -> set[str]:
    """Return the modules of the package that are loaded when a module is."""
    modules: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if is_for_types(child) or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith(NAME):
            modules |= modules_of(child)
        modules |= imported_at_once(child)
    return modules - {NAME}


def modules_of(node: ast.ImportFrom) -> set[str]:
    """Return the modules that an import statement names."""
    names = (f"{node.module}.{alias.name}" for alias in node.names)
    return {name if name in MODULES else str(node.module) for name in names}


@cache
def longest_chain(module: str) -> tuple[str, ...]:
    """Return the longest sequence of modules that import one another, from ``module`` on."""
    chains = map(longest_chain, sorted(imported_at_once(tree_of(MODULES[module])) - {module}))
    return (module, *max(chains, key=len, default=()))


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has, without its docstring."""
    first = function.body[0]
    lines = (function.end_lineno or 0) - function.lineno + 1
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return lines - ((first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0)


def test_import_chains_are_short() -> None:
    """A newcomer who follows imports from any module comes to an end soon."""
    chain = max(map(longest_chain, MODULES), key=len)
    assert len(chain) <= LONGEST_CHAIN, " > ".join(chain)


def test_files_are_short() -> None:
    """A module is one concept."""
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()
    }
    assert {name: count for name, count in lengths.items() if count > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    """Nine of ten fit in a glance."""
    lengths = [
        lines_of(node)
        for path in MODULES.values()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert quantiles(lengths, n=10)[-1] <= LONGEST_FUNCTION


@pytest.mark.parametrize("module", MODULES)
def test_other_rooms_are_entered_by_their_faces(module: str) -> None:
    """What a room offers is in its ``__init__``; no other room knows its modules."""
    statements = [
        node
        for node in ast.walk(tree_of(MODULES[module]))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{NAME}.")
    ]
    inner = {
        name
        for node in statements
        for name in modules_of(node)
        if room_of(name) in ROOMS - {room_of(module)} and name.count(".") > 1
    }
    assert inner == set()


@pytest.mark.uses("lazy-loader")
@pytest.mark.parametrize("room", sorted({NAME} | {f"{NAME}.{room}" for room in ROOMS}))
def test_faces_offer_their_names(room: str) -> None:
    """Each name that a face has for type checkers can be loaded from it."""
    face = importlib.import_module(room)
    assert [name for name in dir(face) if getattr(face, name, None) is None] == []


def test_contributing_names_the_rooms() -> None:
    """Its table has each folder and each module beside them, and nothing else."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+(?:/|\.py))` \|", text, re.MULTILINE))
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert documented == {f"{room}/" for room in ROOMS} | modules


def test_unit_tests_mirror_the_package() -> None:
    """A test of a module stands where the module stands."""
    unit = ROOT / "tests" / "unit"
    strays = [
        path.relative_to(unit).as_posix()
        for path in unit.rglob("test_*.py")
        if not mirrored(path.relative_to(unit)).exists()
    ]
    assert strays == []


def mirrored(test: Path) -> Path:
    """Return the module that a test file is about."""
    return PACKAGE / test.parent / test.name.removeprefix("test_")
