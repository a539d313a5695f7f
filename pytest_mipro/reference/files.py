"""Read and write the JSON files of a reference, and the errors of files that cannot be used."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from pytest_mipro.errors import DamagedReference, ReferenceFileError
from pytest_mipro.reference.git import content_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_mipro.reference.location import ReferenceLocation

_CONFLICT = re.compile(r"^(<{7}|>{7})( |$)", re.MULTILINE)


def load(location: ReferenceLocation, path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None without the file.

    Raises:
        DamagedReference: The file holds no JSON object.
        ReferenceFileError: The file cannot be read.
    """
    text = read_text(location, path)
    if text is None:
        return None
    if has_conflict(text):
        raise conflicting(location, path)
    return parse(location, path, text)


def parse(location: ReferenceLocation, path: Path, text: str) -> dict[str, Any]:
    """Return the JSON object in the text of a file, or raise DamagedReference."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(location, path, f"is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise damaged(location, path, f"holds {str(data)[:40]!r}, expected a JSON object")
    return data


def read_text(location: ReferenceLocation, path: Path) -> str | None:
    """Return the text of a file, or None without the file; the errors are those of ``load``."""
    try:
        if location.revision:
            content = content_at(location.revision, path)
            return None if content is None else content.decode("utf-8")
        _refuse_link(path, "file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise damaged(location, path, f"is not UTF-8 text: {error}") from error
    except OSError as error:
        message = f"the reference {location.show(path)} cannot be read: {error.strerror or error}"
        raise ReferenceFileError(message) from error


def write(location: ReferenceLocation, path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON data to a file, sorted and indented.

    Raises:
        ReferenceFileError: The file cannot be written.
    """
    text = json.dumps(_sorted(data), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_links(location)
        # UTF-8 cannot encode a lone surrogate; its JSON escape can be read back.
        write_whole(path, f"{text}\n".encode("utf-8", "backslashreplace"))
    except OSError as error:
        message = (
            f"the reference {location.show(path)} cannot be written: {error.strerror or error}; "
            f"mend that, then accept with: {location.command}"
        )
        raise ReferenceFileError(message) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees its old or its new content, never a part."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.unlink(missing_ok=True)  # Of a process that died; or a link to another file.
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def has_conflict(text: str) -> bool:
    """Whether a text holds the conflict markers of a merge."""
    return _CONFLICT.search(text) is not None


def missing_half(location: ReferenceLocation, path: Path, missing: Path) -> DamagedReference:
    """Return the error of a reference of which one file is missing."""
    return damaged(location, path, f"is without its other half, {missing.name}")


def damaged(
    location: ReferenceLocation, path: Path, problem: str, *, advice: str = ""
) -> DamagedReference:
    """Return the error of a file that cannot be used; ``advice`` says how to do without it."""
    message = (
        f"the reference {location.show(path)} {problem}; restore all of its files from version "
        f"control, or {advice or f'accept anew with: {location.command}'}"
    )
    return DamagedReference(message)


def conflicting(location: ReferenceLocation, path: Path) -> DamagedReference:
    """Return the error of a file with the conflict markers of a merge."""
    message = (
        f"the reference {location.show(path)} holds the conflict markers of a merge; take all "
        "files from one side, e.g. git checkout --ours -- "
        f"{location.display_path}/{location.name}.*, or accept the outcome "
        f"of the merged code with: {location.command}"
    )
    return DamagedReference(message)


def _refuse_links(location: ReferenceLocation) -> None:
    for folder in (location.folder, location.folder.parent):
        _refuse_link(folder, "folder")


def _refuse_link(path: Path, kind: str) -> None:
    """Refuse what leads elsewhere: to a file of the user, or to a device without an end."""
    if path.is_symlink():
        message = f"{path} is a link to {path.readlink()}, put a {kind} in its place"
        raise OSError(message)


def _sorted(value: Any, name: str = "") -> Any:  # ruff: ignore[any-type] - it is JSON data
    """Sort keys outside demos: a prompt shows the values of a demo in their order."""
    if isinstance(value, dict) and name != "demos":
        return {key: _sorted(value[key], key) for key in sorted(value)}
    if isinstance(value, list) and name != "demos":
        return [_sorted(item) for item in value]
    return value
