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


def place(
    *names: str, file: str = "/repo/tests/test_router.py", root: str = "/repo"
) -> ReferenceLocation:
    """Return the place of a test."""
    return ReferenceLocation.beside(Path(file), names, command="accept", root=Path(root))


def test_the_files_are_beside_the_test() -> None:
    """A folder per module, in it two files per test."""
    found = place("TestAll", "test_router[a-1]")
    folder = Path("/repo/tests/__mipro__/test_router")
    assert found.scores == folder / "TestAll.test_router[a-1].json"
    assert found.program == folder / "TestAll.test_router[a-1].program.json"
    assert found.test == "TestAll::test_router[a-1]"


def test_messages_show_them_from_the_root() -> None:
    """Paths in messages are short where they can be."""
    inside, outside = place("test_a"), place("test_a", root="/elsewhere")
    assert inside.show(inside.scores) == "tests/__mipro__/test_router/test_a.json"
    assert outside.show(outside.program).startswith("/repo/tests/__mipro__/")


def test_usual_names_stay() -> None:
    """What every system takes is not changed."""
    for name in ("test_a", "TestA.test_b[x-1.5-True]", "test_[]", "test_a@b,c=d+e"):
        assert file_name(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(name: str) -> None:
    """Whatever a test is called, its files are in the folder and every system takes them."""
    made = file_name(name)
    for system in (PureWindowsPath, Path):
        path = system("folder") / f"{made}.program.json"
        assert path.parent == system("folder")
    assert made.isascii()
    assert made.isprintable()
    assert not set(made) & set('<>:"/\\|?* ')
    assert not made.startswith(".")
    assert not made.endswith(".")
    assert made.partition(".")[0].lower() not in {"con", "nul", "com1"}
    assert 0 < len(made) <= 120


@given(st.lists(st.text(st.characters(codec=None), max_size=150), min_size=2, unique=True))
def test_different_names_have_different_files(names: list[str]) -> None:
    """A name that was changed carries a digest of the whole."""
    normal = {same_file(Path(name.replace("/", "|"))) for name in names}
    made = {same_file(Path(file_name(name))) for name in names}
    assert len(made) >= len(normal)


def test_one_file_in_two_spellings() -> None:
    """Some systems do not tell cases apart, some not the two ways to write an umlaut."""
    assert same_file(Path("a/Test_X.json")) == same_file(Path("a/test_x.json"))
    assert same_file(Path("a/\u00e9")) == same_file(Path("a/e\u0301"))
    assert same_file(Path("a/b")) != same_file(Path("a/c"))
