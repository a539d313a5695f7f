from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from fingerprints import length

from pytest_mipro.fingerprint.ownership import is_users, is_users_path, project_of
from pytest_mipro.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    "code, expected",
    [
        (length, True),
        (json.dumps, False),
        (dspy.Predict, False),
        (Task, False),
        (dict, False),
        (pytest.raises, False),
    ],
)
def test_owner_of_code(code: Callable[..., Any], expected: bool) -> None:
    """Code is the user's, unless the standard library or an installed package has it."""
    assert is_users(code) is expected  # type: ignore[arg-type]  # a class or a function


def test_path_of_the_interpreter_is_not_the_users() -> None:
    """Neither modules that Python was built with nor the standard library are."""
    assert not is_users_path("<frozen importlib._bootstrap>")
    assert not is_users_path(json.__file__)
    assert not is_users_path(sys.modules["dspy"].__file__ or "")


def test_project_is_the_folder_with_a_project_file(tmp_path: Path) -> None:
    """The project of a file is the nearest folder above that has a project's file."""
    file = tmp_path / "src" / "package" / "module.py"
    file.parent.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()

    assert project_of(str(file)) == str(tmp_path)
