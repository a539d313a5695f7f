"""The errors of a database and of its driver, as messages with a next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError

if TYPE_CHECKING:
    from pytest_mipro.store.backend import Backend
    from pytest_mipro.store.checksum import DamagedRecord

_LONGEST = 200
"""Most characters that a message cites of a driver's error."""


def explain_damage(backend: Backend, error: DamagedRecord) -> StoreError:
    """Return the error to raise for a record that is not as it was written."""
    return StoreError(f"{error}, in the store {backend.name}; {backend.damage_advice}")


def explain(backend: Backend, error: Exception) -> StoreError:
    """Return the error to raise for one that a database driver, or SQLAlchemy, raised."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    for secret in backend.secrets:
        reason = reason.replace(secret, "***")
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]}…"  # It may cite a whole record.
    return StoreError(
        f"the store {backend.name} cannot be used: {reason}; {backend.advice(reason)}"
    )
