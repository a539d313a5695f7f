from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from row_sources import SPLITS, as_csv, as_json, as_jsonl, examples_of, jsonl, refused, rows, write

from pytest_mipro.errors import DatasetError
from pytest_mipro.task import Dataset, example_digest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    "source",
    [
        as_jsonl,
        as_json,
        as_csv,
        lambda path: str(as_jsonl(path)),
        lambda path: as_jsonl(path).rename(path / "ROWS.JSONL"),
        lambda _: rows(30),
        lambda _: tuple(rows(30)),
        lambda _: iter(rows(30)),
        lambda _: lambda: rows(30),
        lambda _: lambda: iter([dspy.Example(row) for row in rows(30)]),
        lambda _: [dspy.Example(row).with_inputs("question") for row in rows(30)],
        lambda _: [dspy.Example(row).with_inputs("answer") for row in rows(30)],
    ],
    ids=[
        *("jsonl", "json", "csv", "str", "upper case", "list", "tuple", "iterator"),
        *("callable", "callable of an iterator", "examples", "examples with other inputs"),
    ],
)
def test_all_sources_give_the_same_splits(tmp_path: Path, source: Any) -> None:
    """The same rows from any source are the same examples in the same splits."""
    expected = Dataset.load(rows(30), inputs=["question"])

    dataset = Dataset.load(source(tmp_path), inputs=["question"])

    assert dataset == expected
    assert {row.inputs().toDict()["question"] for row in examples_of(dataset)} == {
        row["question"] for row in rows(30)
    }
    assert [example_digest(row) for row in dataset.test] == [
        example_digest(row) for row in expected.test
    ]


@pytest.mark.parametrize("inputs", ["question", ["question"], ("question",), iter(["question"])])
def test_inputs_are_one_name_or_several(inputs: Any) -> None:
    """A single name is one input, not a sequence of letters."""
    dataset = Dataset.load(rows(30), inputs=inputs)

    assert all(row.inputs().keys() == ["question"] for row in examples_of(dataset))
    assert all(row.labels().keys() == ["answer"] for row in examples_of(dataset))


def test_relative_path_starts_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path starts from the folder argument, else from the working directory."""
    as_jsonl(tmp_path)
    expected = Dataset.load(rows(30), inputs="question")

    assert Dataset.load("rows.jsonl", inputs="question", folder=tmp_path) == expected
    monkeypatch.chdir(tmp_path)
    assert Dataset.load(Path("rows.jsonl"), inputs="question") == expected


def test_dataset_is_returned_unchanged() -> None:
    """Loading a dataset returns the same object."""
    dataset = Dataset.load(rows(30), inputs="question")

    assert Dataset.load(dataset, inputs="answer") is dataset


def test_explicit_splits_keep_their_order(tmp_path: Path) -> None:
    """A mapping of pools from different sources is not shuffled."""
    source: dict[str, Any] = {
        "train": write(tmp_path / "train.jsonl", jsonl(rows(3))),
        "val": rows(2, 10),
        "test": lambda: (dspy.Example(row) for row in rows(2, 20)),
    }

    dataset = Dataset.load(source, inputs="question")

    assert [row.answer for row in dataset.train] == ["0", "1", "2"]
    assert [row.answer for row in dataset.val] == ["10", "11"]
    assert [row.answer for row in dataset.test] == ["20", "21"]


def test_constructor_takes_iterables() -> None:
    """A dataset of three iterators equals the dataset of three tuples."""
    train, val, test = (
        tuple(dspy.Example(row).with_inputs("question") for row in rows(2, n)) for n in (0, 5, 9)
    )
    iterators: list[Any] = [iter(train), iter(val), iter(test)]

    dataset = Dataset(*iterators)

    assert dataset == Dataset(train, val, test)
    assert isinstance(dataset.test, tuple)


@pytest.mark.parametrize(
    "source, words",
    [
        (None, ["dataset=None", "a path, examples, or a callable"]),
        (3, ["dataset=3", "a path, examples, or a callable"]),
        (lambda: None, ["dataset=None", "a callable that returns examples"]),
        (lambda rows: rows, ["dataset is a function", "without arguments", "'rows'"]),
        (lambda: {"question": "Why?"}, ["dataset={'question': 'Why?'}"]),
        (["Why?"], ["dataset[0] is 'Why?'", "a dspy.Example or a mapping"]),
        ([*rows(1), ("Why?", "b")], ["dataset[1] is ('Why?', 'b')"]),
        ([{"question": "a"}, {"answer": "b"}], ["dataset[1] has no field 'question'", "'answer'"]),
        ([{}], ["dataset[0] has no field 'question'"]),
        ([dspy.Example(a=1)], ["dataset[0] has no field 'question'; it has ['a']"]),
        ([{1: "a", "question": "b"}], ["dataset[0]", "1"]),
        ([{"question": object()}], ["dataset[0]", "object"]),
        ([{"question": "a", "answer": object()}], ["dataset[0]", "object"]),
        ({"train": rows(1), "test": rows(1)}, ["['test', 'train']", "train, val and test"]),
        ({}, ["[]", "exactly the keys train, val and test"]),
        ({**dict.fromkeys(SPLITS, rows(1)), "dev": rows(1)}, ["'dev'", "give one pool instead"]),
        ({**dict.fromkeys(SPLITS, rows(1)), "val": None}, ["val=None", "expected a path"]),
        ({**dict.fromkeys(SPLITS, rows(1)), "test": ["a"]}, ["test[0] is 'a'"]),
    ],
)
def test_wrong_source_is_refused(source: Any, words: list[str]) -> None:
    """The error names the row or split, its value, and the expected value."""
    refused(source, *words)


@pytest.mark.parametrize("inputs", [[], (), [1], [None], 5, ["question", 2]])
def test_wrong_inputs_are_refused(inputs: Any) -> None:
    """The error names the inputs, and gives an example of field names."""
    refused(rows(30), f"inputs={inputs!r}", "inputs=['question']", inputs=inputs)


@pytest.mark.parametrize(
    "train",
    [
        (),
        (dspy.Example(question="a"),),
        ("a",),
        (dspy.Example(question="a").with_inputs("question"),) * 2,
        (dspy.Example(question="b").with_inputs("question"),),
        None,
    ],
    ids=["empty", "no inputs", "text", "duplicate", "overlap", "None"],
)
def test_constructor_checks_the_splits(train: Any) -> None:
    """The constructor refuses the same splits as load."""
    val, test = ((dspy.Example(question=name).with_inputs("question"),) for name in "bc")

    with pytest.raises(DatasetError, match="train"):
        Dataset(train, val, test)


def test_error_of_a_users_function_is_raised_unchanged() -> None:
    """An error that the user's own loader raises passes through."""

    def load() -> Iterator[dict[str, str]]:
        raise RuntimeError("no connection to the ticket system")
        yield {}

    with pytest.raises(RuntimeError, match="ticket system"):
        Dataset.load(load, inputs="question")
