"""Whose code it is: the user's, or that of an installed package."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.packages import local_packages, packages_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

_FOLDERS = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    site.getusersitepackages(),
    str(Path(__file__).parents[1]),
)
_INSTALLED = tuple(
    {f"{path}{os.sep}" for folder in _FOLDERS for path in (folder, os.path.realpath(folder))}
)
"""Folders of the standard library, of installed packages and of this package."""
_PROJECT_FILES = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", ".git")
"""Names of files and folders of which a project's folder has at least one."""


_declared: ContextVar[tuple[str, ...]] = ContextVar("declared", default=())


def is_users(code: FunctionType | type) -> bool:
    """Whether ``code`` is in a file of the user, rather than in an installed one."""
    if isinstance(code, FunctionType) and not code.__code__.co_filename.startswith("<"):
        return is_users_path(code.__code__.co_filename)
    if code.__module__ == "__main__":
        return True
    module = sys.modules.get(code.__module__ or "")
    if module is None:
        return isinstance(code, FunctionType)
    return is_users_module(module)


def is_users_module(module: ModuleType) -> bool:
    """Whether ``module`` belongs to the user."""
    # A namespace package has folders instead of a file.
    file = getattr(module, "__file__", None)
    paths = [file] if isinstance(file, str) else getattr(module, "__path__", [])
    return any(map(is_users_path, paths))


def is_users_path(path: str) -> bool:
    """Whether a file or folder is outside the folders of installed code, or in an own package."""
    return _is_users_path(path, _INSTALLED, local_packages(), _declared.get())


@lru_cache(maxsize=4096)  # a walk asks for the files of all methods of the classes that it meets
def _is_users_path(
    path: str, installed: tuple[str, ...], local: tuple[str, ...], declared: tuple[str, ...]
) -> bool:
    if not path.startswith((*installed, "<frozen")):
        return True
    return path.startswith((*local, *declared))


def is_installed_path(path: str) -> bool:
    """Whether a file or folder is in a folder of installed code."""
    return path.startswith(_INSTALLED)


@contextmanager
def counted_as_users(*values: object) -> Generator[None]:
    """Let the installed packages that define ``values`` count as the user's inside the block."""
    token = _declared.set(packages_of(values))
    try:
        yield
    finally:
        _declared.reset(token)


@lru_cache(maxsize=512)
def project_of(file: str) -> str:
    """Return the folder of the project that has a file; the file's folder if there is none."""
    folder = Path(file).parent
    projects = (path for path in (folder, *folder.parents) if _is_project(path))
    return str(next(projects, folder))


def _is_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in _PROJECT_FILES)
