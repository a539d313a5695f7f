from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import Checkout, held_out, sums

from pytest_mipro.session.batches import FEWEST, Batches, on_examples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def batches(root: Path, *examples: dspy.Example, **values: Any) -> Batches:
    """Return the batches of a sequential task with these held-out examples."""
    task = Checkout(root).task(dataset=held_out(*examples))
    return Batches.of(replace(task, **{"sequential": True, **values}))


def in_documents(sizes: Sequence[int]) -> tuple[dspy.Example, ...]:
    """Return examples about documents, of which each has so many."""
    documents = [number for number, size in enumerate(sizes) for _ in range(size)]
    pairs = zip(sums(100, len(documents)), documents, strict=True)
    return tuple(
        dspy.Example(**example, document=document).with_inputs("question")
        for example, document in pairs
    )


@pytest.mark.parametrize(
    "count, sizes",
    [
        (80, (20, 40, 60, 80)),
        (45, (12, 23, 34, 45)),
        (2 * FEWEST, (10, 20)),
        (2 * FEWEST - 1, (19,)),
        (6, (6,)),
    ],
)
def test_a_batch_has_enough_examples(tmp_path: Path, count: int, sizes: tuple[int, ...]) -> None:
    """There are four analyses, or fewer where batches would be too small to be worth it."""
    assert batches(tmp_path, *sums(100, count)).sizes == sizes


def test_other_tasks_have_one_batch(tmp_path: Path) -> None:
    """All their examples are asked at once, so that a comparison has no design."""
    single = batches(tmp_path, *sums(100, 80), sequential=False)
    assert (single.sizes, single.examples_at(1)) == ((80,), sums(100, 80))
    assert single.analysis(1, 0.05) is None


def test_the_order_is_that_of_the_content(tmp_path: Path) -> None:
    """It depends on no seed and no order of rows; in a batch the split's order stays."""
    examples = sums(100, 40)
    first = batches(tmp_path, *examples)
    backwards = batches(tmp_path, *reversed(examples))
    assert set(first.names_at(2)) == set(backwards.names_at(2))
    assert set(first.names_at(1)) < set(first.names_at(2))
    assert first.examples_at(1) != examples[:10]
    positions = [examples.index(example) for example in first.examples_at(2)]
    assert positions == sorted(positions)


def test_a_cluster_is_asked_at_once(tmp_path: Path) -> None:
    """Looks are at whole clusters, and the first one has two of them at least."""
    examples = in_documents([6] * 10)
    clustered = batches(tmp_path, *examples, cluster="document")
    assert clustered.sizes == (18, 30, 48, 60)
    for number in (1, 2, 3):
        documents = [example.document for example in clustered.examples_at(number)]
        assert all(documents.count(document) == 6 for document in documents)
    large = batches(tmp_path, *in_documents([20, 20]), cluster="document")
    assert large.sizes == (40,)


def test_only_common_examples_count(tmp_path: Path) -> None:
    """The analyses of a comparison are at the examples that both programs have."""
    design = batches(tmp_path, *sums(100, 80))
    late = {*design.names} - {*design.names_at(2)}
    assert [design.compared(number, late) for number in (1, 2, 3, 4)] == [0, 0, 20, 40]
    analysis = design.analysis(3, 0.05, late)
    assert analysis is not None
    assert (analysis.number, analysis.design.sizes) == (1, (20, 40))
    assert design.analysis(4, 0.05, design.names_at(1)) is None


def test_a_task_on_some_examples(tmp_path: Path) -> None:
    """Only its held-out examples differ."""
    task = Checkout(tmp_path).task()
    changed = on_examples(task, task.dataset.test[:2])
    assert changed.dataset.test == task.dataset.test[:2]
    assert changed.dataset.train == task.dataset.train
    assert replace(changed, dataset=task.dataset) == task
