"""A fixture that imports the code of users."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from fingerprints import Load


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Return a function that writes files to a new folder and imports the last of them."""
    imported: set[str] = set()
    count = 0

    def write_and_import(files: Mapping[str, str]) -> ModuleType:
        nonlocal count
        count += 1
        folder = tmp_path / f"version {count}"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        forget()
        monkeypatch.syspath_prepend(folder)
        imported.update(_module_name(name) for name in files)
        return importlib.import_module(_module_name(list(files)[-1]))

    def forget() -> None:
        for name in imported:
            sys.modules.pop(name, None)
            sys.modules.pop(name.partition(".")[0], None)  # a namespace package has no file

    yield write_and_import
    forget()


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
