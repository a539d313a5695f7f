"""The history file of a reference: its anchor, all acceptances, and the ledger of looks.

Two branches that accept add entries under names of their own, so that the union of two histories
is the history of the merged code.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pytest_mipro.canonical import Record, digest
from pytest_mipro.records import LookKind
from pytest_mipro.reference.content import IDENTITY, SinceAnchor
from pytest_mipro.reference.files import (
    conflicting,
    damaged,
    has_conflict,
    parse,
    read_text,
    write,
)
from pytest_mipro.reference.sealing import check_seal, with_seal
from pytest_mipro.reference.state import (
    HALF_CHARACTER,
    missing_part,
    refused_key,
    unsendable_part,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_mipro.errors import DamagedReference
    from pytest_mipro.records import Look
    from pytest_mipro.reference.content import Reference
    from pytest_mipro.reference.location import ReferenceLocation

_FORMAT = "pytest-mipro history"
_VERSION = 1
_HUNK = re.compile(
    r"^<{7}[^\n]*\n(?P<ours>.*?)(?:^\|{7}[^\n]*\n.*?)?^={7}\n(?P<theirs>.*?)^>{7}[^\n]*\n",
    re.MULTILINE | re.DOTALL,
)
"""A conflict of a merge, in Git's default style or with the common ancestor."""


@dataclass(frozen=True)
class Anchor(Record):
    """The accepted program that all later ones are compared with.

    Attributes:
        acceptance: The identity of its acceptance.
        metric: The digest of the metric.
        scores: Its held-out scores, by the identity of an example.
        state: Its DSPy state, with which it is scored again if the metric changes.
    """

    acceptance: str
    metric: str
    scores: dict[str, float]
    state: dict[str, Any]

    @classmethod
    def of(cls, reference: Reference) -> Anchor:
        """Return the anchor that an accepted program is."""
        return cls(reference.identity, reference.metric, reference.compiled, reference.state)

    @property
    def identity(self) -> str:
        """The name of its scores, which are others under another metric."""
        return digest([self.acceptance, self.metric, self.scores])[:IDENTITY]

    @property
    def score(self) -> float:
        """The mean score."""
        return math.fsum(self.scores.values()) / len(self.scores)

    def with_difference(
        self, earlier: Sequence[float], scores: Mapping[str, float], most: int
    ) -> SinceAnchor:
        """Return what the last accepted programs lost, with one that has ``scores`` as the last.

        Args:
            earlier: The differences of the programs accepted before it, the last one last.
            scores: Held-out scores, by the identity of an example.
            most: How many differences are kept.
        """
        common = self.scores.keys() & scores.keys()
        if not common:
            return SinceAnchor(self.identity, ())
        difference = math.fsum(scores[name] - self.scores[name] for name in common) / len(common)
        return SinceAnchor(self.identity, (*earlier, difference)[-most:])

    def differences_in(self, reference: Reference | None) -> tuple[float, ...]:
        """Return the differences to these scores that a reference has, its own last."""
        if reference is None or reference.since_anchor.anchor != self.identity:
            return ()
        return reference.since_anchor.differences


@dataclass(frozen=True)
class LedgerEntry(Record):
    """A look in the ledger: its number, its kind, the seed of the search, and its scores.

    ``scores`` has their digest after each batch of examples, as far as the look got.
    """

    number: int
    kind: LookKind
    seed: int
    scores: tuple[str, ...]

    def goes_with(self, scores: Sequence[str]) -> bool:
        """Whether a measurement with these digests has the same scores, as far as both got."""
        return scores[-1] in self.scores or self.scores[-1] in scores


@dataclass(frozen=True)
class History(Record):
    """What was accepted so far, and the looks at the held-out examples.

    Attributes:
        first: The identity of the first acceptance.
        acceptances: The mean score of each accepted program, by the identity of its acceptance.
        anchor: The program that later ones are compared with.
        looks: The looks at the held-out examples, by key.
    """

    first: str
    acceptances: dict[str, float]
    anchor: Anchor
    looks: dict[str, LedgerEntry] = field(default_factory=dict)

    def accepting(
        self, reference: Reference, anchor: Anchor, looks: Mapping[str, LedgerEntry]
    ) -> History:
        """Return the history after an acceptance.

        Args:
            reference: The accepted program.
            anchor: The program that later ones are compared with from now on.
            looks: All looks at the held-out examples.
        """
        acceptances = {**self.acceptances, reference.identity: _mean(reference)}
        return History(self.first, acceptances, anchor, dict(looks))

    def united(self, history: History) -> History:
        """Return the union with the history of another branch, from the better anchor on."""
        anchor = max(
            (self.anchor, history.anchor), key=lambda anchor: (anchor.score, anchor.acceptance)
        )
        return History(
            first=self.first,
            acceptances={**history.acceptances, **self.acceptances},
            anchor=anchor,
            looks=united_looks(self.looks, history.looks),
        )


