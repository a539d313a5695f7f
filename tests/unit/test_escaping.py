import re
import unicodedata

import pytest
from ci_commands import commands, control_characters
from hostile import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.escaping import (
    encodable,
    escaped_line,
    neutral,
    printable,
    printable_output,
    visible,
)


def is_harmless(text: str) -> bool:
    """Return whether ``text`` has no control character and no command for a CI system."""
    return not any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
        for character in text.replace("\n", "")
    ) and not re.search(r"^\s*::|##\w*\[", text, re.MULTILINE)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb", "a\\rb"),
        ("a\x00b", "a\\x00b"),
        ("a\tb", "a\\tb"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("a\nb", "a\nb"),
        ("äß\u6f22\U0001f600", "äß\u6f22\U0001f600"),
        ("::error::x", "\\x3a:error::x"),
        ("a\n  ::error::x", "a\n  \\x3a:error::x"),
        ("test_x.py::test_y", "test_x.py::test_y"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    """Control characters and the beginnings of commands become escapes; letters stay."""
    assert printable(text) == expected


@given(st.text(st.characters()))
def test_no_control_character_is_left(text: str) -> None:
    """No printable text has a control or format character, whatever the text."""
    assert is_harmless(printable(text))
    printable(text).encode("utf-8")


@given(st.text(st.characters(exclude_categories=())))
def test_a_request_can_be_encoded(text: str) -> None:
    """Only characters that UTF-8 does not have are replaced."""
    encoded = encodable(text).encode("utf-8").decode("utf-8")
    assert len(encoded) == len(text)
    assert all(
        replaced == character or (replaced, unicodedata.category(character)) == ("?", "Cs")
        for replaced, character in zip(encoded, text, strict=True)
    )


@given(st.text())
def test_a_second_call_changes_nothing(text: str) -> None:
    """A text that is safe stays unchanged."""
    assert printable(printable(text)) == printable(text)
    assert escaped_line(escaped_line(text)) == escaped_line(text)


def test_a_page_may_have_commands() -> None:
    """Commands stay in a text for a page; characters that cannot be seen become escapes."""
    assert visible("::error::x\n##[group]") == "::error::x\n##[group]"
    assert visible("\u202e::error::\xa0x") == "\\u202e::error::\xa0x"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("::error::x", r"\x3a:error::x"),
        ("a\n \t::add-mask::b", "a\n \t\\x3a:add-mask::b"),
        ("a\r::stop-commands::b", "a\r\\x3a:stop-commands::b"),
        ("\ufeff:\u200b:error::x", "\ufeff\\x3a\u200b:error::x"),
        ("\xa0\u3000::error::x", "\xa0\u3000\\x3a:error::x"),
        ("a ##[group]b", r"a #\x23[group]b"),
        ("####[group]b", r"###\x23[group]b"),
        ("##vso[task.setvariable]x", r"#\x23vso[task.setvariable]x"),
        ("a::b: c", "a::b: c"),
        ("tests/test_x.py::test_y PASSED", "tests/test_x.py::test_y PASSED"),
        ("# [1]", r"# [1]"),
    ],
)
def test_no_line_is_a_command(text: str, shown: str) -> None:
    """Only commands are changed, and only once."""
    assert neutral(text) == shown
    assert neutral(shown) == shown


@given(st.sampled_from(list(TEXTS.values())) | st.text(alphabet=":#[]\n\r \tvsoVSO\u200b\xad"))
def test_no_text_is_a_command(text: str) -> None:
    """The runner obeys no line, also if it ignores characters that cannot be seen."""
    assert commands(neutral(text)) == []


def test_output_keeps_its_tabs_and_colours() -> None:
    """Only those that pytest writes itself: nothing hides a text or moves the cursor."""
    diff = "\x1b[0m\x1b[92m+ a\tb\x1b[39;49;00m\x1b[8mhidden\x1b[2J"
    assert printable_output(diff, coloured=True) == (
        "\x1b[0m\x1b[92m+ a\tb\x1b[39;49;00m\\x1b[8mhidden\\x1b[2J"
    )
    assert printable_output("\x1b[92ma\tb") == "\\x1b[92ma\tb"
    assert printable_output("a\n\t::error::b") == "a\n\t\\x3a:error::b"


@given(st.sampled_from(list(TEXTS.values())) | st.text(alphabet=":#[]m0\n\r \t\x1bvso"))
def test_no_output_is_a_command(text: str) -> None:
    """With colours or without."""
    for coloured in (True, False):
        assert commands(printable_output(text, coloured=coloured)) == []
    assert control_characters(printable_output(text)) == set()
