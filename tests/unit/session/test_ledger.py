from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine
from sessions import (
    HELD_OUT,
    Adder,
    Checkout,
    adding,
    held_out,
    instructed,
    nearly_right,
    result_of,
    scorecard,
    sums,
    unchanged,
    with_demos,
)

from pytest_mipro.fingerprint import Fingerprint
from pytest_mipro.gate import LookCount
from pytest_mipro.records import Scorecard, Usage
from pytest_mipro.reference import LedgerEntry
from pytest_mipro.session.batches import Batches
from pytest_mipro.session.context import TaskContext
from pytest_mipro.session.interim import InterimResults
from pytest_mipro.session.ledger import Ledger, look_count
from pytest_mipro.session.policy import Policy
from pytest_mipro.session.storage import Storage
from pytest_mipro.store import Store, schema
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_mipro.session.results import TaskResult
    from pytest_mipro.task import Task

RIGHT, WRONG = (1.0,) * 6, (0.0,) * 6
WORSE = ScriptedEngine(base=0, per_demo=0)


def context(checkout: Checkout, **values: Any) -> TaskContext:
    """Return the context of a task without a reference."""
    return TaskContext(checkout.task(**values), Fingerprint({}), checkout.location(), None)


def number(
    ledger: Ledger,
    checkout: Checkout,
    scores: Sequence[float] = RIGHT,
    instruction: str = "Add.",
    **values: Any,
) -> int:
    """Return the number of the look at a program with these scores."""
    return number_of(ledger, *measured(checkout, scores, instruction, **values))


def measured(
    checkout: Checkout,
    scores: Sequence[float] = RIGHT,
    instruction: str = "Add.",
    **values: Any,
) -> tuple[TaskContext, TaskResult]:
    """Return a task and its result: a program with these scores."""
    program = instructed(Adder(), instruction)
    task_context = context(checkout, **values)
    card = scorecard(scores)
    return task_context, result_of(task_context.task, program, scorecard(WRONG), card)


def number_of(
    ledger: Ledger, task_context: TaskContext, result: TaskResult, batches: int = 1
) -> int:
    """Return the number of the look at a result, of which so many batches are asked."""
    results = InterimResults(Batches.of(task_context.task), batches, result, lambda _: result)
    key, entries = ledger.entries(task_context, results)
    return entries[key].number


@pytest.fixture
def ledger(checkout: Checkout) -> Ledger:
    """Return the ledger of a checkout without a store."""
    return Ledger(Storage(checkout.store_url, checkout.folder, "test"), Policy())


def test_the_same_scores_are_the_same_look(ledger: Ledger, checkout: Checkout) -> None:
    """Another program or other scores are a new look, and each look keeps its number."""
    looks: list[dict[str, Any]] = [
        {},
        {"instruction": "Sum up."},
        {"scores": WRONG},
        {"instruction": "Sum up.", "scores": WRONG},
    ]
    for _ in range(2):
        numbers = [number(ledger, checkout, **values) for values in looks]
        assert numbers == [1, 2, 3, 4]


def test_other_tests_look_at_the_same_examples(ledger: Ledger, checkout: Checkout) -> None:
    """Twenty tests that differ by a seed are twenty looks at one set."""
    numbers = [
        number(ledger, checkout, instruction=f"Add {seed}.", test=f"test_{seed}", seed=seed)
        for seed in range(20)
    ]
    assert numbers == [*range(1, 21)]


@pytest.mark.parametrize(
    "common, new, expected", [(6, 1, 2), (5, 1, 2), (3, 3, 2), (2, 4, 1), (3, 0, 2), (0, 6, 1)]
)
def test_a_few_other_examples_start_no_new_ledger(
    ledger: Ledger, checkout: Checkout, common: int, new: int, expected: int
) -> None:
    """The looks at a set count while half of the larger set is in both."""
    assert number(ledger, checkout) == 1
    examples = (*HELD_OUT[:common], *sums(40, new))
    task_context = context(checkout, dataset=held_out(*examples))
    card = Scorecard(tuple(map(example_digest, examples)), (1.0,) * len(examples), Usage())
    result = result_of(task_context.task, Adder(), card, card)
    assert number_of(ledger, task_context, result) == expected


