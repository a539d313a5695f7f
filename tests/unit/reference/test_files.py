from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import DamagedReference, ReferenceFileError
from pytest_mipro.reference.files import damaged, has_conflict, load, write, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.reference.location import ReferenceLocation

COMMAND = "pytest --mipro --mipro-update test_x.py::test_x"


def test_data_is_read_back(location: ReferenceLocation) -> None:
    """The folder is made, keys are sorted, and a missing file has no data."""
    assert load(location, location.scores) is None
    write(location, location.scores, {"b": 1, "a": "ä"})
    assert location.scores.read_bytes() == '{\n  "a": "ä",\n  "b": 1\n}\n'.encode()
    assert load(location, location.scores) == {"a": "ä", "b": 1}


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"{", "is not JSON"),
        (b"[]", "holds '[]', expected a JSON object"),
        (b"\xff", "is not UTF-8 text"),
        (b"<<<<<<< HEAD\n{}", "holds the conflict markers of a merge"),
    ],
)
def test_other_content_is_damage(location: ReferenceLocation, content: bytes, problem: str) -> None:
    """The error names the file and the problem."""
    location.folder.mkdir(parents=True)
    location.scores.write_bytes(content)
    with pytest.raises(DamagedReference) as caught:
        load(location, location.scores)
    assert f"the reference __mipro__/test_x/test_x.json {problem}" in str(caught.value)


def test_a_folder_in_place_of_a_file_is_an_error(location: ReferenceLocation) -> None:
    """The error has the reason of the operating system."""
    location.scores.mkdir(parents=True)
    with pytest.raises(ReferenceFileError, match=r"test_x\.json cannot be read: Is a directory"):
        load(location, location.scores)


def test_the_advice_replaces_the_command(location: ReferenceLocation) -> None:
    """Where accepting anew is not enough, the error says what is."""
    assert str(damaged(location, location.scores, "is odd")).endswith(
        f"is odd; restore all of its files from version control, or accept anew with: {COMMAND}"
    )
    error = damaged(location, location.scores, "is odd", advice="do something else")
    assert str(error).endswith("from version control, or do something else")


@pytest.mark.parametrize(
    "text, expected",
    [("<<<<<<< HEAD\n", True), (">>>>>>> theirs\n", True), ('{"a": "<<<<<<< b"}', False)],
)
def test_markers_of_a_conflict_begin_a_line(text: str, expected: bool) -> None:
    """A value that looks like a marker is none."""
    assert has_conflict(text) is expected


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """Nothing but the file is left."""
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
