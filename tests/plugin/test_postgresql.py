"""Machines that share a store on a PostgreSQL server."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING

import pytest
from database_server import PASSWORD
from paid import environment, options, output_of, read_until, write
from project import start_pytest
from served import Model

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project

pytestmark = pytest.mark.uses("psycopg")


def files_with(text: str, *folders: Path) -> list[str]:
    """Return the names of the files that have a text."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if text.encode() in path.read_bytes()]


def test_two_machines_compile_once(project: Project, postgresql_url: str, tmp_path: Path) -> None:
    """The second says whom it waits for, and takes the result; nothing has the password."""
    write(project)
    folders = [project.path, tmp_path / "another machine"]
    shutil.copytree(folders[0], folders[1])
    arguments = [*options(postgresql_url), "-vv", "--mipro-report", "report.json"]
    with Model.running(pause=0.02) as model:
        env = environment(model)
        model.plan(hold=1)
        first = start_pytest(project.server, *arguments, cwd=folders[0], env=env)
        model.wait(2)
        second = start_pytest(project.server, *arguments, cwd=folders[1], env=env)
        waiting = f"waiting for another pytest run on {platform.node()}"
        output = read_until(second, waiting)
        model.plan()
        outputs = [output_of(first), output + output_of(second)]
        assert all("1 passed" in output for output in outputs)
        assert ["compiling: " in output for output in outputs] == [True, False]
    assert PASSWORD not in "".join(outputs)
    assert files_with(PASSWORD, *folders) == []


def test_a_wrong_password_is_shown_nowhere(project: Project, postgresql_url: str) -> None:
    """Neither output, nor log, nor report has it; the error says what is wrong."""
    url = postgresql_url.replace(PASSWORD, "canary-7")
    reports = [word for name in ("r.html", "r.json", "r.md") for word in ("--mipro-report", name)]
    result = project.run(
        *("--mipro", "-vv", "--log-file=r.log", "--log-level=DEBUG", "--junitxml=r.xml"),
        *("--showlocals", "--mipro-store", url, *reports),
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*password authentication failed*make sure that the server*"])
    assert "canary-7" not in result.stdout.str() + result.stderr.str()
    assert files_with("canary-7", project.path) == []
    assert project.calls == 0
