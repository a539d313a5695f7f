"""A dataset: labelled examples in three splits, from any source of rows.

``train`` is for bootstrapping and proposals, ``val`` for the search, ``test``
only for the verdict.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import dspy

from pytest_mipro.errors import DatasetError
from pytest_mipro.task.callables import mismatch
from pytest_mipro.task.clusters import refuse_divided_clusters
from pytest_mipro.task.example import LocatedExample
from pytest_mipro.task.row_files import read_rows
from pytest_mipro.task.splits import (
    DEFAULT_SPLIT,
    SPLITS,
    Splits,
    SplitSpec,
    check_splits,
    divide,
)

RowSource: TypeAlias = (
    "str | os.PathLike[str] | Iterable[dspy.Example | Mapping[str, Any]]"
    " | Callable[[], Iterable[dspy.Example | Mapping[str, Any]]]"
)
DatasetSource: TypeAlias = "Dataset | RowSource | Mapping[str, RowSource]"

# Hides this module's frames, so that pytest shows the declaring line. A function's local would
# not hide the `__init__` that dataclass generates.
__tracebackhide__ = True


@dataclass(frozen=True)
class Dataset:
    """Labelled examples in three splits that have no inputs in common.

    Attributes:
        train: Examples for demos, and for the prompt model to describe.
        val: Examples that the search measures candidates on.
        test: Held-out examples, which only the verdict uses.
    """

    train: tuple[dspy.Example, ...]
    val: tuple[dspy.Example, ...]
    test: tuple[dspy.Example, ...]
    is_checked: InitVar[bool] = False

    def __post_init__(self, is_checked: bool) -> None:
        """Check the splits.

        Raises:
            DatasetError: A split cannot be used, or two splits overlap.
        """
        if is_checked:
            return
        splits = {
            name: [row.checked(None) for row in rows] for name, rows in _located(self).items()
        }
        check_splits(splits, {})
        for name, rows in splits.items():
            object.__setattr__(self, name, tuple(row.example for row in rows))

    @property
    def splits(self) -> dict[str, tuple[dspy.Example, ...]]:
        """The examples of each split, by its name."""
        return {name: getattr(self, name) for name in SPLITS}

    @classmethod
    def load(
        cls,
        source: DatasetSource,
        *,
        inputs: Sequence[str] | None = None,
        split: SplitSpec = DEFAULT_SPLIT,
        folder: Path | None = None,
        cluster: str | None = None,
    ) -> Dataset:
        """Read a dataset from any source.

        Args:
            source: A ``Dataset``; a pool of rows, which is a ``.jsonl``,
                ``.json`` or ``.csv`` path, an iterable of examples, or a
                callable that returns one; or a mapping of ``train``, ``val``
                and ``test`` to a pool each.
            inputs: The fields that are the program's arguments; all other
                fields are labels. Needed unless the examples declare them
                (``Example.with_inputs``).
            split: How a single pool is divided: three shares for train, val and
                test, by a hash of the inputs or of the cluster; or the name of the
                field with the value ``train``, ``val`` or ``test``.
            folder: The folder that relative paths start from; the working
                directory by default.
            cluster: The field whose equal values mark dependent examples, which
                stay in one split.

        Raises:
            DatasetError: The rows cannot be read, or the splits cannot be used.
        """
        if isinstance(source, Dataset):
            if cluster is not None:
                refuse_divided_clusters(_located(source), cluster)
            return source
        fields = _input_fields(inputs)
        root = folder or Path.cwd()
        splits: Splits
        if isinstance(source, Mapping):
            pools = _pools(source)
            splits = {
                name: [row.checked(fields) for row in _rows(pool, root, name)]
                for name, pool in pools.items()
            }
        else:
            pools = dict.fromkeys(SPLITS, source)
            rows = _rows(source, root, "dataset", split if isinstance(split, str) else None)
            splits = divide([row.checked(fields) for row in rows], split, cluster)
        check_splits(splits, _files(pools, root))
        if cluster is not None:
            refuse_divided_clusters(splits, cluster)
        train, val, test = (tuple(row.example for row in splits[name]) for name in SPLITS)
        return cls(train, val, test, is_checked=True)


def _input_fields(inputs: Sequence[str] | None) -> tuple[str, ...] | None:
    if inputs is None:
        return None
    names = (inputs,) if isinstance(inputs, str) else inputs
    fields = tuple(names) if isinstance(names, Iterable) else ()
    if not fields or not all(isinstance(field, str) for field in fields):
        message = (
            f"inputs={inputs!r}: expected the names of the input fields, e.g. inputs=['question']"
        )
        raise DatasetError(message)
    return fields


def _located(dataset: Dataset) -> dict[str, list[LocatedExample]]:
    return {name: list(_enumerated(name, rows)) for name, rows in dataset.splits.items()}


def _enumerated(name: str, examples: object) -> Iterator[LocatedExample]:
    if not isinstance(examples, Iterable):
        message = f"{name}={examples!r:.80}: expected examples"
        raise DatasetError(message)
    for index, example in enumerate(examples):
        yield LocatedExample(example, f"{name}[{index}]")


def _pools(source: Mapping[str, RowSource]) -> dict[str, RowSource]:
    if set(source) != set(SPLITS):
        message = (
            f"a dataset given as a mapping needs exactly the keys train, val and test, "
            f"got {sorted(map(str, source))}; give one pool instead to have it split"
        )
        raise DatasetError(message)
    return {name: source[name] for name in SPLITS}


def _files(pools: Mapping[str, RowSource], folder: Path) -> dict[str, Path]:
    return {
        name: folder / pool for name, pool in pools.items() if isinstance(pool, str | os.PathLike)
    }


def _rows(
    source: RowSource, folder: Path, label: str, split_field: str | None = None
) -> list[LocatedExample]:
    if isinstance(source, str | os.PathLike):
        return [
            _from_mapping(row, location, split_field)
            for location, row in read_rows(folder / source)
        ]
    rows = _called(source, label) if callable(source) else source
    if not isinstance(rows, Iterable) or isinstance(rows, Mapping):
        message = (
            f"{label}={rows!r:.80}: expected a path, examples, or a callable that returns examples"
        )
        raise DatasetError(message)
    return [_from_object(row, f"{label}[{index}]", split_field) for index, row in enumerate(rows)]


def _called(source: Callable[[], object], label: str) -> object:
    if reason := mismatch(source):
        message = f"{label} is a function that cannot be called without arguments: {reason}"
        raise DatasetError(message)
    return source()


def _from_object(row: object, location: str, split_field: str | None) -> LocatedExample:
    if isinstance(row, Mapping):
        return _from_mapping(row, location, split_field)
    if not isinstance(row, dspy.Example):
        message = f"{location} is {row!r:.80}: expected a dspy.Example or a mapping of fields"
        raise DatasetError(message)
    if split_field is None:
        return LocatedExample(row, location)
    split = _named_split(row.get(split_field), location, split_field)
    return LocatedExample(row.without(split_field), location, split)


def _from_mapping(row: Mapping[str, Any], location: str, split_field: str | None) -> LocatedExample:
    fields = dict(row)
    if split_field is None:
        return LocatedExample(dspy.Example(fields), location)
    split = _named_split(fields.pop(split_field, None), location, split_field)
    return LocatedExample(dspy.Example(fields), location, split)


def _named_split(value: object, location: str, split_field: str) -> str:
    if value not in SPLITS:
        message = f"{location}: field {split_field!r} is {value!r}, expected train, val or test"
        raise DatasetError(message)
    return str(value)
