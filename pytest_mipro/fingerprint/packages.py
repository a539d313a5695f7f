"""The installed packages whose code is the user's: those of a local folder, and the declared."""

from __future__ import annotations

import csv
import inspect
import json
import os
import sysconfig
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LIBRARIES = frozenset({"dspy", "pytest_mipro"})
"""Packages that a key has the version of."""


def package_of(value: object) -> str:
    """Return the folder or file of the package that defines ``value`` or its type, or nothing."""
    while isinstance(value, partial):
        value = value.func
    code = value if inspect.isroutine(value) or isinstance(value, type) else type(value)
    module = inspect.getmodule(code)
    file = getattr(module, "__file__", None)
    is_library = module is None or module.__name__.partition(".")[0] in _LIBRARIES
    return "" if file is None or is_library else _package(Path(file))


@lru_cache(maxsize=1)  # the packages of a process do not change
def local_packages() -> tuple[str, ...]:
    """Return the folders and files of the packages that were installed from this machine.

    An installer records the address in ``direct_url.json``: a folder or a wheel in it.
    """
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    urls = [url for folder in folders for url in Path(folder).glob("*.dist-info/direct_url.json")]
    packages = {package for url in urls if _is_local(url) for package in _installed(url.parent)}
    return tuple(sorted(packages))


def _is_local(file: Path) -> bool:
    content = json.loads(file.read_text(encoding="utf-8"))
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
    return file.read_text(encoding="utf-8") if file.exists() else ""
