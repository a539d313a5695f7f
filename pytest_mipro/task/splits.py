"""The three splits of a dataset: dividing a pool of rows, and checking that splits are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import digest, plain, readable_json
from pytest_mipro.errors import DatasetError
from pytest_mipro.task.clusters import cluster_of
from pytest_mipro.task.listing import counted, listed

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.task.example import LocatedExample

SPLITS = ("train", "val", "test")
DEFAULT_SPLIT = (40.0, 30.0, 30.0)

SplitSpec: TypeAlias = "tuple[float, float, float] | str"
Splits: TypeAlias = "Mapping[str, Sequence[LocatedExample]]"

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def divide(rows: Sequence[LocatedExample], split: SplitSpec, cluster: str | None = None) -> Splits:
    """Divide a pool of rows into the three splits.

    Args:
        rows: The rows of the pool.
        split: The name of the split field, or three shares: a hash then decides the
            split of a row, of its cluster or, without clusters, of its inputs.
            Near-duplicates stay in one split, and so do the clusters that have them.
        cluster: The name of the field with the cluster.

    Raises:
        DatasetError: The shares are not three positive numbers, or a row has no cluster.
    """
    splits: dict[str, list[LocatedExample]] = {name: [] for name in SPLITS}
    if isinstance(split, str):
        for row in rows:
            splits[str(row.split)].append(row)
        return splits
    bounds = _bounds(split)
    for row, group in zip(rows, _groups(rows, cluster), strict=True):
        splits[_split_of(group, bounds)].append(row)
    return splits


def _groups(rows: Sequence[LocatedExample], cluster: str | None) -> list[str]:
    """Return a digest for each row, the same for rows that stay in one split."""
    if cluster is None:
        return [row.normalized_digest for row in rows]
    keys = [digest([cluster_of(row.example, row.location, cluster)]) for row in rows]
    parents: dict[str, str] = {}
    first_keys: dict[str, str] = {}
    for row, key in zip(rows, keys, strict=True):
        first = first_keys.setdefault(row.normalized_digest, key)
        roots = _root(parents, key), _root(parents, first)
        # The least digest stands for a group, whatever the order of the rows.
        parents[max(roots)] = min(roots)
    return [_root(parents, key) for key in keys]


def _root(parents: Mapping[str, str], key: str) -> str:
    while (parent := parents.get(key, key)) != key:
        key = parent
    return key


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


def _split_of(group: str, bounds: tuple[float, float]) -> str:
    point = int(group[:13], 16) / 16**13
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
        count = counted(duplicates, "duplicate row")
        message = f"the {name} split has {count}:{listed(duplicates)}"
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
            f"the splits share {counted(overlap, 'example')} (same inputs), so the held-out score "
            f"would not be held out:{listed(overlap)}\nremove each from all but one split"
        )
        raise DatasetError(message)


def _excerpt(row: LocatedExample) -> str:
    return f"{readable_json(plain(row.example.inputs().toDict())):.100}"
