from __future__ import annotations

import csv
import json
import re
import sys
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.errors import DatasetError, DeclarationError
from pytest_mipro.task import Dataset, clusters_of, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SPLITS = ("train", "val", "test")


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return rows that differ."""
    return [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(start, start + count)]


def homes(dataset: Dataset, field: str = "question") -> dict[Any, str]:
    """Return the split of each example, by one of its fields."""
    return {row[field]: name for name in SPLITS for row in getattr(dataset, name)}


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


def jsonl(items: Iterable[Mapping[str, Any]]) -> str:
    """Return items as JSON lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def everything(dataset: Dataset) -> list[dspy.Example]:
    """Return the examples of all splits."""
    return [*dataset.train, *dataset.val, *dataset.test]


# --- Sources -------------------------------------------------------------------------------


def as_jsonl(path: Path) -> Path:
    """Write the rows as JSON lines."""
    return write(path / "rows.jsonl", jsonl(rows(30)))


def as_json(path: Path) -> Path:
    """Write the rows as one JSON list."""
    return write(path / "rows.json", json.dumps(rows(30), indent=2))


def as_csv(path: Path) -> Path:
    """Write the rows as CSV."""
    with (path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows(30))
    return path / "rows.csv"


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
def test_every_source_gives_the_same_splits(tmp_path: Path, source: Any) -> None:
    """Where rows come from does not decide what they are or where they go."""
    expected = Dataset.load(rows(30), inputs=["question"])

    found = Dataset.load(source(tmp_path), inputs=["question"])

    assert found == expected
    assert {row.inputs().toDict()["question"] for row in everything(found)} == {
        row["question"] for row in rows(30)
    }
    assert [identity(row) for row in found.test] == [identity(row) for row in expected.test]


@pytest.mark.parametrize("inputs", ["question", ["question"], ("question",), iter(["question"])])
def test_inputs_can_be_given_in_several_ways(inputs: Any) -> None:
    """One name alone is one input, not its letters."""
    dataset = Dataset.load(rows(30), inputs=inputs)

    assert all(row.inputs().keys() == ["question"] for row in everything(dataset))
    assert all(row.labels().keys() == ["answer"] for row in everything(dataset))


def test_relative_path_starts_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test file's folder counts where it is given, else the working directory."""
    as_jsonl(tmp_path)
    expected = Dataset.load(rows(30), inputs="question")

    assert Dataset.load("rows.jsonl", inputs="question", folder=tmp_path) == expected
    monkeypatch.chdir(tmp_path)
    assert Dataset.load(Path("rows.jsonl"), inputs="question") == expected


def test_dataset_is_taken_as_it_is() -> None:
    """A dataset that was made before is not made again."""
    dataset = Dataset.load(rows(30), inputs="question")

    assert Dataset.load(dataset, inputs="answer") is dataset


def test_explicit_splits_are_kept_in_order(tmp_path: Path) -> None:
    """A mapping of pools, of any kind each, is not shuffled."""
    source: dict[str, Any] = {
        "train": write(tmp_path / "train.jsonl", jsonl(rows(3))),
        "val": rows(2, 10),
        "test": lambda: (dspy.Example(row) for row in rows(2, 20)),
    }

    dataset = Dataset.load(source, inputs="question")

    assert [row.answer for row in dataset.train] == ["0", "1", "2"]
    assert [row.answer for row in dataset.val] == ["10", "11"]
    assert [row.answer for row in dataset.test] == ["20", "21"]


@pytest.mark.parametrize("kind", ["mappings", "examples", "file"])
def test_field_says_the_split(tmp_path: Path, kind: str) -> None:
    """A split column decides, in order, and is no field of the example."""
    pool = [{**row, "part": SPLITS[n % 3]} for n, row in enumerate(rows(9))]
    source: Any = {
        "mappings": pool,
        "examples": [dspy.Example(row).with_inputs("question", "part") for row in pool],
        "file": write(tmp_path / "rows.jsonl", jsonl(pool)),
    }[kind]

    dataset = Dataset.load(source, inputs="question", split="part")

    assert [row.answer for row in dataset.train] == ["0", "3", "6"]
    assert [row.answer for row in dataset.test] == ["2", "5", "8"]
    assert all("part" not in row for row in everything(dataset))


