"""The named parts of a key, and in words how two keys differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SIGNATURE, INSTRUCTION, FIELDS = "signature ", "instruction of ", "fields of "
TEACHER = "teacher "
"""How the names of parts begin: signatures in the user's code, and what predictors have."""


@dataclass(frozen=True)
class Fingerprint:
    """
    The parts of a key.

    Attributes:
        parts: Digest of each part's content, by the part's name.
        where: ``file:line`` of the parts that have one.

    """

    parts: Mapping[str, str]
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The digest over all parts."""
        return digest(dict(self.parts))

    def changes_since(self, parts: Mapping[str, str]) -> tuple[str, ...]:
        """Say in words how these parts differ from an earlier fingerprint's ``parts``."""
        names = sorted({*parts, *self.parts})
        changed = [name for name in names if parts.get(name) != self.parts.get(name)]
        rows = [name for name in changed if name.startswith(("train row ", "val row "))]
        return (
            *(
                self._change(name, parts)
                for name in changed
                if name not in rows and not self._is_said(name, changed)
            ),
            *_row_changes(rows, parts, self.parts),
        )

    def _is_said(self, name: str, changed: Sequence[str]) -> bool:
        """Whether what else changed says it: the code around a value, a signature's user."""
        if name.startswith(("defaults of ", "value of ")):
            code = name.removeprefix("defaults of ").rpartition(" in ")[2]
            return code in changed or f"code of {code}" in changed
        if not name.startswith(SIGNATURE):
            return False
        users = [each for each in changed if _is_of_signature(each) and each in self.where]
        return self.where.get(name) in {self.where[each] for each in users}

    def _change(self, name: str, parts: Mapping[str, str]) -> str:
        what = "changed" if name in parts and name in self.parts else None
        what = what or ("added" if name in self.parts else "removed")
        return f"{name} {what}" + (f" ({self.where[name]})" if name in self.where else "")


def _is_of_signature(name: str) -> bool:
    return name.removeprefix(TEACHER).startswith((INSTRUCTION, FIELDS))


def _row_changes(
    names: Sequence[str], before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[str]:
    for split in ("train", "val"):
        own = [name for name in names if name.startswith(f"{split} row ")]
        added = sum(name not in before for name in own)
        removed = sum(name not in after for name in own)
        moved = len(own) - added - removed
        for count, verb in ((added, "added"), (removed, "removed"), (moved, "moved")):
            if count:
                yield f"{count} {split} row{'' if count == 1 else 's'} {verb}"
