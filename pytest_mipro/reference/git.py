"""Ask git about files: whether it tracks them, and what a commit has."""

from __future__ import annotations

import os
import subprocess  # ruff: ignore[suspicious-subprocess-import] - git has no other interface
from typing import TYPE_CHECKING

from pytest_mipro.errors import ReferenceFileError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 30.0
"""Seconds that git may take."""
_MISSING = b"does not exist in", b"exists on disk, but not in"
"""What git says of a path that a commit does not have."""


def tracked_file(folder: Path) -> str | None:
    """Return the path of a file in ``folder`` that git tracks; None if there is none."""
    if not any((parent / ".git").exists() for parent in folder.parents):
        return None
    try:
        listing = _git(folder.parent, "ls-files", "--", folder.name)
    except (OSError, subprocess.SubprocessError):
        return None  # Without git nobody commits the folder from here.
    return next(map(os.fsdecode, listing.stdout.splitlines()), None)


def content_at(revision: str, path: Path) -> bytes | None:
    """Return the content of a file in a commit; None if the commit does not have the file.

    Raises:
        ReferenceFileError: There is no such commit, or no git.
    """
    folder = next(parent for parent in path.parents if parent.is_dir())
    name = path.relative_to(folder).as_posix()
    try:
        commit = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        shown = _git(folder, "show", "--end-of-options", f"{revision}:./{name}")
    except (OSError, subprocess.SubprocessError) as error:
        message = f"references cannot be read from {revision!r}: {error}; install git"
        raise ReferenceFileError(message) from error
    if commit.returncode:
        message = (
            f"references cannot be read from {revision!r} (--mipro-reference-from): "
            f"{_first_line(commit.stderr)}; name a commit that is here, or fetch it first, as "
            "actions/checkout does with fetch-depth: 0"
        )
        raise ReferenceFileError(message)
    if shown.returncode and not any(text in shown.stderr for text in _MISSING):
        message = f"{name} cannot be read from {revision!r}: {_first_line(shown.stderr)}"
        raise ReferenceFileError(message)
    return None if shown.returncode else shown.stdout


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # The messages are compared, so they have to be in English.
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["git", "-C", str(folder), *arguments]
    # ruff: ignore[subprocess-without-shell-equals-true]: no text of others is among the options
    return subprocess.run(
        command, capture_output=True, timeout=_TIMEOUT, check=False, env=environment
    )


def _first_line(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip().partition("\n")[0] or "git failed"
