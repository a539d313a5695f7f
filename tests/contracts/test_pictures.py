"""The pictures of the README are made by a script from the example."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import NAMES, refuse
from example import write_example

pytest.importorskip("xllamacpp")

ROOT = Path(__file__).parents[2]
NAMED: list[str] = re.findall(
    r"!\[[^\]]+\]\((docs/pictures/\S+\.png)\)", (ROOT / "README.md").read_text(encoding="utf-8")
)


def size(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG."""
    start = picture.read_bytes()[:24]
    assert start.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")


def test_the_pictures_of_the_readme_exist() -> None:
    """It shows the overview, one task and a terminal, and all pictures are committed."""
    assert sorted(Path(name).stem for name in NAMED) == ["overview", "task", "terminal"]
    for name in NAMED:
        assert min(size(ROOT / name)) > 100


def test_the_script_makes_the_pictures(tmp_path: Path) -> None:
    """The script runs a project and takes the pictures that the README shows."""
    if not any(map(shutil.which, NAMES)):
        refuse("no Chromium is installed")
    project, out = tmp_path / "question_type", tmp_path / "out"
    project.mkdir()
    write_example(project)
    script = ROOT / "docs" / "pictures.py"
    subprocess.run([sys.executable, script, "--project", project, "--out", out], check=True)
    assert {path.name for path in out.iterdir()} == {Path(name).name for name in NAMED}
    for name in NAMED:
        picture, committed = size(out / Path(name).name), size(ROOT / name)
        assert min(picture) > 100
        assert picture[0] == pytest.approx(committed[0], rel=0.3)
    assert not (project / ".mipro").exists(), "the project itself is unchanged"
