from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dspy
import numpy as np
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


@pytest.mark.parametrize("name", ["base", "label", "mro", "a b", "dspy_uuid", "class"])
def test_field_may_have_any_name_that_is_not_hidden(tmp_path: Path, name: str) -> None:
    """A field may have a name that is no identifier, and that of a parameter of Example."""
    pool = [{name: f"{n}", "question": f"{n}"} for n in range(30)]
    path = write(tmp_path / "a.jsonl", jsonl(pool))

    dataset = Dataset.load(path, inputs="question")

    assert {row[name] for row in examples_of(dataset)} == {f"{n}" for n in range(30)}
    assert all(getattr(row, name) == row[name] for row in examples_of(dataset))


UNUSABLE_VALUES = {
    "nan": (float("nan"), "the field 'answer' has the number nan; expected a finite number"),
    "infinity": ({"a": [1.5, float("-inf")]}, "the field 'answer' has the number -inf"),
    "numpy": (np.array([1.0, np.nan]), "the field 'answer' has the number nan"),
    "surrogate": ("Why?\ud83d", r"the field 'answer' has '\ud83d', one half of a character"),
    "surrogate in a name": ([{"a\udc00": 1}], r"the field 'answer' has '\udc00'"),
}


@pytest.mark.parametrize("value, words", UNUSABLE_VALUES.values(), ids=UNUSABLE_VALUES)
def test_unusable_value_is_refused(value: object, words: str) -> None:
    """The error names the row, the field, and the value that no model or metric can use."""
    refused([*rows(2), {"question": "Why?", "answer": value}], f"dataset[2]: {words}")


@pytest.mark.parametrize("text", ['{"question": "a", "answer": NaN}', '{"question": "\\udc80"}'])
def test_unusable_value_of_a_file_is_named_by_its_line(tmp_path: Path, text: str) -> None:
    """JSON can hold numbers and characters that nothing else can."""
    path = write(tmp_path / "a.jsonl", jsonl(rows(1)) + text)

    refused(path, "a.jsonl:2: the field")


def test_whole_characters_beyond_the_first_plane_are_accepted(tmp_path: Path) -> None:
    """A pair of escaped surrogates in JSON is one character."""
    text = "".join(json.dumps({"question": f"💥{n}"}) + "\n" for n in range(30))

    dataset = Dataset.load(write(tmp_path / "a.jsonl", text), inputs="question")

    assert all(row.question.startswith("💥") for row in examples_of(dataset))


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


def test_a_value_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """The error names the line of a value that can be read and not be converted."""
    path = write(tmp_path / "a.jsonl", '{"question": ' + "[" * 500 + "]" * 500 + "}")

    refused(path, "a.jsonl:1", "nested too deeply")


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