def test_dataset_can_be_made_directly() -> None:
    """Three tuples of examples are checked and kept, also if they come as iterators."""
    train, val, test = (
        tuple(dspy.Example(row).with_inputs("question") for row in rows(2, n)) for n in (0, 5, 9)
    )
    iterators: list[Any] = [iter(train), iter(val), iter(test)]

    dataset = Dataset(*iterators)

    assert dataset == Dataset(train, val, test)
    assert isinstance(dataset.test, tuple)


# --- Files as they come --------------------------------------------------------------------

LINES = [json.dumps(row) for row in rows(30)]
HEADER = ["question,answer", *(f"{row['question']},{row['answer']}" for row in rows(30))]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.jsonl", "\ufeff" + "\n".join(LINES)),
        ("a.jsonl", "\r\n".join(LINES) + "\r\n"),
        ("a.jsonl", "\n\n" + "\n\n  \n".join(LINES) + "\n\t\n"),
        ("a.json", "\ufeff[" + ",\r\n".join(LINES) + "]"),
        ("a.csv", "\ufeff" + "\n".join(HEADER)),
        ("a.csv", "\r\n".join(HEADER) + "\r\n"),
        ("a.csv", "\n\n".join(HEADER) + "\n\n"),
    ],
    ids=[
        *("jsonl BOM", "jsonl CRLF", "jsonl blank lines"),
        *("json BOM and CRLF", "csv BOM", "csv CRLF", "csv blank lines"),
    ],
)
def test_file_of_any_editor_is_read(tmp_path: Path, name: str, text: str) -> None:
    """Byte order marks, line ends and blank lines are no part of the data."""
    dataset = Dataset.load(write(tmp_path / name, text), inputs="question")

    assert dataset == Dataset.load(rows(30), inputs="question")


ODD = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\x1eeight"


@pytest.mark.parametrize("value", [ODD, "a\tb", "ab\x00", "\ufeff", "💥 é 你", "a\nb", ' "q" '])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_unusual_characters_stay_inside_their_field(tmp_path: Path, name: str, value: str) -> None:
    """What Python takes for a line end is text where the file format says so."""
    if name == "a.csv" and "\x00" in value and sys.version_info < (3, 11):
        pytest.skip("Python 3.10 reads no CSV with NUL")
    pool = [{"question": f"{value}{n}", "answer": value} for n in range(30)]
    if name == "a.csv":
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["question", "answer"])
            writer.writeheader()
            writer.writerows(pool)
    else:
        text = jsonl(pool) if name == "a.jsonl" else json.dumps(pool, ensure_ascii=False)
        write(tmp_path / name, text)

    dataset = Dataset.load(tmp_path / name, inputs="question")

    assert dataset == Dataset.load(pool, inputs="question")


def test_values_other_than_text_are_kept(tmp_path: Path) -> None:
    """JSON's types reach the program as they were written."""
    pool = [{"n": n, "tags": ["a", {"b": None}], "ok": n % 2 == 0, "x": n / 2} for n in range(30)]

    dataset = Dataset.load(write(tmp_path / "a.jsonl", jsonl(pool)), inputs=["n", "tags"])

    found = sorted((row.toDict() for row in everything(dataset)), key=itemgetter("n"))
    assert found == pool
    assert type(found[2]["n"]) is int


def test_huge_field_is_read(tmp_path: Path) -> None:
    """A document of a megabyte is a field like any other, in each format."""
    text = "long " * 200_000
    pool = [{"question": f"{n} {text}", "answer": "yes"} for n in range(12)]
    body = "question,answer\n" + "".join(f"{row['question']},yes\n" for row in pool)

    dataset = Dataset.load(write(tmp_path / "a.csv", body), inputs="question")

    assert dataset == Dataset.load(pool, inputs="question")


class Ticket(dspy.Example):
    """A user's own kind of example."""


@pytest.mark.parametrize("inputs", [None, "question"])
def test_examples_of_a_subclass_stay_what_they_are(inputs: str | None) -> None:
    """A user's subclass of Example comes out as itself, and goes where its content says."""
    pool = [Ticket(row).with_inputs("question") for row in rows(30)]

    dataset = Dataset.load(pool, inputs=inputs)

    assert all(type(row) is Ticket for row in everything(dataset))
    assert homes(dataset) == homes(Dataset.load(rows(30), inputs="question"))


