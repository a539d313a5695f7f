"""Each file that the package reads is on the page about security, with who may have written it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_mipro"
PAGE = ROOT / "docs" / "security.md"

CALLS = frozenset(
    {
        *("open", "fdopen", "read_text", "read_bytes", "read_csv", "read_parquet", "iterdir"),
        *("create_engine", "connect", "import_module", "getsource", "getsourcelines", "getlines"),
        *("get_data", "Unpickler"),
    }
)
"""Functions and methods that open or read a file, or a database."""
READERS = {
    "the store, `.mipro/store.db` or a database": {
        "plugin/terminal_summary.py",
        "session/storage.py",
        "store/connections.py",
        "store/database.py",
        "store/files.py",
        "store/postgresql.py",
        "store/sqlite.py",
        "store/url.py",
    },
    "references, `__mipro__`": {"reference/files.py", "reference/history.py"},
    "datasets": {"task/row_files.py"},
    "code of the project": {
        "fingerprint/dependencies.py",
        "fingerprint/files_read.py",
        "fingerprint/packages.py",
        "fingerprint/imported_files.py",
        "optimize/mipro/propose.py",
        "plugin/unasserted.py",
    },
    "the folder that the workers of a run share": {
        "plugin/xdist.py",
        "spending/shared_spending.py",
    },
    "reports, and the summary of a GitHub job": {"plugin/report_files.py", "plugin/reports.py"},
    "what is installed: the package, the embedded model, metadata of others": {
        "fingerprint/packages.py",
        "fingerprint/releases.py",
        "models/local/engine.py",
        "models/local/server.py",
        "optimize/registry.py",
        "report/html.py",
    },
}
"""The modules that read each kind of file; the page says who may have written it."""
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "diskcache"}


def calls_of(path: Path) -> set[str]:
    """Return the names of the functions and methods that a module calls."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = [node.func for node in nodes if isinstance(node, ast.Call)]
    return {
        function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        for function in functions
    }


def imports_of(path: Path) -> set[str]:
    """Return the packages that a module imports."""
    packages = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add((node.module or "").partition(".")[0])
    return packages


def rows_of_the_page() -> dict[str, list[str]]:
    """Return who may have written each kind of file, and how it is checked."""
    section = PAGE.read_text(encoding="utf-8").partition("## What is read")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in rows[2:]}


def test_each_module_that_reads_is_on_the_list() -> None:
    """And each module on the list reads."""
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if calls_of(path) & CALLS
    }
    assert readers == set().union(*READERS.values())


def test_each_kind_of_file_is_on_the_page() -> None:
    """With who may have written it and how it is checked, each in words."""
    rows = rows_of_the_page()
    assert list(rows) == list(READERS)
    for cells in rows.values():
        assert len(cells) == 2
        assert all(len(cell) > 5 for cell in cells)


CHANNEL = {"evaluate/pickling.py", "evaluate/worker.py"}
"""What the driver sends to its own executor is pickled there, and unpickled by its workers."""


def test_nothing_else_unpickles() -> None:
    """A pickle runs the code of the person who has written it."""
    modules = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if imports_of(path) & PICKLES
    }
    assert modules == CHANNEL


def test_the_page_names_tests_that_exist() -> None:
    """Behind each promise stands one."""
    names = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert len(names) > 5
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_options_on_the_page_exist() -> None:
    """The page says nothing of a flag that was renamed."""
    from pytest_mipro.plugin.settings import options

    table = [option for _, option in options()]
    known_names = {"--mipro"} | {option.flag for option in table} | {option.key for option in table}
    text = PAGE.read_text(encoding="utf-8") + (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert set(re.findall(r"--mipro[\w-]*|\bmipro_[a-z]\w*", text)) <= known_names
