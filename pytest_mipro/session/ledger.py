"""The ledger of looks at held-out examples: in the store, and beside the reference.

A look is a measurement: a program, held-out examples, and the scores of both programs on them.
The same scores are the same look, whichever test, process or run sees them, as nothing new can be
chosen from. Other scores are a new look: those of another program, seed, metric or model, of
examples that were answered again, or of an accepted program's fresh rollouts.

Two sets of examples count as the same while at least half of the larger one is in both, so that
an example more starts no new ledger.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest
from pytest_mipro.fingerprint import prompts_key
from pytest_mipro.gate import LookCount
from pytest_mipro.records import Look
from pytest_mipro.reference import LedgerEntry, entry_of
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_mipro.records import LookKind, Scorecard
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.results import ScoredProgram
    from pytest_mipro.session.storage import Storage

    Entries = Mapping[str, LedgerEntry]

_LOCK = digest("ledger of looks")
"""The key of the lock under which looks are numbered."""
_DIGITS = 16
"""Digits of the keys of looks, and of the identities of examples, in the ledger."""


class Ledger:
    """Numbers looks, each of them once."""

    def __init__(self, storage: Storage, policy: Policy) -> None:
        """Keep looks in the store of a session."""
        self._storage = storage
        self._policy = policy

    def entries(
        self,
        context: TaskContext,
        baseline: Scorecard,
        compiled: ScoredProgram,
        kind: LookKind | None = None,
    ) -> tuple[str, Entries]:
        """Return the key of a look, and all looks at its examples, itself included, by key.

        Args:
            context: The task, and the ledger beside its reference.
            baseline: The scores of the baseline; of a sequential task those of the first batch,
                so that a look that goes on stays the same.
            compiled: The compiled program with its scores on the same examples.
            kind: What the look was taken for; None for what the policy says.

        Raises:
            StoreError: The store cannot be read or written.
        """
        kind = kind or ("rescore" if self._policy.rescore else "run")
        look = _look(context, baseline, compiled, kind)
        entries = _beside_reference(context, look)
        if look.key in entries:
            return look.key, entries
        if self._is_without_store(context):
            return look.key, {**entries, look.key: entry_of(_numbered(look, entries))}
        return look.key, self._recorded(look, entries)

    def _is_without_store(self, context: TaskContext) -> bool:
        """Whether a frozen run takes all scores from the reference, and so needs no store."""
        reference = context.reference
        return (
            self._policy.frozen
            and not self._policy.rescore
            and reference is not None
            and reference.compiled.keys() >= set(_held_out(context))
        )

    def _recorded(self, look: Look, beside_reference: Entries) -> Entries:
        """Return all looks after ``look`` was written to the store, if it was not before."""
        entries = {**self._stored(look), **beside_reference}
        if look.key in entries:
            return entries
        # Two processes may take different looks at once, which must not get one number.
        with self._storage.lock(_LOCK, on_wait=lambda _: None):
            entries = {**self._stored(look), **beside_reference}
            if look.key not in entries:
                numbered = _numbered(look, entries)
                self._storage.store.looks.put(numbered)
                entries[look.key] = entry_of(numbered)
        return entries

    def _stored(self, look: Look) -> dict[str, LedgerEntry]:
        looks = self._storage.store.looks.related(look.held_out, look.test)
        return {
            key: entry_of(stored)
            for key, stored in looks.items()
            if _mostly_same(stored.examples, look.examples)
        }


def look_count(key: str, entries: Entries, examples: int) -> LookCount:
    """Return the number of a look among ``entries``, with what the looks so far were."""
    number = entries[key].number
    looks = [entry for entry in entries.values() if entry.number <= number]
    return LookCount(
        number=number,
        examples=examples,
        seeds=len({entry.seed for entry in looks}),
        rescores=sum(entry.kind == "rescore" for entry in looks),
        acceptances=sum(entry.kind == "acceptance" for entry in looks),
    )


def _look(
    context: TaskContext, baseline: Scorecard, compiled: ScoredProgram, kind: LookKind
) -> Look:
    """Return a look without a number."""
    scores = [
        sorted(zip(card.examples, card.scores, strict=True)) for card in (baseline, compiled.card)
    ]
    names = sorted(_held_out(context))
    return Look(
        key=digest([prompts_key(compiled.program), scores])[:_DIGITS],
        number=0,
        kind=kind,
        seed=context.task.options.seed,
        test=context.task.test,
        held_out=digest(names),
        examples=tuple(name[:_DIGITS] for name in names),
    )


def _held_out(context: TaskContext) -> list[str]:
    """Return the identities of all held-out examples, also of those that are not asked yet."""
    return [example_digest(example) for example in context.task.dataset.test]


def _numbered(look: Look, entries: Entries) -> Look:
    """Return a new look with the number after those of all earlier ones."""
    last = max((entry.number for entry in entries.values()), default=0)
    # Where branches were merged, two looks may have one number.
    return replace(look, number=max(last, len(entries)) + 1)


def _beside_reference(context: TaskContext, look: Look) -> Entries:
    """Return the looks in the file of the reference, if they are at these examples."""
    history = context.history
    if history is None:
        return {}
    reference = context.reference
    accepted = history.anchor.scores if reference is None else reference.compiled
    examples = [name[:_DIGITS] for name in accepted]
    return history.looks if _mostly_same(examples, look.examples) else {}


def _mostly_same(first: Collection[str], second: Collection[str]) -> bool:
    """Whether at least half of the larger set of examples is in both."""
    return 2 * len({*first} & {*second}) >= max(len(first), len(second))