@pytest.mark.parametrize(
    "name", ["base", "inputs", "labels", "copy", "keys", "get", "_store", "a b"]
)
def test_field_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Names that Example uses itself, or that are no identifiers, are fields like others."""
    pool = [{name: f"{n}", "answer": "yes"} for n in range(30)]
    path = write(tmp_path / "a.jsonl", jsonl(pool))

    dataset = Dataset.load(path, inputs=[name])

    assert {row[name] for row in everything(dataset)} == {f"{n}" for n in range(30)}
    assert all(row.inputs().toDict() == {name: row[name]} for row in everything(dataset))


def test_users_examples_are_left_alone() -> None:
    """Loading marks inputs on copies."""
    pool = [dspy.Example(row).with_inputs("answer") for row in rows(30)]

    Dataset.load(pool, inputs="question")

    assert all(row.inputs().keys() == ["answer"] for row in pool)


# --- Splits by content ---------------------------------------------------------------------

QUESTIONS = st.lists(st.text(st.characters(codec=None), max_size=8), unique=True, max_size=20)
BASE = homes(Dataset.load(rows(60), inputs="question"))


@given(extra=QUESTIONS, gone=st.sets(st.integers(0, 39), max_size=15), seed=st.randoms())
def test_example_stays_in_its_split(extra: list[str], gone: set[int], seed: Any) -> None:
    """Adding, removing and reordering rows moves no example."""
    pool = [row for n, row in enumerate(rows(60)) if n not in gone]
    pool += [{"question": f"new {text}", "answer": "?"} for text in extra]
    seed.shuffle(pool)

    found = homes(Dataset.load(pool, inputs="question"))

    assert {text: home for text, home in found.items() if text in BASE} == {
        text: home for text, home in BASE.items() if text in found
    }


@given(labels=st.lists(st.text(max_size=5), min_size=60, max_size=60))
def test_corrected_label_keeps_the_split(labels: list[str]) -> None:
    """Only the inputs decide."""
    pool = [{**row, "answer": label} for row, label in zip(rows(60), labels, strict=True)]

    assert homes(Dataset.load(pool, inputs="question")) == BASE


def test_field_order_and_further_labels_keep_the_split() -> None:
    """Neither the order of fields nor a new label column moves an example."""
    pool = [
        {"note": "new", "answer": row["answer"], "question": row["question"]} for row in rows(60)
    ]

    assert homes(Dataset.load(pool, inputs="question")) == BASE


@pytest.mark.parametrize("shares", [(40.0, 30.0, 30.0), (80, 10, 10), (1, 1, 1), (0.5, 0.25, 0.25)])
def test_shares_are_about_right(shares: tuple[float, float, float]) -> None:
    """Two thousand rows are divided as asked, within four standard deviations."""
    dataset = Dataset.load(rows(2000), inputs="question", split=shares)

    for name, share in zip(SPLITS, shares, strict=True):
        fraction = share / sum(shares)
        spread = 4 * (fraction * (1 - fraction) / 2000) ** 0.5
        assert abs(len(getattr(dataset, name)) / 2000 - fraction) < spread
    assert len(everything(dataset)) == 2000


def test_default_shares_are_40_30_30() -> None:
    """What is not said is 40/30/30."""
    assert Dataset.load(rows(200), inputs="question") == Dataset.load(
        rows(200), inputs="question", split=(40, 30, 30)
    )


def test_split_does_not_change_between_versions() -> None:
    """A few examples are where the first version put them."""
    places = " ".join(BASE[row["question"]] for row in rows(8))

    assert places == "test test test test train train val train"


def test_pool_keeps_the_order_of_its_rows() -> None:
    """Inside a split, rows are in the order of the source."""
    dataset = Dataset.load(rows(60), inputs="question")

    for name in SPLITS:
        numbers = [int(row.answer) for row in getattr(dataset, name)]
        assert numbers == sorted(numbers)


def test_same_question_with_two_answers_is_one_split() -> None:
    """Ambiguous rows are allowed, and never leak from one split into another."""
    pool = [*rows(40), *({**row, "answer": "other"} for row in rows(40))]

    dataset = Dataset.load(pool, inputs="question")

    for name in SPLITS:
        questions = [row.question for row in getattr(dataset, name)]
        assert all(questions.count(question) == 2 for question in questions)


@given(st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=3), min_size=1))
def test_identity_is_about_content(fields: dict[str, Any]) -> None:
    """Order of fields and class do not matter; values and what is an input do."""
    names = list(fields)
    example = dspy.Example(fields).with_inputs(names[0])

    assert identity(dspy.Example(dict(reversed(fields.items()))).with_inputs(names[0])) == identity(
        example
    )
    assert identity(Ticket(fields).with_inputs(names[0])) == identity(example)
    assert identity(example.copy(d=1)) != identity(example)
    assert identity(example.with_inputs(*names, "d")) == identity(example.with_inputs(*names))
    if len(names) > 1:
        assert identity(example.with_inputs(*names)) != identity(example)


# --- What cannot be used -------------------------------------------------------------------


def refused(source: Any, *words: str, **options: Any) -> str:
    """Load what cannot be used; return the message, which must hold ``words``."""
    options.setdefault("inputs", "question")
    with pytest.raises(DatasetError) as caught:
        Dataset.load(source, **options)
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert isinstance(caught.value, DeclarationError)
    return message


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.jsonl", LINES[0] + "\n\n{'question': 1}\n", ["line 3", "not JSON", "{'question': 1}"]),
        ("a.jsonl", LINES[0] + '\n{"question": "Wh', ["line 2", "not JSON", '{"question": "Wh']),
        ("a.jsonl", LINES[0] + "\n[1, 2]\n", ["line 2", "expected a JSON object", "[1, 2]"]),
        ("a.jsonl", '"text"', ["line 1", "expected a JSON object", "'text'"]),
        ("a.jsonl", "[" * 100_000, ["line 1", "not JSON", "[[["]),
        ("a.jsonl", '{"question": ' + "9" * 5000 + "}", ["line 1", "not JSON"]),
        ("a.jsonl", "\r\n\r\n" + LINES[0] + "\r\nno\r\n", ["line 4", "not JSON", "'no'"]),
        ("a.json", "[1,", ["not JSON", "[1,"]),
        ("a.json", "", ["not JSON"]),
        ("a.json", '{"train": []}', ["expected a list of objects", "dict"]),
        ("a.json", '[{"question": "a"}, 3]', ["item 1", "expected a JSON object", "3"]),
        ("a.csv", "question,answer\nWhy?\n", ["line 2", "2 columns"]),
        ("a.csv", "question,answer\nWhy?,a\nWhy, though?,b\n", ["line 3", "2 columns"]),
        ("a.csv", 'question,answer\n"Why"?,a\n', ["line 2", "not CSV"]),
        ("a.csv", 'question,answer\nWhat?,b\n"Why?,a\n', ["not CSV"]),
        ("a.txt", "Why?", ["'.txt'", ".jsonl", ".json", ".csv"]),
        ("rows", "Why?", ["''", ".jsonl", ".json", ".csv"]),
        ("a.jsonl", LINES[0].encode("utf-16"), ["UTF-8"]),
        ("a.csv", b"question,answer\ncaf\xe9,a\n", ["UTF-8"]),
    ],
)
def test_unreadable_file_is_refused(
    tmp_path: Path, name: str, text: str | bytes, words: list[str]
) -> None:
    """The error names the file, the line, what is there and what was expected."""
    path = write(tmp_path / name, text)

    message = refused(path, str(path), *words)

    assert len(message) < 400 + len(str(path))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """The error names the full path and where relative paths start."""
    refused(
        "rows.jsonl",
        str(tmp_path / "rows.jsonl"),
        "does not exist",
        "relative paths start from the test file's folder",
        folder=tmp_path,
    )


def test_folder_is_refused(tmp_path: Path) -> None:
    """A path that is no file is an error that names it."""
    path = tmp_path / "rows.jsonl"
    path.mkdir()

    refused(path, str(path), "cannot be read")


@pytest.mark.parametrize(
    "kind, where", [("jsonl", "rows.jsonl:4"), ("json", "rows.json[3]"), ("csv", "rows.csv:5")]
)
def test_row_in_a_file_is_named_by_its_place(tmp_path: Path, kind: str, where: str) -> None:
    """What is wrong with one row is said with its file and line."""
    maker = {"jsonl": as_jsonl, "json": as_json, "csv": as_csv}[kind]
    path = maker(tmp_path)
    text = path.read_text(encoding="utf-8").replace("What is 3?", "What is 2?")
    text = re.sub(r'"3"|(?<=,)3\b', lambda found: found[0].replace("3", "2"), text)
    write(path, text)

    message = refused(path, "1 duplicate row", f"{where} repeats rows.{kind}")

    assert '{"question":"What is 2?"}' in message


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
    """The error names the row or split, what is there, and what was expected."""
    refused(source, *words)


@pytest.mark.parametrize("source", [rows(3), [dspy.Example(row) for row in rows(3)]])
def test_rows_without_marked_inputs_are_refused(source: Any) -> None:
    """The error says which fields there are and the two ways to mark inputs."""
    refused(
        source,
        "dataset[0] does not say which of its fields ['answer', 'question'] are inputs",
        "inputs=[...]",
        "Example.with_inputs(...)",
        inputs=None,
    )


def test_inputs_that_are_not_there_are_refused() -> None:
    """An example whose marked inputs are none of its fields has nothing to ask."""
    refused(
        [dspy.Example(row).with_inputs("text") for row in rows(3)],
        "dataset[0] has none of its input fields; it has ['answer', 'question']",
        inputs=None,
    )


@pytest.mark.parametrize("inputs", [[], (), [1], [None], 5, ["question", 2]])
def test_wrong_inputs_are_refused(inputs: Any) -> None:
    """Inputs are names of fields."""
    refused(rows(30), f"inputs={inputs!r}", "inputs=['question']", inputs=inputs)


@pytest.mark.parametrize(
    "split",
    [
        (1, 1),
        (1, 1, 1, 1),
        (1, 1, 0),
        (1, 1, -1),
        (1, 1, float("nan")),
        (1, 1, float("inf")),
        ("1", "1", "1"),
        (),
        5,
        None,
    ],
)
def test_wrong_split_is_refused(split: Any) -> None:
    """Shares are three positive numbers; anything else is named with an example."""
    refused(rows(30), f"split={split!r}", "(40, 30, 30)", split=split)


@pytest.mark.parametrize(
    "row, found",
    [
        ({}, "None"),
        ({"part": "dev"}, "'dev'"),
        ({"part": ["train"]}, "['train']"),
        ({"part": 1}, "1"),
    ],
)
@pytest.mark.parametrize("kind", [dict, dspy.Example])
def test_wrong_split_field_is_refused(row: dict[str, Any], found: str, kind: Any) -> None:
    """A row that does not say its split is named with what it says."""
    pool = [{"question": "a", "part": "train"}, {"question": "b", **row}]

    refused(
        [kind(each) for each in pool],
        f"dataset[1]: field 'part' is {found}, expected train, val or test",
        split="part",
    )


@pytest.mark.parametrize("empty", SPLITS)
def test_empty_split_is_refused(empty: str) -> None:
    """The error names the split, the sizes, and what to do."""
    source = {name: [] if name == empty else rows(2, 10 * n) for n, name in enumerate(SPLITS)}
    sizes = ", ".join(f"{len(source[name])} {name}" for name in SPLITS)

    refused(source, f"the {empty} split is empty ({sizes})", "add examples")


@pytest.mark.parametrize(
    "name, text", [("a.jsonl", ""), ("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "question\n")]
)
def test_empty_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """A file without rows is an error."""
    path = write(tmp_path / name, text)

    refused(path, "split is empty (0 train, 0 val, 0 test)", f"add examples to {path}")


def test_empty_file_of_one_split_is_named(tmp_path: Path) -> None:
    """Where each split has its file, the error names the empty one."""
    empty = write(tmp_path / "val.jsonl", "")

    refused({"train": rows(2), "val": empty, "test": rows(2, 5)}, f"add examples to {empty}")


def test_row_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    """A quoted field may span lines, with the line ends it was written with."""
    body = 'question,answer\r\n"a\r\nb",c\r\n"a\r\nb",c\r\n'

    message = refused(write(tmp_path / "a.csv", body), "a.csv:4 repeats a.csv:2")

    assert r'{"question":"a\r\nb"}' in message


def test_few_rows_leave_a_split_empty() -> None:
    """One row cannot fill three splits."""
    refused(rows(1), "split is empty", "give train, val and test explicitly")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_duplicate_rows_are_refused(count: int) -> None:
    """The first few are listed with their places and content, the others counted."""
    source = {"train": [*rows(5), *rows(count)], "val": rows(1, 10), "test": rows(1, 20)}

    message = refused(source, f"the train split has {count} duplicate row")

    assert message.count(" repeats ") == min(count, 3)
    assert 'train[5] repeats train[0]: {"question":"What is 0?"}' in message
    assert (f"… and {count - 3} more" in message) is (count > 3)
    assert ("rows:" in message) is (count > 1)


def test_duplicate_of_a_pool_is_refused() -> None:
    """The same row twice in one pool is found wherever it went."""
    refused([*rows(30), rows(1)[0]], "1 duplicate row", "dataset[30] repeats dataset[0]")


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("label", ["same", "other"])
def test_overlap_is_refused(count: int, label: str) -> None:
    """The same inputs in two splits are listed with both places, whatever the label says."""
    shared = [row if label == "same" else {**row, "answer": "other"} for row in rows(count)]
    source = {"train": rows(5), "val": rows(2, 10), "test": [*rows(2, 20), *shared]}

    message = refused(
        source,
        f"the splits share {count} example",
        "the held-out score would not be held out",
        "remove each from all but one split",
    )

    assert 'test[2] (test) = train[0] (train): {"question":"What is 0?"}' in message
    assert message.count(" = train[") == min(count, 3)
    assert (f"… and {count - 3} more" in message) is (count > 3)


@pytest.mark.parametrize("one, two", [("train", "val"), ("val", "test"), ("train", "test")])
def test_overlap_of_any_two_splits_is_refused(one: str, two: str) -> None:
    """No pair of splits may share an example."""
    source = {name: rows(2, 10 * n) for n, name in enumerate(SPLITS)}
    source[two] = [*source[two], source[one][1]]

    refused(source, f"{two}[2] ({two}) = {one}[1] ({one})")


def test_overlap_by_split_field_is_refused(tmp_path: Path) -> None:
    """Two rows of one file are named by their lines."""
    pool = [{**row, "part": SPLITS[n % 3]} for n, row in enumerate(rows(6))]
    pool.append({**pool[0], "part": "test"})
    path = write(tmp_path / "rows.jsonl", jsonl(pool))

    refused(path, "rows.jsonl:7 (test) = rows.jsonl:1 (train)", split="part")


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
def test_dataset_made_directly_is_checked(train: Any) -> None:
    """The constructor refuses what load refuses."""
    val, test = ((dspy.Example(question=name).with_inputs("question"),) for name in "bc")

    with pytest.raises(DatasetError, match="train"):
        Dataset(train, val, test)


def test_long_row_is_shortened_in_a_message() -> None:
    """A message stays readable whatever the rows are."""
    long = {"question": "why " * 10_000, "answer": "b"}

    message = refused({"train": [long, long], "val": rows(1), "test": rows(1, 5)}, "duplicate")

    assert len(message) < 400


def test_message_shows_text_as_it_is() -> None:
    """A row in any language can be recognised in the message."""
    row = {"question": "为什么天空是蓝色的?", "answer": "b"}

    refused({"train": [row, row], "val": rows(1), "test": rows(1, 5)}, "为什么天空是蓝色的?")


def test_error_of_a_users_function_is_theirs() -> None:
    """What the user's own loader raises is shown as it is."""

    def load() -> Iterator[dict[str, str]]:
        raise RuntimeError("no connection to the ticket system")
        yield {}

    with pytest.raises(RuntimeError, match="ticket system"):
        Dataset.load(load, inputs="question")


