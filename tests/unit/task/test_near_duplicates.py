from __future__ import annotations

from typing import Any

import pytest
from row_sources import rows

from pytest_mipro.task import Dataset, near_duplicate_warning


def dataset_of(**added: list[dict[str, Any]]) -> Dataset:
    """Return explicit splits with rows added to some of them."""
    names = {"train": 0, "val": 10, "test": 20}
    source = {name: [*rows(3, start), *added.get(name, [])] for name, start in names.items()}
    return Dataset.load(source, inputs="question")


def test_a_dataset_without_near_duplicates_has_no_warning() -> None:
    """Equal inputs with two labels and inputs that differ in a letter are no near-duplicates."""
    dataset = dataset_of(
        train=[{"question": "What is 0?", "answer": "other"}, {"question": "What is"}]
    )

    assert not near_duplicate_warning(dataset.splits)


def test_near_duplicates_of_one_split_are_named() -> None:
    """The warning shows both examples, and what the pair is worth."""
    assert near_duplicate_warning(dataset_of(test=[{"question": "what  is 21?"}]).splits) == (
        "1 example with inputs that differ from another's only in case, Unicode form or white "
        'space:\n  test[3] {"question":"what  is 21?"} is like test[1] {"question":"What is 21?"}\n'
        "they are in one split, but the same evidence twice: remove them, or declare cluster="
    )


@pytest.mark.parametrize("count", [1, 5])
def test_near_duplicates_in_two_splits_come_first(count: int) -> None:
    """The warning shows the first few, and says what they do to the held-out score."""
    train = [{"question": f"WHAT is {n}?"} for n in range(3)]
    test = [{"question": f"what is {n} ?"} for n in range(count)]

    warning = near_duplicate_warning(dataset_of(train=train, test=test).splits)

    first = 'test[3] {"question":"what is 0 ?"} is like train[0] {"question":"What is 0?"}'
    assert warning.splitlines()[1].strip() == first
    assert warning.splitlines()[0].startswith(f"{3 + min(count, 3)} examples with inputs")
    assert f"{min(count, 3)} of them in another split" in warning
    assert warning.count(" is like ") == 3
