from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_sources import SPLITS, examples_of, homes, jsonl, refused, rows, write

from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = st.lists(st.text(max_size=8), unique=True, max_size=20)
SPLIT_BY_QUESTION = homes(Dataset.load(rows(60), inputs="question"))


@given(texts=QUESTIONS, removed=st.sets(st.integers(0, 39), max_size=15), random=st.randoms())
def test_example_stays_in_its_split(texts: list[str], removed: set[int], random: Any) -> None:
    """Adding, removing and reordering rows moves no example."""
    pool = [row for n, row in enumerate(rows(60)) if n not in removed]
    pool += [{"question": f"new {text}", "answer": "?"} for text in texts]
    random.shuffle(pool)

    splits = homes(Dataset.load(pool, inputs="question"))

    assert {text: split for text, split in splits.items() if text in SPLIT_BY_QUESTION} == {
        text: split for text, split in SPLIT_BY_QUESTION.items() if text in splits
    }


@given(labels=st.lists(st.text(max_size=5), min_size=60, max_size=60))
def test_corrected_label_keeps_the_split(labels: list[str]) -> None:
    """A row with another label stays in its split."""
    pool = [{**row, "answer": label} for row, label in zip(rows(60), labels, strict=True)]

    assert homes(Dataset.load(pool, inputs="question")) == SPLIT_BY_QUESTION


def test_field_order_and_further_labels_keep_the_split() -> None:
    """Neither the order of fields nor a new label column moves an example."""
    pool = [
        {"note": "new", "answer": row["answer"], "question": row["question"]} for row in rows(60)
    ]

    assert homes(Dataset.load(pool, inputs="question")) == SPLIT_BY_QUESTION


@pytest.mark.parametrize("shares", [(40.0, 30.0, 30.0), (80, 10, 10), (1, 1, 1), (0.5, 0.25, 0.25)])
def test_shares_are_about_right(shares: tuple[float, float, float]) -> None:
    """Five hundred rows are divided by the shares, within four standard deviations."""
    dataset = Dataset.load(rows(500), inputs="question", split=shares)

    for name, share in zip(SPLITS, shares, strict=True):
        fraction = share / sum(shares)
        spread = 4 * (fraction * (1 - fraction) / 500) ** 0.5
        assert abs(len(getattr(dataset, name)) / 500 - fraction) < spread
    assert len(examples_of(dataset)) == 500


def test_default_shares_are_40_30_30() -> None:
    """Without a split argument the shares are 40/30/30."""
    assert Dataset.load(rows(200), inputs="question") == Dataset.load(
        rows(200), inputs="question", split=(40, 30, 30)
    )


def test_split_does_not_change_between_versions() -> None:
    """Eight examples are in the splits that the first version put them in."""
    splits = " ".join(SPLIT_BY_QUESTION[row["question"]] for row in rows(8))

    assert splits == "test train train train train train train test"


def test_pool_keeps_the_order_of_its_rows() -> None:
    """The rows of a split are in the order of the source."""
    dataset = Dataset.load(rows(60), inputs="question")

    for name in SPLITS:
        numbers = [int(row.answer) for row in getattr(dataset, name)]
        assert numbers == sorted(numbers)


def test_same_question_with_two_answers_is_one_split() -> None:
    """Rows with equal inputs and different labels are allowed, and are in one split."""
    pool = [*rows(40), *({**row, "answer": "other"} for row in rows(40))]

    dataset = Dataset.load(pool, inputs="question")

    for name in SPLITS:
        questions = [row.question for row in getattr(dataset, name)]
        assert all(questions.count(question) == 2 for question in questions)


@pytest.mark.parametrize("kind", ["mappings", "examples", "file"])
def test_split_field_divides_the_pool(tmp_path: Path, kind: str) -> None:
    """The split field decides the split, and is no field of the example."""
    pool = [{**row, "part": SPLITS[n % 3]} for n, row in enumerate(rows(9))]
    source: Any = {
        "mappings": pool,
        "examples": [dspy.Example(row).with_inputs("question", "part") for row in pool],
        "file": write(tmp_path / "rows.jsonl", jsonl(pool)),
    }[kind]

    dataset = Dataset.load(source, inputs="question", split="part")

    assert [row.answer for row in dataset.train] == ["0", "3", "6"]
    assert [row.answer for row in dataset.test] == ["2", "5", "8"]
    assert all("part" not in row for row in examples_of(dataset))


