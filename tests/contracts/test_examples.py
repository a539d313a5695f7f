"""Each example can be collected, and is explained; `tox run -e example` runs them for real."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project import Project

if TYPE_CHECKING:
    from forks import ForkServer

pytest.importorskip("xllamacpp")

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/pytest.ini"))
LONGEST_README = 45
"""Lines: half a page."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_can_be_run(
    folder: Path,
    pytester: pytest.Pytester,
    fork_server: ForkServer | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its declaration and its rows are sound, and a dry run says what it would ask."""
    monkeypatch.setenv("DSPY_CACHEDIR", str(pytester.path / "dspy-cache"))
    shutil.copytree(
        folder, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".mipro")
    )
    result = Project(pytester, fork_server).run("--mipro", "--mipro-dry-run")
    result.assert_outcomes(skipped=1)


def test_an_example_is_a_folder_to_copy() -> None:
    """Each has the settings that all have when they are run together, and a short README."""
    settings = (EXAMPLES / "pytest.ini").read_text(encoding="utf-8")
    for folder in FOLDERS:
        assert (folder / "pytest.ini").read_text(encoding="utf-8") == settings
        readme = (folder / "README.md").read_text(encoding="utf-8")
        assert len(readme.splitlines()) <= LONGEST_README
