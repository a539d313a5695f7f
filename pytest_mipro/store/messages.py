"""What is wrong with a store, and what to do about it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_mipro.store.checksum import DamagedRecord

DAMAGED = (
    "it is damaged, move it aside and run again (nothing is deleted for you), or put a copy of "
    "it back"
)

_READING = "to read one that cannot be written, use sqlite:///file:PATH?immutable=1&uri=true"

_ADVICE = {
    "decode": DAMAGED,
    "readonly": (
        f"it is read-only; make the file and its folder writable, or use a copy of it; {_READING}"
    ),
    "is full": (
        "make room and run again; what was written before is kept, and is not paid for again"
    ),
    "disk I/O error": (
        "make sure that the disk has room and is in order, and run again; what was written "
        "before is kept"
    ),
    "unable to open": (
        "make sure that the file exists and that it and its folder can be written, as SQLite "
        f"keeps two more files beside a store in use; or use another store; {_READING}"
    ),
    "locked": (
        "another process has been writing to it for long; make sure that none hangs, and run again"
    ),
    "malformed": DAMAGED,
    "not a database": "if it is a store, " + DAMAGED,
    "no such": DAMAGED,
}
"""What to do, by what SQLite says. Its error codes would do, but Python 3.10 hides them."""

_LONGEST = 200
"""Characters of what a driver says."""

_OTHERWISE = {
    "sqlite": "if " + DAMAGED,
    "postgresql": (
        "make sure that the server can be reached and that its user may create tables there, "
        "or use another store"
    ),
}


def explain_damage(store: str, error: DamagedRecord, backend: str) -> StoreError:
    """Return what to raise for a record that is not what was written; as ``explain``."""
    advice = DAMAGED if backend == "sqlite" else "put a backup in place, or use another store"
    return StoreError(f"{error}, in the store {store}; {advice}")


def explain(store: str, error: Exception, backend: str, secrets: Iterable[str] = ()) -> StoreError:
    """
    Return what to raise for what a database driver, or SQLAlchemy, raised.

    Args:
        store: What the store is called.
        error: What was raised.
        backend: The kind of database.
        secrets: What the message must not repeat.

    """
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    for secret in secrets:
        reason = reason.replace(secret, "***")
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]}…"  # It may cite a whole record.
    known = next((advice for part, advice in _ADVICE.items() if part in reason), None)
    advice = _OTHERWISE[backend] if known is None or backend != "sqlite" else known
    return StoreError(f"the store {store} cannot be used: {reason}; {advice}")
