"""
What makes a text safe to show, whoever wrote it: a user, a dataset, a language model.

``visible`` is for what is read (HTML), ``printable`` and ``inline`` are for
what goes to a terminal or a log, where CI systems look for commands, too.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
# What the runner trims or overlooks in front of a command and inside its prefix:
# spaces, control characters and Unicode's default ignorable code points.
_UNSEEN = (
    r"(?:[^\S\r\n]|[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff])*"
)
_COMMAND = re.compile(rf"((?:\A|(?<=[\r\n])){_UNSEEN}):(?={_UNSEEN}:)")
_OLD_COMMAND = re.compile(rf"(#{_UNSEEN})#(?={_UNSEEN}(?:vso{_UNSEEN})?\[)", re.IGNORECASE)


def visible(text: str) -> str:
    """
    Return ``text`` with what a reader would not see, or see wrongly, as escapes.

    These are control, format and private characters; line breaks stay.
    """
    # Most texts have nothing of that, and asking for each character takes long.
    if text.replace("\n", "").isprintable():
        return text
    return "".join(map(_visible, text))


def printable(text: str) -> str:
    """Return ``text`` with everything a terminal or CI would obey shown instead of sent."""
    return neutral(visible(text))


def inline(text: str) -> str:
    """Return ``text`` safe for a terminal and on one line."""
    return printable(text).replace("\n", "\\n")


def neutral(text: str) -> str:
    r"""
    Return ``text`` without anything that GitHub or Azure Pipelines obeys when it is in a log.

    The runner of GitHub Actions (``ActionCommand`` in actions/runner) takes a
    line for a command that begins, after spaces, with ``::``, and also one that
    has ``##[`` anywhere; Azure Pipelines reads ``##vso[``. Of these, one
    character is shown as an escape: ``\x3a:``, ``#\x23[``.

    It is for everything that goes to a log, after any other change of the text;
    what is neutral already stays as it is.
    """
    return _OLD_COMMAND.sub(r"\1\\x23", _COMMAND.sub(r"\1\\x3a", text))


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
