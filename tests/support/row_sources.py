"""Rows of numbered questions, in memory and in files, and the message for a wrong dataset."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.errors import DatasetError, DeclarationError
from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import dspy

SPLITS = ("train", "val", "test")


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return ``count`` rows with different questions."""
    return [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(start, start + count)]


def homes(dataset: Dataset) -> dict[str, str]:
    """Return the split of each example, by its question."""
    return {row["question"]: name for name in SPLITS for row in getattr(dataset, name)}


def write(path: Path, content: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def jsonl(items: Iterable[Mapping[str, Any]]) -> str:
    """Return items as JSON lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def as_jsonl(folder: Path) -> Path:
    """Write thirty rows as JSON lines."""
    return write(folder / "rows.jsonl", jsonl(rows(30)))


def as_json(folder: Path) -> Path:
    """Write thirty rows as one JSON list."""
    return write(folder / "rows.json", json.dumps(rows(30), indent=2))


def as_csv(folder: Path) -> Path:
    """Write thirty rows as CSV."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows(30))
    return folder / "rows.csv"


def examples_of(dataset: Dataset) -> list[dspy.Example]:
    """Return the examples of all splits."""
    return [*dataset.train, *dataset.val, *dataset.test]


def refused(source: Any, *words: str, **options: Any) -> str:
    """Return the message for a source that cannot be used, after a check for ``words``."""
    options.setdefault("inputs", "question")
    with pytest.raises(DatasetError) as error:
        Dataset.load(source, **options)
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    assert isinstance(error.value, DeclarationError)
    return message
