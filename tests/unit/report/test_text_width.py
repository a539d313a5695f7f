from pytest_mipro.report.text_width import columns, columns_cut, cut_middle, hung


def test_cut_to_columns() -> None:
    """The result is exactly as wide as asked for, if letters allow it."""
    assert columns_cut("abc", 5) == "abc  "
    assert columns_cut("abcdef", 5) == "abcd…"
    assert columns_cut("你好吗", 5) == "你好…"
    assert columns_cut("你好吗", 4) == "你… "


def test_letters_of_no_column_and_of_two() -> None:
    """Accents are above another letter; Chinese letters are as wide as two others."""
    assert [columns(text) for text in ("abc", "e\u0301", "你好", "a你")] == [3, 1, 4, 3]


def test_cut_in_the_middle() -> None:
    """Beginning and end stay, as long as there is room."""
    assert cut_middle("test_a.py::test_b", 9) == "test…st_b"
    assert cut_middle("test_a", 6) == "test_a"


def test_a_text_goes_on_below_itself() -> None:
    """In as many lines as are asked for, the last of which says that there are more."""
    assert hung("- ", "one two three", 6) == ["- one", "  two", "  thre", "  e"]
    assert hung("- ", "one two three", 6, 2) == ["- one", "  two…"]
    assert hung("- ", "a long-word", 8, 1) == ["- a lon…"]
    assert hung("- ", "a\nb", 8, 1) == ["- a…"]
    assert hung("- ", "", 6) == ["-"]
    assert hung("- ", "", 6, 1) == ["-"]
