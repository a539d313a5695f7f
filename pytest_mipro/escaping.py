"""Escape texts of users, datasets and language models, so that they are safe to show.

``visible`` is for pages (HTML); ``printable`` and ``escaped_line`` are for terminals
and logs, in which CI systems look for commands, too; ``encodable`` is for requests.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
# Characters that a runner ignores before a command and inside its prefix:
# spaces, control characters and Unicode's default ignorable code points.
_IGNORED = (
    r"(?:[^\S\r\n]|[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff])*"
)
_TAB = re.compile(r"(\t)")
_COLOUR = r"(?:0{1,2}|[1-4]|2[2-4]|[349][0-79])"
_TAB_OR_COLOUR = re.compile(rf"(\t|\x1b\[(?:{_COLOUR}(?:;{_COLOUR})*)?m)")
"""Matches what pytest writes itself, and nothing that hides a text."""
_COMMAND = re.compile(rf"((?:\A|(?<=[\r\n])){_IGNORED}):(?={_IGNORED}:)")
_OLD_COMMAND = re.compile(rf"(#{_IGNORED})#(?={_IGNORED}(?:vso{_IGNORED})?\[)", re.IGNORECASE)


def visible(text: str) -> str:
    """Return ``text`` with control, format and private characters as escapes.

    A reader would not see them, or see others wrongly; line breaks stay.
    """
    # Most texts have none of them, and a look at each character takes long.
    if text.replace("\n", "").isprintable():
        return text
    return "".join(map(_visible, text))


def printable(text: str) -> str:
    """Return ``text`` with escapes for all that a terminal or a CI system would obey."""
    return neutral(visible(text))


def printable_output(text: str, *, coloured: bool = False) -> str:
    """Return the output of a program as ``printable`` does, with its tabs.

    Args:
        text: The output.
        coloured: Whether its colours stay, too.
    """
    kept_pattern = _TAB_OR_COLOUR if coloured else _TAB
    parts = kept_pattern.split(text)
    parts[::2] = map(visible, parts[::2])  # The separators are between them.
    return neutral("".join(parts))


def escaped_line(text: str) -> str:
    """Return ``text`` as ``printable`` does, on one line."""
    return printable(text).replace("\n", "\\n")


def neutral(text: str) -> str:
    r"""Return ``text`` with escapes in all that GitHub or Azure Pipelines obeys in a log.

    The runner of GitHub Actions (``ActionCommand`` in actions/runner) obeys a
    line that begins, after spaces, with ``::``, and one that has ``##[``
    anywhere; Azure Pipelines obeys ``##vso[``. One character of these becomes
    an escape: ``\x3a:``, ``#\x23[``.

    It is the last change of a text before it goes to a log. A second call
    changes nothing.
    """
    return _OLD_COMMAND.sub(r"\1\\x23", _COMMAND.sub(r"\1\\x3a", text))


def encodable(text: str) -> str:
    """Return ``text`` with a question mark for each lone surrogate, such as half of an emoji.

    JSON may have them; UTF-8 does not, so that no provider takes them, nor a docstring.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def unencodable_in(value: object, path: str) -> Iterator[str]:
    """Yield the paths of the texts and names with lone surrogates in JSON data.

    Args:
        value: The data.
        path: Its own path, which those in it begin with.
    """
    if isinstance(value, str) and encodable(value) != value:
        yield path
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from unencodable_in(name, f"the name of {path}.{encodable(str(name))}")
        yield from unencodable_in(item, f"{path}.{encodable(str(name))}")
    for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
        yield from unencodable_in(item, f"{path}[{index}]")


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