BATCHED: list[tuple[Sequence[int], int, int]] = [
    # The wrong answers of each run, by their place in the order of asking; the batches that are
    # asked of four; and the number of the look.
    ((), 1, 1),
    ((), 2, 1),
    ((0,), 1, 2),
    ((15,), 4, 3),
    ((), 1, 3),
    ((), 2, 1),
    ((15,), 2, 3),
    ((), 4, 1),
    ((35,), 4, 4),
    ((15, 35), 4, 5),
    ((0, 35), 4, 2),
    ((0, 36), 4, 6),
]


@pytest.mark.parametrize("is_sequential", [True, False])
def test_scores_that_go_on_otherwise_are_a_new_look(
    ledger: Ledger, checkout: Checkout, is_sequential: bool
) -> None:
    """A first batch that came out the same again does not hide what came out otherwise later."""
    dataset = held_out(*sums(100, 40))
    task_context = context(checkout, dataset=dataset, sequential=True)
    whole = context(checkout, dataset=dataset)
    order = Batches.of(task_context.task).order
    names = tuple(map(example_digest, dataset.test))
    for wrong, batches, expected in BATCHED:
        scores = [float(order.index(position) not in wrong) for position in range(40)]
        card = Scorecard(names, tuple(scores), Usage())
        result = result_of(task_context.task, Adder(), card, card)
        assert number_of(ledger, task_context, result, batches) == expected
        if batches == 4 and not is_sequential:
            assert number_of(ledger, whole, result) == expected


@pytest.mark.parametrize("becomes_sequential", [True, False])
def test_a_test_that_becomes_sequential_looks_at_what_it_knows(
    ledger: Ledger, checkout: Checkout, becomes_sequential: bool
) -> None:
    """A part of the same scores is the same look, and the whole of which a part was seen, too."""
    dataset = held_out(*sums(100, 40))
    whole, batched = (
        context(checkout, dataset=dataset, sequential=sequential) for sequential in (False, True)
    )
    card = Scorecard(tuple(map(example_digest, dataset.test)), (1.0,) * 40, Usage())
    result = result_of(whole.task, Adder(), card, card)
    looks = [(whole, 1), (batched, 1), (batched, 2)]
    for task_context, batches in looks if becomes_sequential else reversed(looks):
        assert number_of(ledger, task_context, result, batches) == 1

    changed = replace(card, scores=(0.0, *card.scores[1:]))
    assert number_of(ledger, whole, result_of(whole.task, Adder(), changed, card)) == 2


def test_workers_number_looks_once(checkout: Checkout) -> None:
    """Eight workers, of which each two see the same look, give four numbers."""
    Store.open(checkout.store_url).close()
    # Not in threads: Python's parser, which makes signatures, raises SystemError there at times.
    results = [measured(checkout, instruction=f"Add {worker // 2}.") for worker in range(8)]

    def look(worker: int) -> int:
        storage = Storage(checkout.store_url, checkout.folder, f"worker {worker}")
        with closing(storage):
            return number_of(Ledger(storage, Policy()), *results[worker])

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(look, range(8)))
    assert numbers[::2] == numbers[1::2]
    assert sorted(numbers[::2]) == [1, 2, 3, 4]


def test_a_count_says_what_the_looks_were() -> None:
    """It counts the looks up to the present one, so that a later run says the same."""
    entries = {
        "a": LedgerEntry(1, "run", 9, ("a",)),
        "b": LedgerEntry(2, "rescore", 9, ("b",)),
        "c": LedgerEntry(3, "acceptance", 7, ("c",)),
        "d": LedgerEntry(4, "rescore", 5, ("d",)),
    }
    assert look_count("a", entries, 120) == LookCount(1, 120)
    assert look_count("c", entries, 120) == LookCount(3, 120, 2, 1, 1)


def drift(checkout: Checkout) -> Task:
    """Let the model answer otherwise from now on."""
    checkout.model.drift_to(WORSE)
    return checkout.task()


def other_program(checkout: Checkout) -> Task:
    """Let the search find another program."""
    checkout.recorder.optimizer = unchanged
    return checkout.task(seed=7)


NEW_LOOKS: dict[str, tuple[Callable[[Checkout], Task], dict[str, bool], str]] = {
    "the same": (Checkout.task, {}, ""),
    "rescored alike": (Checkout.task, {"rescore": True}, ""),
    "rescored": (drift, {"rescore": True}, "2nd look at these 6 examples (1 rescore)"),
    "another seed": (other_program, {}, "2nd look at these 6 examples (2 seeds)"),
    "another metric": (
        lambda checkout: checkout.task(metric=nearly_right),
        {},
        "2nd look at these 6 examples",
    ),
}


