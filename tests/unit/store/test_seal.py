from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_checks import tamper

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Response, Seal, Store, environment_seal, has_seal_key
from pytest_mipro.store.checksum import checksum

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.uses("sqlalchemy")

KEY = "0123456789abcdef" * 2
PARTS = ["rows", "k", 1.5, "text"]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Set a key in the environment, before the store is opened."""
    monkeypatch.setenv("MIPRO_SEAL_KEY", KEY)
    return KEY


def test_a_seal() -> None:
    """It is on its parts under its key, and on no others."""
    seal = Seal(KEY).of(PARTS)
    assert Seal(KEY).is_on(seal, PARTS)
    assert not Seal(KEY[::-1]).is_on(seal, PARTS)
    for index in range(len(PARTS)):
        assert not Seal(KEY).is_on(seal, [*PARTS[:index], "other", *PARTS[index + 1 :]])
    assert not Seal(KEY).is_on(seal, ["rows,k", *PARTS[2:]])


@pytest.mark.parametrize("seal", ["", None, 7, b"x", "ä", "\ud800"])
def test_what_is_no_seal(seal: object) -> None:
    """Nothing else is one."""
    assert not Seal(KEY).is_on(seal, PARTS)


@pytest.mark.parametrize("value", ["", "  ", None])
def test_no_key(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """An empty variable, as a job without secrets has it, is no key."""
    monkeypatch.delenv("MIPRO_SEAL_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MIPRO_SEAL_KEY", value)
    assert environment_seal() is None
    assert not has_seal_key()


def test_a_short_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with the way to make a better one, and is not repeated."""
    monkeypatch.setenv("MIPRO_SEAL_KEY", "hunter2")
    with pytest.raises(StoreError, match=r"has 7 characters, expected 32 .*token_hex") as error:
        Store.in_memory()
    assert "hunter2" not in str(error.value)
    assert not has_seal_key()


@pytest.mark.usefixtures("key")
def test_a_key() -> None:
    """A key that is long enough seals."""
    assert has_seal_key()
    assert environment_seal() is not None


@pytest.mark.usefixtures("key")
def test_a_sealed_record_is_believed(store: Store, url: str) -> None:
    """A later run with the key reads it, and so does one without."""
    store.rows.put(Row("k", 1.0, prediction_key="a"))
    with closing(Store.open(url)) as again:
        assert again.rows.get("k") == again.rows.by_prediction(["a"])["a"]
        assert again.unbelieved == 0


def forge(path: Path) -> None:
    """Change a score, with the checksum that belongs to it."""
    with closing(sqlite3.connect(path)) as connection:
        (row,) = connection.execute("SELECT key, prediction_key, created, value FROM rows")
        text = row[3].replace("0.25", "0.75")
        connection.execute(
            "UPDATE rows SET value = ?, checksum = ?", [text, checksum(row[:2], row[2], text)]
        )
        connection.commit()


def test_a_forged_score_without_a_key(store: Store, path: Path) -> None:
    """The checksum alone cannot tell it."""
    store.rows.put(Row("k", 0.25))
    forge(path)
    assert store.rows.get("k") == Row("k", 0.75)


@pytest.mark.usefixtures("key")
def test_a_forged_score_with_a_key(store: Store, path: Path) -> None:
    """It counts as absent, once, and the honest record takes its place."""
    store.rows.put(Row("k", 0.25, prediction_key="a"))
    forge(path)
    assert store.rows.get("k") is None
    assert store.rows.get_many(["k"]) == store.rows.by_prediction(["a"]) == {}
    assert store.unbelieved == 1
    store.rows.put(Row("k", 0.25, prediction_key="a"))
    assert store.rows.get("k") == Row("k", 0.25, prediction_key="a")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    "change",
    ["seal = ''", "seal = x'00'", "seal = 7", "key = 'l'", "created = created + 1", "value = 'x'"],
)
def test_a_changed_record(store: Store, path: Path, change: str) -> None:
    """With any other column it counts as absent."""
    store.rows.put(Row("k", 0.25))
    tamper(path, f"UPDATE rows SET {change}")
    assert store.rows.get_many(["k", "l"]) == {}
    assert store.unbelieved == 1


@pytest.mark.usefixtures("key")
def test_a_record_of_another_table(store: Store, path: Path) -> None:
    """The seal names the table."""
    store.traces.put()
    store.responses.put(Response("k", 1))
    tamper(path, "INSERT INTO proposals SELECT * FROM responses")
    assert store.proposals.get("k") is None


@pytest.mark.usefixtures("key")
def test_an_unsealed_response_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that writes later does so, too."""
    with monkeypatch.context() as context:
        context.delenv("MIPRO_SEAL_KEY")
        with closing(Store.open_file(path)) as store:
            store.responses.put(Response("k", "forged"))
    with closing(Store.open_file(path)) as store:
        assert store.responses.get("k") is None
        store.responses.put(Response("k", "honest"))
        store.responses.flush()
        assert store.responses.get("k") == Response("k", "honest")