def clustered(*values: Any) -> Dataset:
    """Return a dataset whose held-out examples have these documents."""
    train, val = ([{"question": name, "answer": 1}] for name in ("train", "val"))
    test = [
        {"question": f"{index}", "answer": 1, **({} if value is ... else {"document": value})}
        for index, value in enumerate(values)
    ]
    return Dataset.load({"train": train, "val": val, "test": test}, inputs=["question"])


def test_clusters_are_values_as_text() -> None:
    """What a held-out example belongs to is text, whatever the value is; 0 is a value."""
    assert clusters_of(clustered("a", "b", "a"), "document") == ("a", "b", "a")
    assert clusters_of(clustered(0, 1, [2, "x"]), "document") == ("0", "1", '[2,"x"]')


@pytest.mark.parametrize("value", [..., None, ""])
def test_an_example_in_no_cluster_is_refused(value: Any) -> None:
    """A field that is missing or empty is named, with the example and what it has."""
    with pytest.raises(DatasetError, match=r"cluster='document': test\[1\] has no value.*question"):
        clusters_of(clustered("a", value, "b"), "document")


def test_a_single_cluster_is_refused() -> None:
    """One cluster cannot be compared with anything; the message names it."""
    with pytest.raises(DatasetError, match=r"cluster='document': all 2 .* one cluster, 'a'"):
        clusters_of(clustered("a", "a"), "document")


@pytest.mark.parametrize("field", ["question", "answer"])
def test_a_row_that_holds_itself_is_refused(field: str) -> None:
    """A row without an end is a mistake in the dataset, said without a RecursionError."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    row = dspy.Example({"question": "q", "answer": 1, field: endless}).with_inputs("question")
    with pytest.raises(DatasetError, match=r"dataset\[0\].*holds itself"):
        Dataset.load([row])
