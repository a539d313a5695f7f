"""Clusters: examples that are not independent, such as several questions about one document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.canonical import canonical_json, plain
from pytest_mipro.errors import DatasetError
from pytest_mipro.task.listing import counted, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dspy

    from pytest_mipro.task.example import LocatedExample

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def clusters_of(held_out: Sequence[dspy.Example], field: str) -> tuple[str, ...]:
    """Return the cluster of each held-out example: the value of ``field``, as text.

    Raises:
        DatasetError: An example has no value in the field, or all have the same.
    """
    clusters = tuple(
        cluster_of(example, f"test[{index}]", field) for index, example in enumerate(held_out)
    )
    if len(set(clusters)) == 1:
        message = (
            f"cluster={field!r}: all {len(clusters)} held-out examples are in one cluster, "
            f"{clusters[0]!r:.80}, so nothing could be compared; add examples of others, "
            "or leave cluster out"
        )
        raise DatasetError(message)
    return clusters


def cluster_of(example: dspy.Example, location: str, field: str) -> str:
    """Return the cluster of an example, as text.

    Raises:
        DatasetError: The example has no value in the field.
    """
    value = example.get(field)
    if value is None or (isinstance(value, str) and not value):
        message = (
            f"cluster={field!r}: {location} has no value in that field; "
            f"it has {sorted(example.keys())}"
        )
        raise DatasetError(message)
    return value if isinstance(value, str) else canonical_json(plain(value))


def refuse_divided_clusters(splits: Mapping[str, Sequence[LocatedExample]], field: str) -> None:
    """Check that each cluster is in one split: the search must not see a held-out document.

    Raises:
        DatasetError: A cluster is in several splits, or an example in none.
    """
    first_rows: dict[str, tuple[str, LocatedExample]] = {}
    divided: dict[str, str] = {}
    for split, rows in splits.items():
        for row in rows:
            cluster = cluster_of(row.example, row.location, field)
            first_split, first = first_rows.setdefault(cluster, (split, row))
            if first_split != split:
                pair = f"{first.location} ({first_split}), {row.location} ({split})"
                divided.setdefault(cluster, f"{cluster!r:.80}: {pair}")
    if divided:
        message = (
            f"cluster={field!r}: {counted(list(divided), 'cluster')} in more than one split, so "
            "held-out examples would depend on examples of the search:"
            f"{listed(list(divided.values()))}\nmove each into one split, or give all rows as one "
            "pool, whose split keeps clusters together"
        )
        raise DatasetError(message)
