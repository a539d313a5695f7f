"""A fingerprint, and the differences between two fingerprints in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest
from pytest_mipro.fingerprint.parts import Kind, Part, by_text, code_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

_WORDS = {
    Kind.MODULES: "{name} modules",
    Kind.INSTRUCTION: "{owner} instruction of {name}",
    Kind.FIELDS: "{owner} fields of {name}",
    Kind.DEMOS: "{owner} demos of {name}",
    Kind.CONFIG: "{owner} config of {name}",
    Kind.PREDICTOR_MODEL: "{owner} model of {name}",
    Kind.METRIC: "metric",
    Kind.MODEL: "{name} model",
    Kind.ADAPTER: "adapter",
    Kind.SETTING: "DSPy setting {name}",
    Kind.STATE: "{owner} attribute {name}",
    Kind.ENVIRONMENT: "environment variable {name}",
    Kind.FILE: "file {name}",
    Kind.OPTION: "option {name}",
    Kind.OPTIMIZER: "optimizer {name}",
    Kind.ROW: "{owner} row {name}",
    Kind.VERSION: "{name} version",
    Kind.EXTRA: "{name}",
    Kind.CODE: "code of {name}",
    Kind.DEFAULTS: "defaults of {name}",
    Kind.VALUE: "value of {name} in {owner}",
    Kind.SIGNATURE: "signature {name}",
}

_OPTIONS = frozenset({Kind.OPTION, Kind.OPTIMIZER})
_MOVES = frozenset({Kind.ADAPTER, Kind.MODEL, Kind.SETTING})
DECLARED = "declared"
"""The name of the version that a task declares; other versions are those of packages."""
_DECLARED_VERSION = Part(Kind.VERSION, DECLARED)


@dataclass(frozen=True)
class Fingerprint:
    """The parts of a task.

    Attributes:
        parts: The digest of each part's content.
        locations: ``file:line`` of the parts that have one.
        hints: What to do about the parts that may be new in each process.
        unversioned: The installed packages in use of which neither code nor version counts.
    """

    parts: Mapping[Part, str]
    locations: Mapping[Part, str] = field(default_factory=dict)
    hints: Mapping[Part, str] = field(default_factory=dict)
    unversioned: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The digest over all parts."""
        return digest(by_text(self.parts))

    def has_only_moved(self, earlier: Mapping[Part, str]) -> bool:
        """Whether the differences from ``earlier`` parts are all in what ``moves`` returns."""
        return self._changed(earlier) == self.moves(earlier)

    def moves(self, earlier: Mapping[Part, str]) -> set[Part]:
        """Return the differences in what renders prompts and answers them.

        They are models, the adapter, settings of DSPy, and versions of packages: the same program
        can be scored under the others.
        """
        return {part for part in self._changed(earlier) if _is_move(part)}

    def describe_moves(self, earlier: Mapping[Part, str]) -> str:
        """Return in words what ``moves`` returns, such as ``adapter changed, model changed``."""
        return ", ".join(f"{name} changed" for name in sorted(map(words, self.moves(earlier))))

    def changes_since(self, earlier: Mapping[Part, str]) -> tuple[str, ...]:
        """Return in words how this fingerprint differs from one with ``earlier`` parts."""
        changed = self._changed(earlier)
        rows = {part for part in changed if part.kind is Kind.ROW}
        of_optimizer = self._options_of_one_optimizer(changed, earlier)
        stated = {
            part for part in changed - rows - of_optimizer if not self._is_implied(part, changed)
        }
        return (
            *(self._change(part, earlier) for part in sorted(stated, key=words)),
            *_row_changes(rows, earlier, self.parts),
        )

    def _changed(self, earlier: Mapping[Part, str]) -> set[Part]:
        return {
            part for part in {*earlier, *self.parts} if earlier.get(part) != self.parts.get(part)
        }

    def _options_of_one_optimizer(
        self, changed: AbstractSet[Part], earlier: Mapping[Part, str]
    ) -> set[Part]:
        """Return the options that came or went because another optimizer has others."""
        optimizer = Part(Kind.OPTIMIZER)
        if optimizer not in changed:
            return set()
        return {
            part
            for part in changed - {optimizer}
            if part.kind in _OPTIONS and (part not in earlier or part not in self.parts)
        }

    def _is_implied(self, part: Part, changed: AbstractSet[Part]) -> bool:
        """Whether another changed part says the same: the source, or a signature's predictor."""
        if part.kind is Kind.DEFAULTS:
            return code_part(part.name) in changed
        if part.kind is Kind.VALUE:
            return code_part(part.owner) in changed
        if part.kind is not Kind.SIGNATURE:
            return False
        users = (user for user in changed if user.kind in {Kind.INSTRUCTION, Kind.FIELDS})
        locations = {self.locations[user] for user in users if user in self.locations}
        return self.locations.get(part) in locations

    def _change(self, part: Part, earlier: Mapping[Part, str]) -> str:
        verb = "changed"
        if part not in earlier:
            verb = "added"
        elif part not in self.parts:
            verb = "removed"
        location, hint = self.locations.get(part), self.hints.get(part)
        place = f" ({location})" if location else ""
        return f"{words(part)} {verb}{place}" + (f": {hint}" if hint else "")


def _is_move(part: Part) -> bool:
    return part.kind in _MOVES or (part.kind is Kind.VERSION and part != _DECLARED_VERSION)


def words(part: Part) -> str:
    """Return the words for a part."""
    return _WORDS[part.kind].format(name=part.name, owner=part.owner).strip()


def _row_changes(
    rows: AbstractSet[Part], earlier: Mapping[Part, str], current: Mapping[Part, str]
) -> Iterator[str]:
    for split in sorted({row.owner for row in rows}):
        split_rows = {row for row in rows if row.owner == split}
        added, removed = split_rows - earlier.keys(), split_rows - current.keys()
        moved = split_rows - added - removed
        for changed_rows, verb in ((added, "added"), (removed, "removed"), (moved, "moved")):
            if count := len(changed_rows):
                yield f"{count} {split} row{'' if count == 1 else 's'} {verb}"
