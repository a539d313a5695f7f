"""The lines of a log that a runner of GitHub Actions or Azure Pipelines obeys."""

from __future__ import annotations

import re
import unicodedata


def commands(log: str) -> list[str]:
    """Return the lines that a runner takes for commands, whether or not it has the command.

    A command of the present syntax begins a line, after white space, with two colons, and has
    two more. One of the old syntax is anywhere in a line: two number signs, and a bracket with
    what is in it. A runner compares texts as people read them, so that characters nobody sees do
    not count.
    """
    lines = re.split(r"\r\n|[\r\n]", log)
    return [
        line for line in lines if _begins_with_command(_visible(line)) or _has_old(_visible(line))
    ]


def _begins_with_command(line: str) -> bool:
    trimmed = line.lstrip()
    return trimmed.startswith("::") and "::" in trimmed[2:]


def _has_old(line: str) -> bool:
    return bool(re.search(r"##(vso)?\[[^\]]*\]", line, re.IGNORECASE))


def _visible(line: str) -> str:
    """Return a line without the characters that nobody sees."""
    return "".join(character for character in line if unicodedata.category(character) != "Cf")


def control_characters(log: str) -> set[str]:
    """Return the characters of a log that a terminal obeys, other than line breaks and tabs."""
    return {
        character
        for character in log
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    } - {"\n", "\t"}
