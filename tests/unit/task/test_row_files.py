from __future__ import annotations

import csv
import json
import re
import sys
from operator import itemgetter
from typing import TYPE_CHECKING

import pytest
from row_sources import as_csv, as_json, as_jsonl, examples_of, jsonl, refused, rows, write

from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from pathlib import Path

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
def test_byte_order_marks_and_line_ends_are_no_data(tmp_path: Path, name: str, text: str) -> None:
    """Byte order marks, any line ends and blank lines change no row."""
    dataset = Dataset.load(write(tmp_path / name, text), inputs="question")

    assert dataset == Dataset.load(rows(30), inputs="question")


LINE_ENDS = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\x1eeight"


@pytest.mark.parametrize(
    "value", [LINE_ENDS, "a\tb", "ab\x00", "\ufeff", "💥 é 你", "a\nb", ' "q" ']
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_unusual_characters_stay_inside_their_field(tmp_path: Path, name: str, value: str) -> None:
    """A character that str.splitlines breaks at is text inside a field."""
    if name == "a.csv" and "\x00" in value and sys.version_info < (3, 11):
        pytest.skip("the csv module of Python 3.10 rejects NUL")
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


def test_json_values_keep_their_types(tmp_path: Path) -> None:
    """Numbers, booleans, lists and objects of a JSON file stay such."""
    pool = [{"n": n, "tags": ["a", {"b": None}], "ok": n % 2 == 0, "x": n / 2} for n in range(30)]

    dataset = Dataset.load(write(tmp_path / "a.jsonl", jsonl(pool)), inputs=["n", "tags"])

    fields = sorted((row.toDict() for row in examples_of(dataset)), key=itemgetter("n"))
    assert fields == pool
    assert type(fields[2]["n"]) is int


def test_huge_field_is_read(tmp_path: Path) -> None:
    """A CSV field of a megabyte is read, though the csv module has a limit."""
    text = "long " * 200_000
    pool = [*rows(12), {"question": text, "answer": "yes"}]
    body = "question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in pool)

    dataset = Dataset.load(write(tmp_path / "a.csv", body), inputs="question")

    assert dataset == Dataset.load(pool, inputs="question")


SAVE = "save the file as UTF-8"
DOUBLED = '\n{"question": "a", "answer": 1, "answer": 2}'


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
        ("a.jsonl", "[" * 200_000, ["line 1", "nested too deeply"]),
        ("a.json", "[1,\n2,\nx]", ["line 3", "Expecting value at column 1"]),
        ("a.jsonl", LINES[0].encode("utf-16"), ["line 1: it is UTF-16", SAVE]),
        ("a.jsonl", LINES[0].encode("utf-16-le"), ["line 1: it is UTF-16", SAVE]),
        ("a.csv", HEADER[0].encode("utf-16-be"), ["line 1: it is UTF-16", SAVE]),
        ("a.csv", HEADER[0].encode("utf-32"), ["line 1: it is UTF-16 or UTF-32", SAVE]),
        ("a.csv", "question,answer\n1,2\ncafé,a\n".encode("cp1252"), ["line 3: byte 0xe9", SAVE]),
        ("a.json", b'[{"question": "\x93Why?\x94"}]', ["line 1: byte 0x93", SAVE]),
        ("a.csv", "question,answer,answer\na,b,c\n", ["line 1: two columns", "'answer'"]),
        ("a.csv", "\n\nquestion,,\na,b,c\n", ["line 3: two columns have the name ''"]),
        ("a.jsonl", LINES[0] + DOUBLED, ["line 2: an object has the name 'answer' twice"]),
        ("a.jsonl", '{"question": {"a": 1, "a": 2}}', ["line 1: an object has the name 'a' twice"]),
        ("a.json", f"[{LINES[0]},\n {LINES[1]},{DOUBLED}]", ["line 3: an object", "'answer'"]),
        ("a.json", f" [ {DOUBLED}\n]", ["line 2: an object", "'answer'"]),
        ("a.json", f"{DOUBLED}\n", ["line 2: an object", "'answer'"]),
    ],
)
def test_unreadable_file_is_refused(
    tmp_path: Path, name: str, text: str | bytes, words: list[str]
) -> None:
    """The error names the file, the line, its text and the expected text."""
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
    """The error names a path that is a folder."""
    path = tmp_path / "rows.jsonl"
    path.mkdir()

    refused(path, str(path), "cannot be read")


@pytest.mark.parametrize(
    "kind, location", [("jsonl", "rows.jsonl:4"), ("json", "rows.json[3]"), ("csv", "rows.csv:5")]
)
def test_row_of_a_file_is_named_by_its_location(tmp_path: Path, kind: str, location: str) -> None:
    """The error about a row has its file and line."""
    write_rows = {"jsonl": as_jsonl, "json": as_json, "csv": as_csv}[kind]
    path = write_rows(tmp_path)
    text = path.read_text(encoding="utf-8").replace("What is 3?", "What is 2?")
    text = re.sub(r'"3"|(?<=,)3\b', lambda match: match[0].replace("3", "2"), text)
    write(path, text)

    message = refused(path, "1 duplicate row", f"{location} repeats rows.{kind}")

    assert '{"question":"What is 2?"}' in message


@pytest.mark.parametrize(
    "name, text", [("a.jsonl", ""), ("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "question\n")]
)
def test_empty_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """The error for a file without rows names the file."""
    path = write(tmp_path / name, text)

    refused(path, "split is empty (0 train, 0 val, 0 test)", f"add examples to {path}")


def test_empty_file_of_one_split_is_named(tmp_path: Path) -> None:
    """If the splits have a file each, the error names the empty file."""
    empty = write(tmp_path / "val.jsonl", "")

    refused({"train": rows(2), "val": empty, "test": rows(2, 5)}, f"add examples to {empty}")


def test_row_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    """The error about a row with a quoted field of several lines has its first line."""
    body = 'question,answer\r\n"a\r\nb",c\r\n"a\r\nb",c\r\n'

    message = refused(write(tmp_path / "a.csv", body), "a.csv:4 repeats a.csv:2")

    assert r'{"question":"a\nb"}' in message


def test_line_ends_of_a_checkout_change_no_csv_row(tmp_path: Path) -> None:
    """A file that Git checks out with CRLF has the same rows in the same splits."""
    lines = [f'"What\n is {n}?","{n}\nor more"' for n in range(30)]
    text = "\n".join(["question,answer", *lines])

    dataset = Dataset.load(write(tmp_path / "a.csv", text), inputs="question")
    crlf = write(tmp_path / "crlf.csv", text.replace("\n", "\r\n"))

    assert Dataset.load(crlf, inputs="question") == dataset
    assert dataset.test[0].answer.endswith("\nor more")
