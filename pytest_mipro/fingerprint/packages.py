"""The installed packages whose code is the user's: of a local folder, under test, or declared."""

from __future__ import annotations

import ast
import csv
import inspect
import json
import os
import re
import sysconfig
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mipro.fingerprint.syntax import dotted_name, parsed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_LIBRARIES = frozenset({"dspy", "pytest_mipro"})
"""Packages that a key has the version of."""
_TABLES = {
    "pyproject.toml": ("[project]", "[tool.poetry]"),
    "setup.cfg": ("[metadata]",),
}
"""Files that name the distribution that is built of a folder, and their tables with its name."""
_TABLE = re.compile(r"\[.*\]\s*(#.*)?")
_NAME = re.compile(r"name\s*=\s*[\"']?([\w.-]+)")


_names: set[str] = set()
"""The names of the distributions that are built of the folders with the tests."""
_folders: set[Path] = set()


def package_of(value: object) -> str:
    """Return the folder or file of the package that defines ``value`` or its type, or nothing."""
    while isinstance(value, partial):
        value = value.func
    code = value if inspect.isroutine(value) or isinstance(value, type) else type(value)
    module = inspect.getmodule(code)
    file = getattr(module, "__file__", None)
    is_library = module is None or module.__name__.partition(".")[0] in _LIBRARIES
    return "" if file is None or is_library else _package(Path(file))


def add_project_under_test(file: Path) -> None:
    """Let what is built of a folder that has ``file`` count as the user's, however installed.

    A repository may have several projects. The names of the distributions are read from the files
    that tools build them by; nothing in these is executed.
    """
    for folder in file.parents:
        if folder in _folders:
            return
        _folders.add(folder)
        if name := _name_of_project(folder):
            _names.add(normalized(name))
            local_packages.cache_clear()
        if (folder / ".git").exists():
            return


def forget_projects_under_test() -> None:
    """Let nothing count as the user's by its name any more."""
    _names.clear()
    _folders.clear()
    local_packages.cache_clear()


def _name_of_project(folder: Path) -> str:
    names = (_name_in_table(_text(folder / file), tables) for file, tables in _TABLES.items())
    return next(filter(None, names), "") or _name_in_setup(_text(folder / "setup.py"))


def _name_in_table(text: str, tables: Collection[str]) -> str:
    table = ""
    for line in text.splitlines():
        if _TABLE.fullmatch(line):
            table = line.partition("#")[0].strip()
        elif table in tables and (match := _NAME.match(line)):
            return match[1]
    return ""


def _name_in_setup(text: str) -> str:
    """Return the ``name`` that ``setup.py`` gives to ``setup``, literally or by a constant."""
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError):
        return ""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    keywords = (
        keyword.value
        for call in calls
        if dotted_name(call.func).rpartition(".")[2] == "setup"
        for keyword in call.keywords
        if keyword.arg == "name"
    )
    values = (constants.get(dotted_name(value), value) for value in keywords)
    names = (value.value for value in values if isinstance(value, ast.Constant))
    return next((name for name in names if isinstance(name, str)), "")


def is_local_path(path: str) -> bool:
    """Whether a file is one of ``local_packages``."""
    return path.startswith(local_packages())


def normalized(name: str) -> str:
    """Return the name of a distribution as all spellings of it have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=1)  # the packages of a process do not change
def local_packages() -> tuple[str, ...]:
    """Return the folders and files of the packages that the user builds.

    They are those that were installed from this machine, of which an installer records the
    address in ``direct_url.json``, a folder or a wheel in it; and that of the project under test.
    """
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    distributions = [
        path
        for folder in folders
        for pattern in ("*.dist-info", "*.egg-info")
        for path in Path(folder).glob(pattern)
    ]
    own = filter(_is_own, distributions)
    return tuple(sorted({package for metadata in own for package in _installed(metadata)}))


def _is_own(metadata: Path) -> bool:
    name = normalized(metadata.name.partition("-")[0])
    return name in _names or _is_local(metadata / "direct_url.json")


def origin_in(text: str) -> dict[str, Any]:
    """Return what a ``direct_url.json`` says; of a damaged one nothing, as if there were none."""
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_local(file: Path) -> bool:
    content = origin_in(_text(file))
    is_editable = content.get("dir_info", {}).get("editable", False)
    is_file = str(content.get("url", "")).startswith("file:")
    # conda records the folders of the machines that built its packages.
    return is_file and not is_editable and _text(file.parent / "INSTALLER").strip() != "conda"


def _installed(metadata: Path) -> Iterator[str]:
    """Yield the packages of a distribution that has modules of Python."""
    for file in _files_of(metadata):
        is_inside = file.suffix == ".py" and file.is_relative_to(metadata.parent)
        if is_inside and file.relative_to(metadata.parent).parts[0] not in _LIBRARIES:
            yield _package(file)


def _files_of(metadata: Path) -> Iterator[Path]:
    for row in csv.reader(_text(metadata / "RECORD").splitlines()):
        yield metadata.parent / row[0]
    # A setup.py without the package wheel, as old versions of pip install it.
    for line in _text(metadata / "installed-files.txt").splitlines():
        yield Path(os.path.normpath(metadata / line))


def _package(file: Path) -> str:
    """Return the folder of the outermost package of a module, or the file of the module."""
    outermost = file
    while (outermost.parent / "__init__.py").exists():
        outermost = outermost.parent
    return f"{outermost}{os.sep}" if outermost != file else str(file)


def packages_of(values: Iterable[object]) -> tuple[str, ...]:
    """Return the packages that define ``values``."""
    return tuple(sorted({package for value in values if (package := package_of(value))}))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