@pytest.mark.parametrize("change, policy, look", NEW_LOOKS.values(), ids=NEW_LOOKS)
def test_a_verdict_says_which_look_it_is(
    compiled: Checkout, change: Callable[[Checkout], Task], policy: dict[str, bool], look: str
) -> None:
    """The same program on the same scores is no new look, in this run or a later one."""
    compiled.outcome()
    compiled.recorder.optimizer = with_demos
    task = change(compiled)
    for _ in range(2):
        sentence = compiled.outcome(task, **policy).beats_baseline().sentence
        assert sentence.startswith(f"this is the {look}; ") is bool(look)
        assert ("this is the" in sentence) is bool(look)


def test_a_rescore_whose_first_batch_came_out_the_same_is_a_new_look(tmp_path: Path) -> None:
    """One of 80 answers is another one, and a run that asks in batches is at the same look."""
    checkout = Checkout(tmp_path, model=adding(50, 12))
    checkout.recorder.optimizer = with_demos
    task = checkout.task(dataset=held_out(*sums(100, 80)), sequential=True)
    task = replace(task, alpha_spending=True)
    first = checkout.outcome(task, rescore=True)
    assert "look at these" not in first.beats_baseline(margin=0.1).sentence
    checkout.model.drift_to(ScriptedEngine(base=50, per_demo=13))
    for policy in ({"rescore": True}, {}):
        outcome = checkout.outcome(task, **policy)
        for margin in (0.1, 0.0):
            sentence = outcome.beats_baseline(margin=margin).sentence
            look = "this is the 2nd look at these 80 examples (2 rescores); a PASS needs p < 0.0083"
            assert sentence.startswith(look)


def test_a_verdict_that_asks_answers_again_is_a_new_look(tmp_path: Path) -> None:
    """Where the store lost them, they may come out otherwise; the first batch did not yet."""
    checkout = Checkout(tmp_path, model=adding(50, 12))
    checkout.recorder.optimizer = with_demos
    task = checkout.task(dataset=held_out(*sums(100, 80)), sequential=True)
    assert "look at these" not in checkout.outcome(task).beats_baseline(margin=0.2).sentence
    with closing(Store.open(checkout.store_url)) as store, store.connection() as connection:
        connection.execute(schema.ROWS.delete())
    outcome = checkout.outcome(task)
    checkout.model.drift_to(WORSE)
    for _ in range(2):
        assert "the 2nd look at these 80" in outcome.beats_baseline(margin=0.2).sentence
        outcome = checkout.outcome(task)


def test_the_ledger_goes_with_the_reference(compiled: Checkout, tmp_path: Path) -> None:
    """An acceptance writes the looks of the store, and a checkout without a store counts on."""
    compiled.recorder.optimizer = with_demos
    compiled.outcome(compiled.task(metric=nearly_right))
    compiled.outcome(update=True)
    elsewhere = compiled.copied_to(tmp_path / "elsewhere", "__mipro__")
    elsewhere.recorder.optimizer = with_demos
    assert "2nd look" not in elsewhere.outcome(frozen=True).beats_baseline().sentence
    elsewhere.model.drift_to(WORSE)
    assert "3rd look" in elsewhere.outcome().beats_baseline().sentence


def test_a_frozen_run_makes_no_store(accepted: Checkout) -> None:
    """The accepted scores of fewer examples are a look that is counted and not recorded."""
    accepted.store.unlink()
    task = accepted.task(dataset=held_out(*HELD_OUT[:4]))
    for _ in range(2):
        sentence = accepted.outcome(task, frozen=True).no_regression().sentence
        assert sentence.startswith("this is the 2nd look at these 4 examples; ")
    assert not accepted.store.exists()


@pytest.mark.parametrize("spends", [True, False])
def test_alpha_is_spent_over_the_looks(compiled: Checkout, spends: bool) -> None:
    """Six right answers more are enough for one look at alpha, and too few for a second look."""
    compiled.recorder.optimizer = with_demos
    compiled.outcome()
    task = replace(compiled.task(metric=nearly_right), alpha_spending=spends)
    verdict = compiled.outcome(task).beats_baseline(alpha=0.04)
    assert verdict.word == ("INCONCLUSIVE" if spends else "PASS")
    assert ("a PASS needs p < 0.006667 at look 2, of alpha = 0.04" in verdict.sentence) is spends
