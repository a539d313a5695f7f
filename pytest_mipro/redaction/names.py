"""Decide by its name, and its value, whether a parameter, an attribute or a variable is secret."""

from __future__ import annotations

import re
from contextlib import suppress
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_CERTAIN = re.compile(
    r"secret|passw|passphrase|credential|authorization|cookie|bearer|connection_string"
    r"|(^|_)(pwd|dsn)(_|$)|api_?keys?(_|$)"
    r"|(^|_)(access|private|signing|master|account|subscription)_?keys?(_|$)"
    r"|(^|_)(access|auth|refresh|session|bearer|api|id|security|bot|ad|hf|github|gh)_?token(_|$)"
)
"""Matches names, in snake case, whose values are secret whatever they look like."""
_POSSIBLE = re.compile(
    r"auth|header|(^|_)keys?(_|$)|(^|_)token(_(provider|file|path))?$|(^|_)(pat|pass)$"
)
"""Matches names that have other values, too, but not ``max_tokens`` or ``stop_token_ids``."""
_PUBLIC = re.compile(
    r"author(?!iz)|(^|_)(bos|eos|pad|unk|sep|cls|mask|stop|special|image)_token$"
    r"|(^|_)(primary|foreign|sort|cache|group|partition)_keys?$"
)
"""Matches names of the second kind whose values are known to be others."""
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_PLACEHOLDER = re.compile(
    r"none|null|true|false|empty|dummy|fake|test|local|unused|ollama|x+|n/?a"
    r"|(sk-)?(no|not)[-_ ]?(api[-_ ]?)?(key|needed|required|used)([-_ ]required)?",
    re.IGNORECASE,
)
"""Matches values that people write where a key is wanted and none is needed."""
_WORDS = re.compile(r"[A-Za-z]+(_[A-Za-z]+)*")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]")
_PLAIN_PATHS = frozenset({"PWD", "OLDPWD"})
"""Variables of the shell, which hold the working directory."""
_LEAST_CERTAIN = 4
"""Characters of the shortest value that is secret because of its name."""
_LEAST_POSSIBLE = 6
"""Characters of the shortest value that is secret because of its name and its looks."""
_LONG = 20
"""Characters from which a value looks like a key though it has only letters."""


class Strength(IntEnum):
    """How surely a name says that its value is secret."""

    PUBLIC = 0
    POSSIBLE = 1
    CERTAIN = 2
    NAMED = 3
    """The user named it."""


def is_secret(name: object) -> bool:
    """Whether a parameter of this name may hold a credential."""
    text = snake_case(name)
    return bool(_CERTAIN.search(text) or _POSSIBLE.search(text))


def snake_case(name: object) -> str:
    """Return a parameter's name in lower case, its words joined by underscores."""
    return _snake_case(str(name))


@lru_cache(maxsize=4096)
def _snake_case(name: str) -> str:
    return _WORD_BOUNDARY.sub("_", name).lower()


def strength(name: str, patterns: Collection[str] = ()) -> Strength:
    """Return how surely ``name`` is that of a secret; ``patterns`` are names that users give."""
    text = _snake_case(name)
    if any(fnmatchcase(text, pattern) for pattern in patterns):
        return Strength.NAMED
    if name in _PLAIN_PATHS:
        return Strength.PUBLIC
    return _strength(text)


@lru_cache(maxsize=4096)
def _strength(name: str) -> Strength:
    if _CERTAIN.search(name):
        return Strength.CERTAIN
    is_possible = _POSSIBLE.search(name) and not _PUBLIC.search(name)
    return Strength.POSSIBLE if is_possible else Strength.PUBLIC


def is_secret_value(text: str, name_strength: Strength) -> bool:
    """Whether the value of a name of this strength is a secret, and no placeholder or word."""
    if name_strength in {Strength.PUBLIC, Strength.NAMED}:
        return bool(text) and name_strength is Strength.NAMED
    if len(text) < _LEAST_CERTAIN or _PLACEHOLDER.fullmatch(text) or _is_path(text):
        return False
    if name_strength is Strength.CERTAIN:
        return True
    is_word = _WORDS.fullmatch(text) and ("_" in text or len(text) < _LONG)
    is_number = text.isdecimal() and len(text) < 2 * _LEAST_POSSIBLE
    return len(text) >= _LEAST_POSSIBLE and not (is_word or is_number)


def _is_path(text: str) -> bool:
    """Whether a file is there: variables such as ``SSH_AUTH_SOCK`` hold its path."""
    if not _ABSOLUTE.match(text):
        return False
    with suppress(OSError, ValueError):
        return Path(text).exists()
    return False
