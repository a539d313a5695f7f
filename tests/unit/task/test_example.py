from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_sources import examples_of, homes, jsonl, refused, rows, write

from pytest_mipro.errors import DatasetError
from pytest_mipro.task import Dataset, check_example, example_digest

if TYPE_CHECKING:
    from pathlib import Path


class Ticket(dspy.Example):
    """A user's own kind of example."""


@given(st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=3), min_size=1))
def test_identity_depends_on_content(fields: dict[str, Any]) -> None:
    """Values and inputs change the identity; the order of fields and the class do not."""
    names = list(fields)
    example = dspy.Example(fields).with_inputs(names[0])

    assert example_digest(
        dspy.Example(dict(reversed(fields.items()))).with_inputs(names[0])
    ) == example_digest(example)
    assert example_digest(Ticket(fields).with_inputs(names[0])) == example_digest(example)
    assert example_digest(example.copy(d=1)) != example_digest(example)
    assert example_digest(example.with_inputs(*names, "d")) == example_digest(
        example.with_inputs(*names)
    )
    if len(names) > 1:
        assert example_digest(example.with_inputs(*names)) != example_digest(example)


@pytest.mark.parametrize("inputs", [None, "question"])
def test_examples_keep_their_subclass(inputs: str | None) -> None:
    """An example keeps its subclass, and its content decides its split."""
    pool = [Ticket(row).with_inputs("question") for row in rows(30)]

    dataset = Dataset.load(pool, inputs=inputs)

    assert all(type(row) is Ticket for row in examples_of(dataset))
    assert homes(dataset) == homes(Dataset.load(rows(30), inputs="question"))


@pytest.mark.parametrize(
    "name", ["base", "inputs", "labels", "copy", "keys", "get", "_store", "a b"]
)
def test_field_may_have_any_name(tmp_path: Path, name: str) -> None:
    """A field may have the name of a method of Example, or a name that is no identifier."""
    pool = [{name: f"{n}", "answer": "yes"} for n in range(30)]
    path = write(tmp_path / "a.jsonl", jsonl(pool))

    dataset = Dataset.load(path, inputs=[name])

    assert {row[name] for row in examples_of(dataset)} == {f"{n}" for n in range(30)}
    assert all(row.inputs().toDict() == {name: row[name]} for row in examples_of(dataset))


def test_users_examples_are_not_changed() -> None:
    """Loading declares inputs on copies."""
    pool = [dspy.Example(row).with_inputs("answer") for row in rows(30)]

    Dataset.load(pool, inputs="question")

    assert all(row.inputs().keys() == ["answer"] for row in pool)


@pytest.mark.parametrize("source", [rows(3), [dspy.Example(row) for row in rows(3)]])
def test_rows_without_declared_inputs_are_refused(source: Any) -> None:
    """The error has the names of the fields and the two ways to declare inputs."""
    refused(
        source,
        "dataset[0] declares no inputs among its fields ['answer', 'question']",
        "inputs=[...]",
        "Example.with_inputs(...)",
        inputs=None,
    )


def test_missing_inputs_are_refused() -> None:
    """The error names an example that has none of its declared inputs."""
    refused(
        [dspy.Example(row).with_inputs("text") for row in rows(3)],
        "dataset[0] has none of its input fields; it has ['answer', 'question']",
        inputs=None,
    )


@pytest.mark.parametrize("field", ["question", "answer"])
def test_a_row_that_holds_itself_is_refused(field: str) -> None:
    """The error for a row that contains itself is a DatasetError."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    row = dspy.Example({"question": "q", "answer": 1, field: endless}).with_inputs("question")
    with pytest.raises(DatasetError, match=r"dataset\[0\].*contains itself"):
        Dataset.load([row])


@pytest.mark.parametrize(
    "value, message",
    [
        ("Why?", r"trainset\[3\] is 'Why\?': expected a dspy.Example"),
        (dspy.Example(question="Why?"), r"declare them with Example.with_inputs\(...\)$"),
    ],
)
def test_values_that_are_no_labelled_example_are_refused(value: object, message: str) -> None:
    """The error names the value's place in the caller's list, and how to declare inputs."""
    with pytest.raises(DatasetError, match=message):
        check_example(value, "trainset[3]")
    check_example(dspy.Example(question="Why?").with_inputs("question"), "trainset[3]")
