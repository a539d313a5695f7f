"""The installed packages whose code is the user's: of a local folder, under test, or declared."""

from __future__ import annotations

import csv
import inspect
import json
import os
import re
import sysconfig
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LIBRARIES = frozenset({"dspy", "pytest_mipro"})
"""Packages that a key has the version of."""
_PROJECT_NAMES = {
    "pyproject.toml": r"^\[(?:project|tool\.poetry)\][^\[]*?^name\s*=\s*[\"']([\w.-]+)[\"']",
    "setup.cfg": r"^\[metadata\][^\[]*?^name\s*=\s*([\w.-]+)",
    "setup.py": r"\bsetup\([^()]*?\bname\s*=\s*[\"']([\w.-]+)[\"']",
}
"""Files that name the distribution that is built of a folder, and where in them its name is."""


class _UnderTest:
    """The project whose tests run in this process."""

    name = ""


def package_of(value: object) -> str:
    """Return the folder or file of the package that defines ``value`` or its type, or nothing."""
    while isinstance(value, partial):
        value = value.func
    code = value if inspect.isroutine(value) or isinstance(value, type) else type(value)
    module = inspect.getmodule(code)
    file = getattr(module, "__file__", None)
    is_library = module is None or module.__name__.partition(".")[0] in _LIBRARIES
    return "" if file is None or is_library else _package(Path(file))


def set_project_under_test(folder: Path) -> None:
    """Let the distribution that is built of ``folder`` count as the user's, however installed.

    Its name is read from the files that tools build it by; nothing in them is executed.
    """
    texts = ((_text(folder / name), pattern) for name, pattern in _PROJECT_NAMES.items())
    matches = (re.search(pattern, text, re.MULTILINE) for text, pattern in texts)
    _UnderTest.name = next((normalized(match[1]) for match in matches if match), "")
    local_packages.cache_clear()


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
    distributions = [path for folder in folders for path in Path(folder).glob("*.dist-info")]
    own = filter(_is_own, distributions)
    return tuple(sorted({package for metadata in own for package in _installed(metadata)}))


def _is_own(metadata: Path) -> bool:
    name = normalized(metadata.name.partition("-")[0])
    return (bool(name) and name == _UnderTest.name) or _is_local(metadata / "direct_url.json")


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
    for row in csv.reader(_text(metadata / "RECORD").splitlines()):
        file = metadata.parent / row[0]
        if file.suffix == ".py" and file.relative_to(metadata.parent).parts[0] not in _LIBRARIES:
            yield _package(file)


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
