"""The three splits of a dataset: dividing a pool of rows, and checking that splits are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import plain, readable_json
from pytest_mipro.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.task.example import LocatedExample

SPLITS = ("train", "val", "test")
DEFAULT_SPLIT = (40.0, 30.0, 30.0)
_MOST_SHOWN = 3

SplitSpec: TypeAlias = "tuple[float, float, float] | str"
Splits: TypeAlias = "Mapping[str, Sequence[LocatedExample]]"

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def divide(rows: Iterable[LocatedExample], split: SplitSpec) -> Splits:
    """Divide a pool of rows into the three splits.

    Args:
        rows: The rows of the pool.
        split: The name of the split field, or three shares: a hash of its
            inputs then decides the split of a row, and no other row does.

    Raises:
        DatasetError: The shares are not three positive numbers.
    """
    splits: dict[str, list[LocatedExample]] = {name: [] for name in SPLITS}
    bounds = None if isinstance(split, str) else _bounds(split)
    for row in rows:
        name = row.split if bounds is None else _split_of(row.inputs_digest, bounds)
        splits[str(name)].append(row)
    return splits


def _bounds(split: object) -> tuple[float, float]:
    shares = tuple(split) if isinstance(split, Iterable) else ()
    if len(shares) != len(SPLITS) or not all(
        isinstance(share, int | float) and 0 < share < float("inf") for share in shares
    ):
        message = (
            f"split={split!r}: expected three positive shares for train, val and test, "
            "e.g. split=(40, 30, 30), or the name of a field with the value train, val or test"
        )
        raise DatasetError(message)
    total = sum(shares)
    return shares[0] / total, (shares[0] + shares[1]) / total


def _split_of(inputs_digest: str, bounds: tuple[float, float]) -> str:
    point = int(inputs_digest[:13], 16) / 16**13
    return SPLITS[sum(point >= bound for bound in bounds)]


def check_splits(splits: Splits, files: Mapping[str, Path]) -> None:
    """Check that each split has rows, and that no row is in a dataset twice.

    Args:
        splits: The rows of each split.
        files: The files that the splits are read from, if there are any.

    Raises:
        DatasetError: A split is empty, a split has a row twice, or two splits
            have a row with the same inputs.
    """
    for name in SPLITS:
        if not splits[name]:
            sizes = ", ".join(f"{len(splits[split])} {split}" for split in SPLITS)
            target = f" to {files[name]}" if name in files else ""
            message = (
                f"the {name} split is empty ({sizes}); add examples{target}, "
                "or give train, val and test explicitly"
            )
            raise DatasetError(message)
        _refuse_duplicates(name, splits[name])
    _refuse_overlap(splits)


def _refuse_duplicates(name: str, rows: Iterable[LocatedExample]) -> None:
    first_rows: dict[str, LocatedExample] = {}
    duplicates = []
    for row in rows:
        first = first_rows.setdefault(row.identity, row)
        if first is not row:
            duplicates.append(f"{row.location} repeats {first.location}: {_excerpt(row)}")
    if duplicates:
        count = _count(duplicates, "duplicate row")
        message = f"the {name} split has {count}:{_listed(duplicates)}"
        raise DatasetError(message)


def _refuse_overlap(splits: Splits) -> None:
    first_rows: dict[str, tuple[str, LocatedExample]] = {}
    overlap = []
    for name in SPLITS:
        for row in splits[name]:
            split, first = first_rows.setdefault(row.inputs_digest, (name, row))
            if split != name:
                pair = f"{row.location} ({name}) = {first.location} ({split})"
                overlap.append(f"{pair}: {_excerpt(row)}")
    if overlap:
        message = (
            f"the splits share {_count(overlap, 'example')} (same inputs), so the held-out score "
            f"would not be held out:{_listed(overlap)}\nremove each from all but one split"
        )
        raise DatasetError(message)


def _excerpt(row: LocatedExample) -> str:
    return f"{readable_json(plain(row.example.inputs().toDict())):.100}"


def _count(items: Sequence[str], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _listed(lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_MOST_SHOWN])
    hidden = len(lines) - _MOST_SHOWN
    return shown + (f"\n  … and {hidden} more" if hidden > 0 else "")
