from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.fingerprint.parts import Kind, Part, by_text

NAMES = st.text(min_size=1)
PARTS = (
    st.builds(Part, st.sampled_from(Kind))
    | st.builds(Part, st.sampled_from(Kind), NAMES)
    | st.builds(Part, st.sampled_from(Kind), NAMES, NAMES)
)


@given(PARTS)
def test_text_of_a_part_is_read_back(part: Part) -> None:
    """A part equals the part of its text, though names may hold any character."""
    assert Part.from_text(str(part)) == part


@given(st.lists(PARTS, unique=True))
def test_texts_of_parts_are_different(parts: list[Part]) -> None:
    """No two parts have the same text."""
    assert len(by_text(dict.fromkeys(parts))) == len(parts)


@pytest.mark.parametrize(
    "part, text",
    [
        (Part(Kind.METRIC), "metric"),
        (Part(Kind.MODEL, "prompt"), "model/prompt"),
        (Part(Kind.INSTRUCTION, "route"), "instruction/route"),
        (Part(Kind.INSTRUCTION, "route", "teacher"), "instruction/teacher/route"),
        (Part(Kind.VALUE, "LIMIT", "routing.clean"), "value/routing.clean/LIMIT"),
        (Part(Kind.EXTRA, "a/b 100%"), "extra/a%2Fb 100%25"),
    ],
)
def test_text_of_a_part_is_readable(part: Part, text: str) -> None:
    """A text has the kind, the owner and the name."""
    assert str(part) == text


@pytest.mark.parametrize("text", ["prompt library", "metrics/f1", "value/a/b/c", ""])
def test_unknown_text_is_an_extra_part(text: str) -> None:
    """A text that another version of the package wrote names a part, too."""
    assert Part.from_text(text) == Part(Kind.EXTRA, text)
