import pytest

from pytest_mipro.report.text_width import columns, cut, cut_middle, filled, hung

pytestmark = pytest.mark.uses("wcwidth")


def test_cut_to_columns() -> None:
    """The result has the given width, whatever the widths of its letters."""
    assert filled("abc", 5) == "abc  "
    assert filled("abcdef", 5) == "abcd…"
    assert filled("你好吗", 5) == "你好…"
    assert filled("你好吗", 4) == "你… "


def test_letters_of_no_column_and_of_two() -> None:
    """An accent takes no column, a Chinese letter and an emoji two."""
    texts = ("abc", "e\u0301", "你好", "a你", "\u2764\ufe0f", "\U0001f44d\U0001f3fd")
    assert [columns(text) for text in texts] == [3, 1, 4, 3, 2, 2]


def test_no_letter_is_cut_in_half() -> None:
    """A letter stays with its accents, and a wide one that does not fit is left out."""
    assert [cut("e\u0301" * 5, width) for width in (2, 5)] == ["e\u0301…", "e\u0301" * 5]
    assert [cut("你好吗", width) for width in range(1, 7)] == [
        "…",
        "…",
        "你…",
        "你…",
        "你好…",
        "你好吗",
    ]
    assert cut_middle("你好吗", 4) == "你…"


def test_letters_wider_than_two_columns() -> None:
    """Korean letters of four columns are left out where they do not fit, at either end."""
    text = "::::\u115f\u115f"
    assert [cut(text, width) for width in (5, 7, 8)] == ["::::…", "::::…", text]
    assert cut_middle(f"{text[::-1]}a{text}", 8) == "\u115f\u115f…"
    assert hung("", text, 10) == ["\\x3a:::", "\u115f\u115f"]


def test_a_letter_that_is_wider_than_the_line() -> None:
    """It has a line of its own."""
    assert hung("", "a你", 1) == ["a", "你"]


def test_cut_in_the_middle() -> None:
    """The beginning and the end of a text stay."""
    assert cut_middle("test_a.py::test_b", 9) == "test…st_b"
    assert cut_middle("test_a", 6) == "test_a"


def test_a_text_goes_on_below_itself() -> None:
    """It has at most the given lines, of which the last shows that there are more."""
    assert hung("- ", "one two three", 6) == ["- one", "  two", "  thre", "  e"]
    assert hung("- ", "one two three", 6, 2) == ["- one", "  two…"]
    assert hung("- ", "a long-word", 8, 1) == ["- a lon…"]
    assert hung("- ", "a\nb", 8, 1) == ["- a…"]
    assert hung("- ", "", 6) == ["-"]
    assert hung("- ", "", 6, 1) == ["-"]


def test_a_line_break_makes_no_command() -> None:
    """A line that begins with colons only because the text is broken has an escape."""
    assert hung("", "test_a.py::test_b", 9) == ["test_a.p", "y::test_b"]
    assert hung("", "a ::error::b", 12) == ["a ::error::b"]
    assert hung("", "a ::error::b", 11) == ["a", "\\x3a:error:", ":b"]


def test_a_very_long_word_is_broken() -> None:
    """A word of a million letters is broken into all its lines."""
    assert len(hung("", "x" * 1_000_000, 80)) == 12_500
