from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.reference.location import ReferenceLocation, file_name, same_file

HOSTILE = [
    "..",
    ".",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "con",
    "CON.txt",
    "nul",
    "com1[a]",
    "com1",
    "a:b",
    "a*b?",
    'a"b<c>|',
    "a\x00b",
    "a\nb",
    "ends with dot.",
    "ends with space ",
    "é",
    "日本",
    "\ud800",
    "x" * 300,
    "",
]


def location_of(*names: str, root: str = "/repo") -> ReferenceLocation:
    """Return the location for a test."""
    return ReferenceLocation.beside(
        Path("/repo/tests/test_router.py"), names, command="accept", root=Path(root)
    )


def test_the_files_are_beside_the_test() -> None:
    """There is a folder per module, with two files per test."""
    location = location_of("TestAll", "test_router[a-1]")
    folder = Path("/repo/tests/__mipro__/test_router")
    assert location.scores == folder / "TestAll.test_router[a-1].json"
    assert location.program == folder / "TestAll.test_router[a-1].program.json"
    assert location.test == "TestAll::test_router[a-1]"


def test_messages_show_them_from_the_root() -> None:
    """Paths in messages are relative to the root, and absolute outside of it."""
    inside, outside = location_of("test_a"), location_of("test_a", root="/elsewhere")
    assert inside.show(inside.scores) == "tests/__mipro__/test_router/test_a.json"
    assert outside.show(outside.program).startswith("/repo/tests/__mipro__/")


def test_the_commands_have_the_flags_of_the_run() -> None:
    """That of another model, or of the project's own, has no second flag for a model."""
    location = location_of("test_a").with_flags(" --mipro-repeat 3", "a b")
    assert location.command == "accept --mipro-repeat 3 --mipro-lm 'a b'"
    assert location.anchor_command == f"{location.command} --mipro-new-anchor"
    assert location.command_for("old") == "accept --mipro-repeat 3 --mipro-lm old"
    assert location.command_for("") == "accept --mipro-repeat 3"


def test_usual_names_are_unchanged() -> None:
    """A name that every system takes is not changed."""
    for name in ("test_a", "TestA.test_b[x-1.5-True]", "test_[]", "test_a@b,c=d+e"):
        assert file_name(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(name: str) -> None:
    """The files of a test with a hostile name are in its folder, and every system takes them."""
    name_of_file = file_name(name)
    for system in (PureWindowsPath, Path):
        path = system("folder") / f"{name_of_file}.program.json"
        assert path.parent == system("folder")
    assert name_of_file.isascii()
    assert name_of_file.isprintable()
    assert not set(name_of_file) & set('<>:"/\\|?* ')
    assert not name_of_file.startswith(".")
    assert not name_of_file.endswith(".")
    assert name_of_file.partition(".")[0].lower() not in {"con", "nul", "com1"}
    assert 0 < len(name_of_file) <= 120


@given(st.lists(st.text(st.characters(codec=None), max_size=150), min_size=2, unique=True))
def test_different_names_have_different_files(names: list[str]) -> None:
    """Names that some system tells apart have different files."""
    normal = {same_file(Path(name.replace("/", "|"))) for name in names}
    files = {same_file(Path(file_name(name))) for name in names}
    assert len(files) >= len(normal)


def test_one_file_in_two_spellings() -> None:
    """Paths that differ by case or by Unicode normalization may be one file."""
    assert same_file(Path("a/Test_X.json")) == same_file(Path("a/test_x.json"))
    assert same_file(Path("a/\u00e9")) == same_file(Path("a/e\u0301"))
    assert same_file(Path("a/b")) != same_file(Path("a/c"))
