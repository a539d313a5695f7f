"""The ledger of looks at held-out examples: in the store, and beside the reference.

A look is a measurement: a program, held-out examples, and the scores of both programs on them.
The same scores are the same look, whichever test, process or run sees them, as nothing new can be
chosen from. Other scores are a new look: those of another program, seed, metric or model, of
examples that were answered again, or of an accepted program's fresh rollouts.

A sequential task sees its scores in batches. While they go on as those of an earlier look did, it
is that look; once they do not, as examples were answered again, it is a new one. Of several looks
that begin alike, the last one has the answers that the store has. The scores of another task are
recorded in the same batches, so that a test which becomes sequential, or no longer is, looks at
what it knows.

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
from pytest_mipro.reference import LedgerEntry, entry_of, united_looks
from pytest_mipro.session.batches import Batches
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pytest_mipro.records import LookKind
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.interim import InterimResults
    from pytest_mipro.session.policy import Policy
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
        self, context: TaskContext, results: InterimResults, kind: LookKind | None = None
    ) -> tuple[str, Entries]:
        """Return the key of a look, and all looks at its examples, itself included, by key.

        Args:
            context: The task, and the ledger beside its reference.
            results: Both programs with their scores so far.
            kind: What the look was taken for; None for what the policy says.

        Raises:
            StoreError: The store cannot be read or written.
        """
        kind = kind or ("rescore" if self._policy.rescore else "run")
        look = _look(context, results, kind)
        entries = _beside_reference(context, look)
        if results.is_complete and (key := _recorded_key(look, entries)):
            return key, entries
        if self._is_without_store(context):
            look = _placed(look, entries)
            return look.key, {**entries, look.key: entry_of(look)}
        return self._recorded(look, entries)

    def _is_without_store(self, context: TaskContext) -> bool:
        """Whether a frozen run takes all scores from the reference, and so needs no store."""
        reference = context.reference
        return (
            self._policy.frozen
            and not self._policy.rescore
            and reference is not None
            and reference.compiled.keys() >= set(_held_out(context))
        )

    def _recorded(self, look: Look, beside_reference: Entries) -> tuple[str, Entries]:
        """Return the key of ``look`` and all looks; write it to the store if they lack it."""
        entries = united_looks(beside_reference, self._stored(look))
        if key := _recorded_key(look, entries):
            return key, entries
        # Two processes may take different looks at once, which must not get one number.
        with self._storage.lock(_LOCK, on_wait=lambda _: None):
            entries = united_looks(beside_reference, self._stored(look))
            if key := _recorded_key(look, entries):
                return key, entries
            look = _placed(look, entries)
            self._storage.store.looks.replace(look)
        return look.key, {**entries, look.key: entry_of(look)}

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


def _look(context: TaskContext, results: InterimResults, kind: LookKind) -> Look:
    """Return a look without a place in the ledger."""
    names = sorted(results.batches.names)  # Also of those that are not asked yet.
    return Look(
        key="",
        number=0,
        kind=kind,
        seed=context.task.options.seed,
        scores=tuple(_scores(context, results)),
        test=context.task.test,
        held_out=digest(names),
        examples=tuple(name[:_DIGITS] for name in names),
    )


def _scores(context: TaskContext, results: InterimResults) -> Iterator[str]:
    """Yield the digest of a program, and of its and the baseline's scores, after each batch."""
    result, examples = results.latest, set(results.batches.names_at(results.number))
    task, batches = context.task, results.batches
    if not task.sequential:
        batches = Batches.of(replace(task, sequential=True))
    prompts = prompts_key(result.compiled.program)
    for number in range(1, len(batches.sizes) + 1):
        names = set(batches.names_at(number))
        if names <= examples:
            programs = (result.baseline, result.compiled)
            cards = [program.card.restricted_to(names) for program in programs]
            scores = [sorted(zip(card.examples, card.scores, strict=True)) for card in cards]
            yield digest([prompts, scores])[:_DIGITS]


def _held_out(context: TaskContext) -> list[str]:
    """Return the identities of all held-out examples, also of those that are not asked yet."""
    return [example_digest(example) for example in context.task.dataset.test]


def _matching_key(look: Look, entries: Entries) -> str | None:
    """Return the key of the last look whose scores are those of ``look``, as far as both got."""
    keys = [key for key, entry in entries.items() if entry.goes_with(look.scores)]
    return max(keys, key=lambda key: entries[key].number, default=None)


def _recorded_key(look: Look, entries: Entries) -> str | None:
    """Return the key of a look that the ledger has as far as ``look`` got."""
    key = _matching_key(look, entries)
    return key if key is not None and look.scores[-1] in entries[key].scores else None


def _placed(look: Look, entries: Entries) -> Look:
    """Return a look with its place in the ledger: that of a look which it goes on, or a new one."""
    if key := _matching_key(look, entries):
        entry = entries[key]
        return replace(look, key=key, number=entry.number, kind=entry.kind, seed=entry.seed)
    last = max((entry.number for entry in entries.values()), default=0)
    # Where branches were merged, two looks may have one number.
    number = max(last, len(entries)) + 1
    return replace(look, key=look.scores[-1], number=number)


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
