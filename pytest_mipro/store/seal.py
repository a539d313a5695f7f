"""A seal on what is stored: an HMAC under a key that only trusted runs have."""

from __future__ import annotations

import hmac
import json
import os
from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

SEAL_VARIABLE = "MIPRO_SEAL_KEY"
"""The environment variable that holds the key."""
_SHORTEST = 32
"""Least characters of a key: those of 16 random bytes as hexadecimal digits."""


class Seal:
    """Seals content under one key, and tells content that was sealed under it.

    Where a run has a key, what has no valid seal is not believed.
    """

    def __init__(self, key: str) -> None:
        """Use ``key``, a text that nobody can guess."""
        self._key = key.encode("utf-8", "surrogatepass")

    def of(self, parts: Sequence[object]) -> str:
        """Return the seal of ``parts``, which JSON tells apart from any others."""
        content = json.dumps([*map(str, parts)]).encode("ascii")
        return hmac.digest(self._key, content, "sha256").hex()

    def is_on(self, seal: object, parts: Sequence[object]) -> bool:
        """Whether ``seal`` is that of ``parts``."""
        written = str(seal).encode("utf-8", "surrogatepass")
        return hmac.compare_digest(self.of(parts).encode("ascii"), written)


def has_seal_key() -> bool:
    """Whether the environment has a key, so that what is stored and accepted is sealed."""
    return len(_environment_key()) >= _SHORTEST


def environment_seal() -> Seal | None:
    """Return the seal under the key in the environment; None without a key.

    Raises:
        StoreError: The key is too short to be a secret.
    """
    key = _environment_key()
    if not key:
        return None
    if len(key) < _SHORTEST:
        message = (
            f"{SEAL_VARIABLE} has {len(key)} characters, expected {_SHORTEST} or more; make a key: "
            'python -c "import secrets; print(secrets.token_hex(32))"'
        )
        raise StoreError(message)
    return Seal(key)


def _environment_key() -> str:
    # A job that has no secrets, such as one of a fork, gets an empty text.
    return os.environ.get(SEAL_VARIABLE, "").strip()
