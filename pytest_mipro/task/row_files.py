"""Rows from dataset files: JSON lines, one JSON list, or CSV."""

from __future__ import annotations

import csv
import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_mipro.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from pytest_mipro.canonical import JSON

Row: TypeAlias = "tuple[str, dict[str, Any]]"
"""The location of a row in its file, for messages, and its fields."""

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def read_rows(path: Path) -> list[Row]:
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
        # Not read_text, which would change the line ends inside a CSV field.
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        message = (
            f"dataset file {path} does not exist; relative paths start from the test file's folder"
        )
        raise DatasetError(message) from None
    except (OSError, ValueError) as error:
        message = f"dataset file {path} cannot be read as UTF-8 text: {error}"
        raise DatasetError(message) from error


def _read_jsonl(path: Path, text: str) -> list[Row]:
    # Not str.splitlines, which would also break at U+2028 inside a JSON string.
    lines = enumerate(io.StringIO(text, newline=None), start=1)
    return [
        (f"{path.name}:{number}", _fields(_parse(line, location), location))
        for number, line in lines
        if line.strip()
        for location in [f"{path}, line {number}"]
    ]


def _read_json(path: Path, text: str) -> list[Row]:
    rows = _parse(text, str(path))
    if not isinstance(rows, list):
        message = f"{path}: expected a list of objects, got {type(rows).__name__}"
        raise DatasetError(message)
    return [
        (f"{path.name}[{index}]", _fields(row, f"{path}, item {index}"))
        for index, row in enumerate(rows)
    ]


def _read_csv(path: Path, text: str) -> list[Row]:
    with _field_size_limit(len(text)):
        records = list(_csv_records(path, text))
    _, header = records[0] if records else (1, [])
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


def _parse(text: str, location: str) -> JSON:
    try:
        value: JSON = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{location}: not JSON: {error}; the text is {text.strip()!r:.80}"
        raise DatasetError(message) from error
    return value


def _fields(value: JSON, location: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"{location}: expected a JSON object with the example's fields, got {value!r:.80}"
        raise DatasetError(message)
    return value
