"""The releases of the installed packages that code is from, as far as their versions count."""

from __future__ import annotations

import re
import sys
from collections import deque
from functools import lru_cache
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    distributions,
    packages_distributions,
)
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.ownership import is_installed_path
from pytest_mipro.fingerprint.packages import is_local_path, normalized, origin_in

if TYPE_CHECKING:
    from collections.abc import Iterator

_THIS = "pytest-mipro"


def release_of(module: str) -> tuple[str, str] | None:
    """Return the name and the version of the distribution that has an installed module.

    What counts by its code alone has none, and nothing that this package requires has one: DSPy's
    version is in each key. The version is empty if no distribution has the module.
    """
    package = module.partition(".")[0]
    # Most values belong to no module, and to look for one without a name takes long.
    if not package or package in sys.stdlib_module_names:
        return None
    file = _file_of(module)
    if not is_installed_path(file) or is_local_path(file):
        return None
    # Last, as only the whole list of what is required shows that a name is not on it.
    if _comes_with_this(normalized(package)):
        return None
    name = _distribution_with(package, file)
    if not name:
        return package, ""
    return None if _comes_with_this(normalized(name)) else (name, _version(name))


def _file_of(module: str) -> str:
    """Return the file or folder of a module, which is not imported for it; nothing if unknown."""
    loaded = sys.modules.get(module)
    try:
        spec = getattr(loaded, "__spec__", None) or find_spec(module.partition(".")[0])
    except (ImportError, ValueError, AttributeError):  # a module that was made while running
        return ""
    if spec is None:
        return ""
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "")


@lru_cache(maxsize=512)  # the packages of a process do not change
def _distribution_with(package: str, file: str) -> str:
    """Return the distribution of a module; several may share a package that is a namespace."""
    owners = (owner.name for owner in distributions() if _has_recorded(owner, Path(file)))
    # An installer of an operating system may keep no record of files.
    return next(owners, "") or next(iter(packages_distributions().get(package, [])), "")


def _has_recorded(package: Distribution, file: Path) -> bool:
    """Whether the installer of a distribution has written that it has a file or folder."""
    root = Path(str(package.locate_file("")))
    if not file.is_relative_to(root):
        return False
    # To read a record as text takes a tenth of the time that its parsed paths take.
    record = f"\n{package.read_text('RECORD') or ''}"
    path = f"\n{file.relative_to(root).as_posix()}"
    return f"{path}," in record or f"{path}/" in record


@lru_cache(maxsize=512)
def _version(name: str) -> str:
    """Return the version, with the commit where it was installed from a repository."""
    package = distribution(name)
    origin = origin_in(package.read_text("direct_url.json") or "")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return " ".join(filter(None, (package.version, commit)))


@lru_cache(maxsize=512)
def _comes_with_this(name: str) -> bool:
    """Whether a distribution is one that this one requires, directly or not."""
    return any(name == required for required in _required())


def _required() -> Iterator[str]:
    """Yield the names of all that this distribution requires, the nearest first."""
    names, queue = {_THIS}, deque([_THIS])
    while queue:
        name = queue.popleft()
        yield name
        further = [required for required in _requirements(name) if required not in names]
        names.update(further)
        queue.extend(further)


@lru_cache(maxsize=512)
def _requirements(name: str) -> list[str]:
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:  # another platform needs it
        return []
    required = (line for line in lines if "extra ==" not in line)
    return list(
        dict.fromkeys(normalized(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in required)
    )