@pytest.mark.parametrize(
    "split",
    [
        (1, 1),
        (1, 1, 1, 1),
        (1, 1, 0),
        (1, 1, -1),
        (1, 1, float("nan")),
        (1, 1, float("inf")),
        ("1", "1", "1"),
        (),
        5,
        None,
    ],
)
def test_wrong_split_is_refused(split: Any) -> None:
    """The error names a split that is not three positive shares, and gives an example."""
    refused(rows(30), f"split={split!r}", "(40, 30, 30)", split=split)


@pytest.mark.parametrize(
    "row, value",
    [
        ({}, "None"),
        ({"part": "dev"}, "'dev'"),
        ({"part": ["train"]}, "['train']"),
        ({"part": 1}, "1"),
    ],
)
@pytest.mark.parametrize("kind", [dict, dspy.Example])
def test_wrong_split_field_is_refused(row: dict[str, Any], value: str, kind: Any) -> None:
    """The error names a row without a valid split, and its value."""
    pool = [{"question": "a", "part": "train"}, {"question": "b", **row}]

    refused(
        [kind(row) for row in pool],
        f"dataset[1]: field 'part' is {value}, expected train, val or test",
        split="part",
    )


@pytest.mark.parametrize("empty", SPLITS)
def test_empty_split_is_refused(empty: str) -> None:
    """The error names the split, the sizes, and the next step."""
    source = {name: [] if name == empty else rows(2, 10 * n) for n, name in enumerate(SPLITS)}
    sizes = ", ".join(f"{len(source[name])} {name}" for name in SPLITS)

    refused(source, f"the {empty} split is empty ({sizes})", "add examples")


def test_few_rows_leave_a_split_empty() -> None:
    """The error for a pool of one row says how to declare the splits."""
    refused(rows(1), "split is empty", "give train, val and test explicitly")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_duplicate_rows_are_refused(count: int) -> None:
    """The error lists the first three duplicates, and counts the rest."""
    source = {"train": [*rows(5), *rows(count)], "val": rows(1, 10), "test": rows(1, 20)}

    message = refused(source, f"the train split has {count} duplicate row")

    assert message.count(" repeats ") == min(count, 3)
    assert 'train[5] repeats train[0]: {"question":"What is 0?"}' in message
    assert (f"… and {count - 3} more" in message) is (count > 3)
    assert ("rows:" in message) is (count > 1)


def test_duplicate_of_a_pool_is_refused() -> None:
    """The error names both locations of a row that a pool has twice."""
    refused([*rows(30), rows(1)[0]], "1 duplicate row", "dataset[30] repeats dataset[0]")


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("label", ["same", "different"])
def test_overlap_is_refused(count: int, label: str) -> None:
    """The error lists both locations of inputs that two splits share, under any label."""
    shared = [row if label == "same" else {**row, "answer": "no"} for row in rows(count)]
    source = {"train": rows(5), "val": rows(2, 10), "test": [*rows(2, 20), *shared]}

    message = refused(
        source,
        f"the splits share {count} example",
        "the held-out score would not be held out",
        "remove each from all but one split",
    )

    assert 'test[2] (test) = train[0] (train): {"question":"What is 0?"}' in message
    assert message.count(" = train[") == min(count, 3)
    assert (f"… and {count - 3} more" in message) is (count > 3)


@pytest.mark.parametrize("first, second", [("train", "val"), ("val", "test"), ("train", "test")])
def test_overlap_of_any_two_splits_is_refused(first: str, second: str) -> None:
    """Any two splits with an example in common are refused."""
    source = {name: rows(2, 10 * n) for n, name in enumerate(SPLITS)}
    source[second] = [*source[second], source[first][1]]

    refused(source, f"{second}[2] ({second}) = {first}[1] ({first})")


def test_overlap_by_split_field_is_refused(tmp_path: Path) -> None:
    """The error names two overlapping rows of one file by their lines."""
    pool = [{**row, "part": SPLITS[n % 3]} for n, row in enumerate(rows(6))]
    pool.append({**pool[0], "part": "test"})
    path = write(tmp_path / "rows.jsonl", jsonl(pool))

    refused(path, "rows.jsonl:7 (test) = rows.jsonl:1 (train)", split="part")


