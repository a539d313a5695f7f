"""Rows from dataset files: JSON lines, one JSON list, or CSV."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_mipro.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from pytest_mipro.canonical import JSON

FileRow: TypeAlias = "tuple[str, dict[str, Any]]"
"""The location of a row in its file, for messages, and its fields."""

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def read_rows(path: Path) -> list[FileRow]:
    """Return the rows of a file in their order.

    Raises:
        DatasetError: The file cannot be read, or its format is unknown.
    """
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        message = (
            f"dataset file {path} ends in {path.suffix!r}; expected one of {', '.join(readers)}"
        )
        raise DatasetError(message)
    return reader(path, _read_text(path))


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        message = (
            f"dataset file {path} does not exist; relative paths start from the test file's folder"
        )
        raise DatasetError(message) from None
    except OSError as error:
        message = f"dataset file {path} cannot be read: {error}"
        raise DatasetError(message) from error
    # A checkout may have turned each line end into CRLF, also those inside a CSV field.
    return _decoded(path, content).replace("\r\n", "\n")


def _decoded(path: Path, content: bytes) -> str:
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]:
            line, reason = 1, "it is UTF-16 or UTF-32"
        else:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"byte {content[error.start]:#04x}, which is not UTF-8"
    message = (
        f"{path}, line {line}: {reason}; save the file as UTF-8, which the editor or the "
        "spreadsheet that wrote it offers as an encoding"
    )
    raise DatasetError(message)


def _read_jsonl(path: Path, text: str) -> list[FileRow]:
    # Not str.splitlines, which would also break at U+2028 inside a JSON string.
    stripped = map(str.strip, io.StringIO(text, newline=None))
    return [
        (
            f"{path.name}:{number}",
            _fields(_parse(path, line, number), f"{path}, line {number}"),
        )
        for number, line in enumerate(stripped, start=1)
        if line
    ]


def _read_json(path: Path, text: str) -> list[FileRow]:
    rows = _parse(path, text)
    if not isinstance(rows, list):
        message = f"{path}: expected a list of objects, got {type(rows).__name__}"
        raise DatasetError(message)
    return [
        (f"{path.name}[{index}]", _fields(row, f"{path}, item {index}"))
        for index, row in enumerate(rows)
    ]


def _read_csv(path: Path, text: str) -> list[FileRow]:
    with _field_size_limit(len(text)):
        records = list(_csv_records(path, text))
    number, header = records[0] if records else (1, [])
    if (name := _first_doubled(header)) is not None:
        message = f"{path}, line {number}: two columns have the name {name!r}; rename one"
        raise DatasetError(message)
    rows = []
    for number, cells in records[1:]:
        if len(cells) != len(header):
            message = (
                f"{path}, line {number}: expected {len(header)} columns as in the header, "
                f"got {len(cells)}"
            )
            raise DatasetError(message)
        rows.append((f"{path.name}:{number}", dict(zip(header, cells, strict=True))))
    return rows


@contextmanager
def _field_size_limit(least: int) -> Generator[None, None, None]:
    """Let the csv module read fields of ``least`` characters."""
    default = csv.field_size_limit()
    csv.field_size_limit(max(default, least))
    try:
        yield
    finally:
        csv.field_size_limit(default)


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not blank, with the number of their first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        message = f"{path}, line {number}: not CSV: {error}"
        raise DatasetError(message) from error


class _DoubledName(Exception):
    """A JSON object has a name twice."""


def _unique_names(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    """Return a JSON object; Python's reader would keep the last value of a name in silence."""
    if (name := _first_doubled(name for name, _ in pairs)) is not None:
        message = f"an object has the name {name!r} twice; rename or remove one"
        raise _DoubledName(message)
    return dict(pairs)


def _first_doubled(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_names)


def _parse(path: Path, text: str, first_line: int = 1) -> JSON:
    try:
        value: JSON = _DECODER.decode(text)
    except _DoubledName as error:
        line, reason = _line_of_doubled_name(text), str(error)
    except json.JSONDecodeError as error:
        line = error.lineno
        reason = f"not JSON: {error.msg} at column {error.colno}; the text is {_start_of(text)}"
    except ValueError as error:  # A number of too many digits.
        line, reason = 1, f"not JSON: {error}; the text is {_start_of(text)}"
    except RecursionError:
        line, reason = 1, f"not JSON: nested too deeply; the text is {_start_of(text)}"
    else:
        return value
    message = f"{path}, line {first_line + line - 1}: {reason}"
    raise DatasetError(message)


def _start_of(text: str) -> str:
    return f"{text.strip()!r:.80}"


def _line_of_doubled_name(text: str) -> int:
    """Return the line where the item of a JSON list begins that has a name twice."""
    position = len(text) - len(text.lstrip())
    if text[position] == "[":
        position = _next_item(text, position)
    try:
        while True:
            _, end = _DECODER.raw_decode(text, position)
            position = _next_item(text, end)
    except _DoubledName:
        return text.count("\n", 0, position) + 1


def _next_item(text: str, position: int) -> int:
    """Return the index of the item of a JSON list after the bracket, item or comma."""
    while text[position] in "[, \t\r\n":
        position += 1
    return position


def _fields(value: JSON, location: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"{location}: expected a JSON object with the example's fields, got {value!r:.80}"
        raise DatasetError(message)
    return value
