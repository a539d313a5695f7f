"""Seal what a reference file claims, and check the seal where a run has the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_mipro.canonical import JSON, canonical_json
from pytest_mipro.errors import DamagedReference
from pytest_mipro.store import SEAL_VARIABLE, environment_seal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_mipro.reference.location import ReferenceLocation


def with_seal(data: Mapping[str, Any], kind: str, claims: JSON) -> dict[str, Any]:
    """Return the content of a file with a seal on its claims; without one if there is no key.

    Args:
        data: The content.
        kind: What the claims are, so that the seal of others is none of them.
        claims: The part of the content that decides verdicts.
    """
    seal = environment_seal()
    return dict(data) if seal is None else {**data, "seal": seal.of([kind, canonical_json(claims)])}


def check_seal(
    location: ReferenceLocation, path: Path, data: Mapping[str, Any], kind: str, claims: JSON
) -> None:
    """Raise DamagedReference if a run with a key cannot believe the claims of a file."""
    seal = environment_seal()
    if seal is None or seal.is_on(data.get("seal"), [kind, canonical_json(claims)]):
        return
    problem = "has no seal" if "seal" not in data else "has the seal of other content or keys"
    command = location.anchor_command if path == location.history else location.command
    message = (
        f"the reference {location.show(path)} {problem}, and is not believed where "
        f"{SEAL_VARIABLE} is set; review it, and accept it where the same key is set, with: "
        f"{command}"
    )
    raise DamagedReference(message)