def first_history(reference: Reference) -> History:
    """Return the history that begins with an accepted program, without the looks at it."""
    identity = reference.identity
    return History(identity, {identity: _mean(reference)}, Anchor.of(reference))


def united_looks(
    first: Mapping[str, LedgerEntry], second: Mapping[str, LedgerEntry]
) -> dict[str, LedgerEntry]:
    """Return all looks of two ledgers, by key; of a look in both, the entry that got further."""
    looks = {**second, **first}
    for key in first.keys() & second.keys():
        looks[key] = max(first[key], second[key], key=lambda entry: len(entry.scores))
    return looks


def entry_of(look: Look) -> LedgerEntry:
    """Return what the ledger has of a look."""
    return LedgerEntry(look.number, look.kind, look.seed, look.scores)


def read_history(
    location: ReferenceLocation, reference: Reference | None, *, update: bool
) -> History | None:
    """Return the history at ``location``, or None if nothing was accepted.

    Args:
        location: The paths of the files.
        reference: The accepted reference, if there is one.
        update: Whether this run accepts, and so may unite two branches in conflict.

    Raises:
        DamagedReference: The file cannot be used, is missing, or lacks the reference.
        ReferenceFileError: The file cannot be read.
    """
    path = location.history
    text = read_text(location, path)
    if text is None and reference is not None:
        raise _broken(location, "is missing")
    if text is None:
        return None
    if has_conflict(text) and not update:
        raise conflicting(location, path)
    ours, theirs = (_parsed(location, side) for side in _sides(text))
    history = ours if ours == theirs else ours.united(theirs)
    # Git may have merged a part by itself, so that one side alone is inconsistent.
    if problem := _problem(history):
        raise _broken(location, problem)
    if reference is not None and not update and reference.identity not in history.acceptances:
        problem = f"does not go with {location.scores.name}: one of them was edited or merged alone"
        raise damaged(location, path, problem)
    return history


def write_history(location: ReferenceLocation, history: History) -> None:
    """Write the history, unless the file has this content.

    Raises:
        ReferenceFileError: The file cannot be written.
    """
    data = {**history.to_dict(), "format": _FORMAT, "version": _VERSION}
    # Git merges the rest of two histories line by line, which no seal would outlive.
    write(location, location.history, with_seal(data, _FORMAT, data["anchor"]))


def _mean(reference: Reference) -> float:
    return math.fsum(reference.compiled.values()) / len(reference.compiled)


def _sides(text: str) -> tuple[str, str]:
    """Return the text of each branch; they are equal where nothing is in conflict."""
    return _HUNK.sub(r"\g<ours>", text), _HUNK.sub(r"\g<theirs>", text)


def _parsed(location: ReferenceLocation, text: str) -> History:
    data = parse(location, location.history, text)
    if (data.get("format"), data.get("version")) != (_FORMAT, _VERSION):
        problem = (
            f"has format {data.get('format')!r:.40} and version {data.get('version')!r:.40}, "
            f"expected {_FORMAT!r} and {_VERSION}"
        )
        raise _broken(location, problem)
    try:
        history = History.from_dict(data)
    except ValidationError as error:
        details = error.errors()[0]
        name = ".".join(map(str, details["loc"]))
        raise _broken(location, f"has a wrong {name}: {details['msg']}") from error
    check_seal(location, location.history, data, _FORMAT, data["anchor"])
    return history


def _problem(history: History) -> str:
    if key := refused_key(history.anchor.state):
        return f"holds {key}, which no anchor has: it may redirect calls, with their API key"
    if part := missing_part(history.anchor.state):
        return f"is without {part} of its anchor"
    if part := unsendable_part(history.anchor.state):
        return f"has {HALF_CHARACTER} in {part} of its anchor"
    scores = (*history.acceptances.values(), *history.anchor.scores.values())
    if not history.anchor.scores or not all(map(math.isfinite, scores)):
        return "holds a score that is no finite number, or no score of the anchor"
    if not {history.first, history.anchor.acceptance} <= history.acceptances.keys():
        return "lacks the acceptance of its anchor or the first one"
    if any(entry.number < 1 or not entry.scores for entry in history.looks.values()):
        return "holds a look whose number is below 1, or one without scores"
    return ""


def _broken(location: ReferenceLocation, problem: str) -> DamagedReference:
    """Return the error of a history without which nothing holds later programs."""
    return damaged(
        location,
        location.history,
        problem,
        advice=f"start a new history with: {location.anchor_command}",
    )
