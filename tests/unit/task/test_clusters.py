from __future__ import annotations

from typing import Any

import pytest
from row_sources import SPLITS, refused, rows

from pytest_mipro.errors import DatasetError
from pytest_mipro.task import Dataset, clusters_of


def clustered(*values: Any) -> Dataset:
    """Return a dataset whose held-out examples have ``values`` as documents."""
    train, val = ([{"question": name, "answer": 1}] for name in ("train", "val"))
    test = [
        {"question": f"{index}", "answer": 1, **({} if value is ... else {"document": value})}
        for index, value in enumerate(values)
    ]
    return Dataset.load({"train": train, "val": val, "test": test}, inputs=["question"])


def test_clusters_are_values_as_text() -> None:
    """A cluster is text for a value of any type, and 0 is a value."""
    assert clusters_of(clustered("a", "b", "a").test, "document") == ("a", "b", "a")
    assert clusters_of(clustered(0, 1, [2, "x"]).test, "document") == ("0", "1", '[2,"x"]')


@pytest.mark.parametrize("value", [..., None, ""])
def test_an_example_in_no_cluster_is_refused(value: Any) -> None:
    """The error names a missing or empty field, the example, and the example's fields."""
    with pytest.raises(DatasetError, match=r"cluster='document': test\[1\] has no value.*question"):
        clusters_of(clustered("a", value, "b").test, "document")


def test_a_single_cluster_is_refused() -> None:
    """The error names a cluster that all held-out examples are in."""
    with pytest.raises(DatasetError, match=r"cluster='document': all 2 .* one cluster, 'a'"):
        clusters_of(clustered("a", "a").test, "document")


def divided(documents: int) -> dict[str, list[dict[str, Any]]]:
    """Return explicit splits of which the last has rows about ``documents`` of the first."""
    return {
        "train": [{**row, "document": f"d{n}"} for n, row in enumerate(rows(5))],
        "val": [{**row, "document": f"e{n}"} for n, row in enumerate(rows(2, 10))],
        "test": [{**row, "document": f"d{n}"} for n, row in enumerate(rows(documents, 20))],
    }


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", ["mapping", "named splits", "dataset"])
def test_a_divided_cluster_is_refused(kind: str, count: int) -> None:
    """The error names the first clusters in two splits, with the rows, and the next step."""
    source: Any = divided(count)
    options: dict[str, Any] = {}
    if kind == "named splits":
        source = [{**row, "part": name} for name in SPLITS for row in source[name]]
        options = {"split": "part"}
    elif kind == "dataset":
        source = Dataset.load(source, inputs="question")

    message = refused(
        source,
        f"cluster='document': {count} cluster",
        "in more than one split",
        "move each into one split, or give all rows as one pool",
        cluster="document",
        **options,
    )

    first, last = ("dataset[0]", "dataset[7]") if options else ("train[0]", "test[0]")
    assert f"'d0': {first} (train), {last} (test)" in message
    assert message.count(" (test)") == min(count, 3)


def test_clusters_in_one_split_each_are_accepted() -> None:
    """Explicit splits that divide no cluster are used as they are."""
    splits = {**divided(0), "test": [{**row, "document": "f"} for row in rows(2, 30)]}

    dataset = Dataset.load(splits, inputs="question", cluster="document")

    assert Dataset.load(dataset, cluster="document") is dataset
    assert [row.document for row in dataset.test] == ["f", "f"]


@pytest.mark.parametrize("split", [(40, 30, 30), "part"])
def test_each_row_needs_a_cluster(split: Any) -> None:
    """A row without a cluster may belong to one that is held out."""
    pool = [{**row, "part": SPLITS[n % 3], "document": n} for n, row in enumerate(rows(30))]
    del pool[9]["document"]

    refused(
        pool,
        "cluster='document': dataset[9] has no value in that field",
        split=split,
        cluster="document",
    )
