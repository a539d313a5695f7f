from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.report.prompt_changes import DiffLine, diff
from pytest_mipro.report.word_changes import MarkedLine, Piece, mark_words

LINES = st.lists(st.text("ab .", max_size=8), max_size=6)


def marked(lines: list[DiffLine], characters: int = 100) -> list[MarkedLine]:
    """Return the lines of a diff with their words marked."""
    return list(mark_words(lines, characters))


def test_words_that_differ_are_marked() -> None:
    """A removed line is compared with the added line that replaces it."""
    lines = [DiffLine(" ", "Sort it."), DiffLine("-", "Be very brief"), DiffLine("+", "Be brief")]
    assert marked(lines) == [
        MarkedLine(" ", (Piece("Sort it."),)),
        MarkedLine("-", (Piece("Be "), Piece("very ", differs=True), Piece("brief"))),
        MarkedLine("+", (Piece("Be "), Piece("brief"))),
    ]


def test_different_lines_have_no_marked_words() -> None:
    """Neither lines with little in common nor very long lines are compared."""
    for old, new in (("Sort it.", "Answer with one word"), ("a " * 400, "a " * 400 + "b")):
        pieces = [line.pieces for line in marked(list(diff([old], [new])), 2000)]
        assert pieces == [(Piece(old),), (Piece(new),)]


def test_a_long_line_is_cut() -> None:
    """A line has at most the given characters and counts the rest."""
    assert marked([DiffLine("+", "abcdef")], 4) == [MarkedLine("+", (Piece("abcd"),), 2)]


@given(LINES, LINES)
def test_no_text_is_lost(old: list[str], new: list[str]) -> None:
    """The pieces of the lines are the texts of the diff, in its order."""
    lines = list(diff(old, new))
    texts = [(line.mark, "".join(piece.text for piece in line.pieces)) for line in marked(lines)]
    assert texts == [(line.mark, line.text) for line in lines]
