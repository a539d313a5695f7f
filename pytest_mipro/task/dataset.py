"""
The three splits of labelled examples, and where they come from.

``train`` feeds bootstrapping and proposals, ``val`` the search, ``test`` only
the verdict. An example belongs to one of them; a split by content keeps it
there whatever happens to the rows around it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import dspy

from pytest_mipro.canonical import JSON, canonical_json, digest, plain, readable_json
from pytest_mipro.errors import DatasetError, FingerprintError
from pytest_mipro.task.callables import mismatch

RowSource: TypeAlias = (
    "str | os.PathLike[str] | Iterable[dspy.Example | Mapping[str, Any]]"
    " | Callable[[], Iterable[dspy.Example | Mapping[str, Any]]]"
)
DatasetSource: TypeAlias = "Dataset | RowSource | Mapping[str, RowSource]"
SplitSpec: TypeAlias = "tuple[float, float, float] | str"

# What is wrong is the caller's line: pytest shows that one. Also the frames that dataclass makes.
__tracebackhide__ = True

NAMES = ("train", "val", "test")
DEFAULT_SPLIT = (40.0, 30.0, 30.0)
_SHOWN = 3


def identity(example: dspy.Example) -> str:
    """Return the digest of the whole example: inputs and labels."""
    return digest([plain(example), sorted(example.inputs().keys())])


@dataclass(frozen=True)
class _Located:
    """An example and where it was found, for messages."""

    example: dspy.Example
    where: str
    split: str | None = None

    @cached_property
    def identity(self) -> str:
        """The digest of the whole example."""
        return identity(self.example)

    @cached_property
    def question(self) -> str:
        """The digest of the inputs alone: what decides its split and what may not leak."""
        return digest(plain(self.example.inputs()))


@dataclass(frozen=True)
class Dataset:
    """
    Labelled examples in three splits that share nothing.

    Attributes:
        train: Examples to bootstrap demos from and to describe to the proposer.
        val: Examples the search measures candidates on.
        test: Held-out examples; only the verdict sees them.

    """

    train: tuple[dspy.Example, ...]
    val: tuple[dspy.Example, ...]
    test: tuple[dspy.Example, ...]
    accepted: InitVar[bool] = False

    def __post_init__(self, accepted: bool) -> None:
        """Refuse splits that are empty, unusable or not apart."""
        if accepted:
            return
        splits = {
            name: [_checked(row, None) for row in _given(name, getattr(self, name))]
            for name in NAMES
        }
        _accept(splits)
        for name, rows in splits.items():
            object.__setattr__(self, name, tuple(row.example for row in rows))

    @classmethod
    def load(
        cls,
        source: DatasetSource,
        *,
        inputs: Sequence[str] | None = None,
        split: SplitSpec = DEFAULT_SPLIT,
        folder: Path | None = None,
    ) -> Dataset:
        """
        Read a dataset from whatever the user has.

        Args:
            source: A ``Dataset``; one pool of rows, as a ``.jsonl``, ``.json``
                or ``.csv`` path, an iterable of examples, or a callable that
                returns one; or a mapping with such a pool each for ``train``,
                ``val`` and ``test``.
            inputs: The fields the program is called with; all others are
                labels. Needed unless the examples say it themselves
                (``Example.with_inputs``).
            split: How one pool is divided: three shares for train, val and
                test, by a hash of the inputs; or the name of the field that
                says ``train``, ``val`` or ``test``.
            folder: What relative paths start from; the working directory if
                left out.

        Raises:
            DatasetError: The rows cannot be read, or the splits cannot be used.

        """
        if isinstance(source, Dataset):
            return source
        fields = _checked_inputs(inputs)
        root = folder or Path.cwd()
        if isinstance(source, Mapping):
            pools = _pools(source)
            splits = {
                name: [_checked(row, fields) for row in _rows(pool, root, name)]
                for name, pool in pools.items()
            }
        else:
            rows = _rows(source, root, "dataset", split if isinstance(split, str) else None)
            splits = _divide([_checked(row, fields) for row in rows], split)
        _accept(splits, source, root)
        train, val, test = (tuple(row.example for row in splits[name]) for name in NAMES)
        return cls(train, val, test, accepted=True)


def clusters_of(dataset: Dataset, field: str) -> tuple[str, ...]:
    """
    Return what each held-out example belongs to: the value of ``field``, as text.

    Raises:
        DatasetError: An example has no value there, or all have the same.

    """
    names = []
    for index, example in enumerate(dataset.test):
        value = example.get(field)
        if value is None or (isinstance(value, str) and not value):
            message = (
                f"cluster={field!r}: test[{index}] has no value in that field; "
                f"it has {sorted(example.keys())}"
            )
            raise DatasetError(message)
        names.append(value if isinstance(value, str) else canonical_json(plain(value)))
    if len(set(names)) == 1:
        message = (
            f"cluster={field!r}: all {len(names)} held-out examples are in one cluster, "
            f"{names[0]!r:.80}, so nothing could be compared; add examples of others, "
            "or leave cluster out"
        )
        raise DatasetError(message)
    return tuple(names)


def _checked_inputs(inputs: Sequence[str] | None) -> tuple[str, ...] | None:
    if inputs is None:
        return None
    given = (inputs,) if isinstance(inputs, str) else inputs
    names = tuple(given) if isinstance(given, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        message = (
            f"inputs={inputs!r}: expected the names of the input fields, e.g. inputs=['question']"
        )
        raise DatasetError(message)
    return names


def _given(name: str, examples: object) -> Iterator[_Located]:
    if not isinstance(examples, Iterable):
        message = f"{name}={examples!r:.80}: expected examples"
        raise DatasetError(message)
    for index, example in enumerate(examples):
        yield _Located(example, f"{name}[{index}]")


def _pools(source: Mapping[str, RowSource]) -> dict[str, RowSource]:
    if set(source) != set(NAMES):
        message = (
            f"a dataset given as a mapping needs exactly the keys train, val and test, "
            f"got {sorted(map(str, source))}; give one pool instead to have it split"
        )
        raise DatasetError(message)
    return {name: source[name] for name in NAMES}


def _rows(source: RowSource, folder: Path, label: str, column: str | None = None) -> list[_Located]:
    if isinstance(source, str | os.PathLike):
        return [_from_mapping(row, where, column) for where, row in _read(folder / source)]
    found = _called(source, label) if callable(source) else source
    if not isinstance(found, Iterable) or isinstance(found, Mapping):
        message = (
            f"{label}={found!r:.80}: expected a path, examples, or a callable that returns examples"
        )
        raise DatasetError(message)
    return [_from_object(row, f"{label}[{index}]", column) for index, row in enumerate(found)]


def _called(source: Callable[[], object], label: str) -> object:
    if why := mismatch(source):
        message = f"{label} is a function that cannot be called without arguments: {why}"
        raise DatasetError(message)
    return source()


def _from_object(row: object, where: str, column: str | None) -> _Located:
    if isinstance(row, Mapping):
        return _from_mapping(row, where, column)
    if not isinstance(row, dspy.Example):
        message = f"{where} is {row!r:.80}: expected a dspy.Example or a mapping of fields"
        raise DatasetError(message)
    if column is None:
        return _Located(row, where)
    name = _named_split(row.get(column), where, column)
    return _Located(row.without(column), where, name)


def _from_mapping(row: Mapping[str, Any], where: str, column: str | None) -> _Located:
    fields = dict(row)
    name = None if column is None else _named_split(fields.pop(column, None), where, column)
    return _Located(dspy.Example(fields), where, name)


def _named_split(value: object, where: str, column: str) -> str:
    if value not in NAMES:
        message = f"{where}: field {column!r} is {value!r}, expected train, val or test"
        raise DatasetError(message)
    return str(value)


def check_example(example: object, where: str) -> None:
    """
    Refuse what is no example that says which of its fields are inputs.

    Args:
        example: Anything.
        where: What the message calls it, such as ``"trainset[3]"``.

    Raises:
        DatasetError: It is none.

    """
    _refuse_undeclared(_example(example, where), where, "Example.with_inputs(...)")


def _example(value: object, where: str) -> dspy.Example:
    if not isinstance(value, dspy.Example):
        message = f"{where} is {value!r:.80}: expected a dspy.Example"
        raise DatasetError(message)
    return value


def _refuse_undeclared(example: dspy.Example, where: str, declare: str) -> None:
    if getattr(example, "_input_keys", None) is None:
        message = (
            f"{where} does not say which of its fields {sorted(map(str, example.keys()))} are "
            f"inputs; declare them with {declare}"
        )
        raise DatasetError(message)


def _checked(row: _Located, inputs: tuple[str, ...] | None) -> _Located:
    example = _example(row.example, row.where)
    _refuse_names(example, row.where)
    if inputs is None:
        _refuse_undeclared(example, row.where, "inputs=[...] or Example.with_inputs(...)")
    else:
        missing = [name for name in inputs if name not in example]
        if missing:
            message = f"{row.where} has no field {missing[0]!r}; it has {sorted(example.keys())}"
            raise DatasetError(message)
        row = replace(row, example=example.with_inputs(*inputs))
    if not row.example.inputs().keys():
        message = f"{row.where} has none of its input fields; it has {sorted(example.keys())}"
        raise DatasetError(message)
    _refuse_values(row)
    return row


def _refuse_names(example: dspy.Example, where: str) -> None:
    try:
        names = list(example.toDict())
    except RecursionError as error:
        message = f"{where} holds itself; a field holds text, numbers, lists or dictionaries"
        raise DatasetError(message) from error
    for name in names:
        if not isinstance(name, str):
            message = f"{where} has a field named {name!r:.80}: expected text as its name"
            raise DatasetError(message)


def _refuse_values(row: _Located) -> None:
    try:
        _ = row.identity
    except FingerprintError as error:
        message = f"{row.where}: {error}; a field holds text, numbers, lists or dictionaries"
        raise DatasetError(message) from error


def _divide(rows: list[_Located], split: SplitSpec) -> dict[str, list[_Located]]:
    splits: dict[str, list[_Located]] = {name: [] for name in NAMES}
    if isinstance(split, str):
        for row in rows:
            splits[str(row.split)].append(row)
        return splits
    bounds = _bounds(split)
    for row in rows:
        splits[_place(row.question, bounds)].append(row)
    return splits


def _bounds(split: tuple[float, float, float]) -> tuple[float, float]:
    shares = tuple(split) if isinstance(split, Iterable) else ()
    if len(shares) != len(NAMES) or not all(
        isinstance(share, int | float) and 0 < share < float("inf") for share in shares
    ):
        message = (
            f"split={split!r}: expected three positive shares for train, val and test, "
            "e.g. split=(40, 30, 30), or the name of the field that says train, val or test"
        )
        raise DatasetError(message)
    total = sum(shares)
    return shares[0] / total, (shares[0] + shares[1]) / total


def _place(question: str, bounds: tuple[float, float]) -> str:
    point = int(question[:13], 16) / 16**13
    return NAMES[sum(point >= bound for bound in bounds)]


def _accept(
    splits: Mapping[str, list[_Located]], source: DatasetSource | None = None, folder: Path = Path()
) -> None:
    for name in NAMES:
        if not splits[name]:
            sizes = ", ".join(f"{len(splits[each])} {each}" for each in NAMES)
            pool = source.get(name) if isinstance(source, Mapping) else source
            to = f" to {folder / pool}" if isinstance(pool, str | os.PathLike) else ""
            message = (
                f"the {name} split is empty ({sizes}); add examples{to}, "
                "or give train, val and test explicitly"
            )
            raise DatasetError(message)
        _refuse_duplicates(name, splits[name])
    _refuse_overlap(splits)


def _refuse_duplicates(name: str, rows: list[_Located]) -> None:
    seen: dict[str, _Located] = {}
    twice = []
    for row in rows:
        first = seen.setdefault(row.identity, row)
        if first is not row:
            twice.append(f"{row.where} repeats {first.where}: {_excerpt(row)}")
    if twice:
        message = f"the {name} split has {_count(twice, 'duplicate row')}:{_listed(twice)}"
        raise DatasetError(message)


def _refuse_overlap(splits: Mapping[str, list[_Located]]) -> None:
    home: dict[str, tuple[str, _Located]] = {}
    shared = []
    for name in NAMES:
        for row in splits[name]:
            other, first = home.setdefault(row.question, (name, row))
            if other != name:
                shared.append(f"{row.where} ({name}) = {first.where} ({other}): {_excerpt(row)}")
    if shared:
        message = (
            f"the splits share {_count(shared, 'example')} (same inputs), so the held-out score "
            f"would not be held out:{_listed(shared)}\nremove each from all but one split"
        )
        raise DatasetError(message)


def _excerpt(row: _Located) -> str:
    return f"{readable_json(plain(row.example.inputs().toDict())):.100}"


def _count(items: Sequence[str], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _listed(lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    rest = len(lines) - _SHOWN
    return shown + (f"\n  … and {rest} more" if rest > 0 else "")


def _read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        message = (
            f"dataset file {path} ends in {path.suffix!r}; expected one of {', '.join(readers)}"
        )
        raise DatasetError(message)
    try:
        # Not read_text: it would change the line ends inside a CSV field.
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        message = (
            f"dataset file {path} does not exist; relative paths start from the test file's folder"
        )
        raise DatasetError(message) from None
    except (OSError, ValueError) as error:
        message = f"dataset file {path} cannot be read as UTF-8 text: {error}"
        raise DatasetError(message) from error
    return reader(path, text)


def _read_jsonl(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    # str.splitlines would also break at U+2028, which JSON strings may hold.
    lines = enumerate(io.StringIO(text, newline=None), start=1)
    return [
        (
            f"{path.name}:{number}",
            _object(_parse(line, f"{path}, line {number}"), f"{path}, line {number}"),
        )
        for number, line in lines
        if line.strip()
    ]


def _read_json(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    rows = _parse(text, str(path))
    if not isinstance(rows, list):
        message = f"{path}: expected a list of objects, got {type(rows).__name__}"
        raise DatasetError(message)
    return [
        (f"{path.name}[{index}]", _object(row, f"{path}, item {index}"))
        for index, row in enumerate(rows)
    ]


def _read_csv(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    with _fields_of_any_size(text):
        lines = list(_csv_lines(path, text))
    _, header = lines[0] if lines else (1, [])
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            message = (
                f"{path}, line {number}: expected {len(header)} columns as in the header, "
                f"got {len(cells)}"
            )
            raise DatasetError(message)
        rows.append((f"{path.name}:{number}", dict(zip(header, cells, strict=True))))
    return rows


@contextmanager
def _fields_of_any_size(text: str) -> Generator[None, None, None]:
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, len(text)))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the number of the line it starts on."""
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


def _parse(text: str, where: str) -> JSON:
    try:
        value: JSON = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{where}: not JSON: {error}; the text is {text.strip()!r:.80}"
        raise DatasetError(message) from error
    return value


def _object(value: JSON, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"{where}: expected a JSON object with the example's fields, got {value!r:.80}"
        raise DatasetError(message)
    return value