def test_long_row_is_shortened_in_a_message() -> None:
    """The error about a row of any length is short."""
    long = {"question": "why " * 10_000, "answer": "b"}

    message = refused({"train": [long, long], "val": rows(1), "test": rows(1, 5)}, "duplicate")

    assert len(message) < 400


def test_message_shows_text_as_it_is() -> None:
    """The error shows text in any script unescaped."""
    row = {"question": "为什么天空是蓝色的?", "answer": "b"}

    refused({"train": [row, row], "val": rows(1), "test": rows(1, 5)}, "为什么天空是蓝色的?")


def clustered_rows(count: int, documents: int) -> list[dict[str, Any]]:
    """Return rows about documents, the same number about each."""
    return [{**row, "document": n % documents} for n, row in enumerate(rows(count))]


def splits_of_documents(pool: list[dict[str, Any]]) -> dict[Any, set[str]]:
    """Return the splits of each document of a pool that is split by documents."""
    dataset = Dataset.load(pool, inputs="question", cluster="document")
    splits: dict[Any, set[str]] = {}
    for name in SPLITS:
        for row in getattr(dataset, name):
            splits.setdefault(row.document, set()).add(name)
    return splits


@given(added=st.lists(st.integers(0, 30), max_size=20), random=st.randoms())
def test_cluster_stays_in_one_split(added: list[int], random: Any) -> None:
    """Rows of the same and of other documents, in any order, move no document."""
    pool = clustered_rows(40, 20)
    expected = splits_of_documents(pool)
    pool += [
        {"question": f"new {n}", "answer": "?", "document": document}
        for n, document in enumerate(added)
    ]
    random.shuffle(pool)

    splits = splits_of_documents(pool)

    assert all(len(names) == 1 for names in splits.values())
    assert {document: splits[document] for document in expected} == expected


SPELLINGS = {
    "case": ("Is the Straße long?", "IS THE STRASSE LONG?"),
    "Unicode form": ("Caf\u00e9 or ﬁlm?", "Cafe\u0301 or film?"),
    "white space": ("What is  2 + 2 ?\n", "\u00a0What is 2+2?"),
    "all of them": ("\u212bngstr\u00d6m\tunit", "a\u030aNGSTRO\u0308M unit"),
}


@pytest.mark.parametrize("spellings", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("field", ["question", ["question"]], ids=["text", "nested"])
def test_near_duplicates_stay_in_one_split(spellings: tuple[str, str], field: Any) -> None:
    """Inputs that differ only in spelling get the same split, whatever the text begins with."""
    for n in range(10):
        texts = [f"{n} {spelling}" for spelling in spellings]
        pair = [{"question": text if field == "question" else {"a": [text]}} for text in texts]
        dataset = Dataset.load([*rows(12), *pair], inputs="question")

        places = [
            name
            for row in pair
            for name in SPLITS
            for example in getattr(dataset, name)
            if example.question == row["question"]
        ]
        assert len(places) == 2
        assert places[0] == places[1]


def test_near_duplicates_join_clusters() -> None:
    """Two documents that share a question stay in one split, in any order of the rows."""
    pool = clustered_rows(120, 20)
    joined = [{**row, "question": "The same?" + " " * n} for n, row in enumerate(pool[:20])]

    splits = splits_of_documents([*clustered_rows(200, 40)[40:], *joined])

    assert len({frozenset(splits[document]) for document in range(20)}) == 1
    assert splits == splits_of_documents([*joined[::-1], *clustered_rows(200, 40)[:39:-1]])


@pytest.mark.parametrize("cluster", [None, "document"])
def test_named_splits_are_kept(cluster: str | None) -> None:
    """Neither clusters nor near-duplicates move a row whose split is named."""
    pool = [{**row, "part": SPLITS[n % 3]} for n, row in enumerate(clustered_rows(12, 3))]

    dataset = Dataset.load(pool, inputs="question", split="part", cluster=cluster)

    assert [row.document for row in dataset.val] == [1] * 4
