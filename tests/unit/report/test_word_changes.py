from __future__ import annotations

import random
import time

import pytest
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


LETTERS = [chr(number) for number in range(0x4E00, 0x4E00 + 40)]


def shuffled_words(seed: int) -> list[str]:
    """Return 60 lines of 500 words that repeat in another order for each seed."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(LETTERS, k=500)) for _ in range(60)]


@pytest.mark.parametrize(
    "old, new",
    [
        (shuffled_words(1), shuffled_words(2)),
        (list("ab" * 15_000), list("ba" * 15_000)),
        (["a b " * 140] * 60, ["b a a " * 95] * 60),
        (
            [f"line {i} {'word ' * 300}" for i in range(400)],
            [f"{i} {'word ' * 299}" for i in range(400)],
        ),
    ],
    ids=["shuffled words", "lines of a letter", "two words", "much prose"],
)
def test_the_work_is_bounded(old: list[str], new: list[str]) -> None:
    """Long texts that are made to compare slowly take no more than a few seconds."""
    start = time.process_time()
    lines = marked(list(diff(old, new)), 20_000)
    assert time.process_time() - start < 8
    assert sum(line.mark == "-" for line in lines) > 0


def test_a_long_line_is_cut() -> None:
    """A line has at most the given characters and counts the rest."""
    assert marked([DiffLine("+", "abcdef")], 4) == [MarkedLine("+", (Piece("abcd"),), 2)]


@given(LINES, LINES)
def test_no_text_is_lost(old: list[str], new: list[str]) -> None:
    """The pieces of the lines are the texts of the diff, in its order."""
    lines = list(diff(old, new))
    texts = [(line.mark, "".join(piece.text for piece in line.pieces)) for line in marked(lines)]
    assert texts == [(line.mark, line.text) for line in lines]
