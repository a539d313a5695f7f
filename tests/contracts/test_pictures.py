"""The pictures of the README and the documentation are made by a script from the example."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import NAMES, refuse
from documentation import PAGES
from example import write_example

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
SUPPORT = str(ROOT / "tests" / "support")
NAMED = sorted(
    {
        name
        for page in PAGES
        for name in re.findall(
            r"!\[[^\]]+\]\(\S*?pictures/(\S+\.png)\)", (ROOT / page).read_text(encoding="utf-8")
        )
    }
)
FAILING = {"failing-terminal", "failing-comment", "failing-report"}
CONFTEST = """
import json
from pathlib import Path

import pytest
from scripted import scripted_lm

@pytest.fixture(scope="session")
def mipro_lm():
    lines = Path(__file__).with_name("questions.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = {row["question"]: row["kind"] for row in map(json.loads, lines)}
    return scripted_lm(base=10, per_demo=25, teams=kinds)
"""
"""Names a model that needs the demos that the failing run leaves out."""


def size(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG."""
    start = picture.read_bytes()[:24]
    assert start.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")


def test_the_pictures_of_the_pages_exist() -> None:
    """They show runs that pass and one that fails, and no picture is left over."""
    assert {Path(name).stem for name in NAMED} == {"overview", "task", "terminal", *FAILING}
    assert sorted(path.name for path in FOLDER.iterdir()) == NAMED
    for name in NAMED:
        assert min(size(FOLDER / name)) > 100


def test_the_script_makes_the_pictures(tmp_path: Path) -> None:
    """The script runs the example, on a model without weights, and takes the pages' pictures."""
    if not any(map(shutil.which, NAMES)):
        refuse("no Chromium is installed")
    project, out = tmp_path / "question_type", tmp_path / "out"
    project.mkdir()
    write_example(project)
    (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (project / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    script = ROOT / "docs" / "pictures.py"
    subprocess.run(
        [sys.executable, script, "--project", project, "--out", out],
        check=True,
        env={**os.environ, "PYTHONPATH": SUPPORT},
    )
    assert sorted(path.name for path in out.iterdir()) == NAMED
    for name in NAMED:
        picture, committed = size(out / name), size(FOLDER / name)
        assert min(picture) > 100
        assert picture[0] == pytest.approx(committed[0], rel=0.3)
    assert not (project / ".mipro").exists(), "the project itself is unchanged"
