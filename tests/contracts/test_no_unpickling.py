"""Nothing that somebody else may have written is ever unpickled."""

from __future__ import annotations

import pickle
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sessions import Checkout, with_demos

from pytest_mipro.errors import MiproError

if TYPE_CHECKING:
    from collections.abc import Callable


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.proof,)


def plant_dspy_cache(checkout: Checkout, content: bytes) -> None:
    """Plant a cache as DSPy writes it, with an entry under every key."""
    for shard in range(16):
        folder = checkout.folder / "lm" / f"{shard:03}"
        folder.mkdir(parents=True)
        with closing(sqlite3.connect(folder / "cache.db")) as connection:
            connection.execute("CREATE TABLE Cache (key, mode, filename, value)")
            connection.execute("INSERT INTO Cache VALUES ('k', 4, NULL, ?)", [content])
            connection.commit()


def plant_records(checkout: Checkout, content: bytes) -> None:
    """Put the content in place of every record of the store."""
    with closing(sqlite3.connect(checkout.store)) as connection:
        for table in ("rows", "traces", "proposals", "artifacts", "responses"):
            connection.execute(f"UPDATE {table} SET value = ?", [content])
        connection.commit()


def plant_store(checkout: Checkout, content: bytes) -> None:
    """Put the content in place of the store."""
    checkout.store.write_bytes(content)


def plant_reference(checkout: Checkout, content: bytes) -> None:
    """Put the content in place of both files of the reference."""
    for path in (checkout.root / "__mipro__").rglob("*.json"):
        path.write_bytes(content)


def plant_everywhere(checkout: Checkout, content: bytes) -> None:
    """Put the content in place of every file under the folders of the plugin."""
    for folder in (checkout.folder, checkout.root / "__mipro__"):
        for path in folder.rglob("*"):
            if path.is_file():
                path.write_bytes(content)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout with a store and a reference."""
    checkout = Checkout(tmp_path_factory.mktemp("accepted"), caches_responses=True)
    checkout.recorder.optimizer = with_demos
    checkout.outcome(update=True)
    return checkout


@pytest.mark.parametrize(
    "plant",
    [plant_dspy_cache, plant_records, plant_store, plant_reference, plant_everywhere],
)
@pytest.mark.parametrize("policy", [{}, {"frozen": True}, {"update": True}], ids=str)
def test_a_planted_pickle_is_data(
    accepted: Checkout,
    tmp_path: Path,
    plant: Callable[[Checkout, bytes], None],
    policy: dict[str, Any],
) -> None:
    """A run uses the file as it is or says that it is damaged; it never unpickles it."""
    proof = tmp_path / "proof"
    checkout = accepted.copied_to(tmp_path / "copy", ".mipro", "__mipro__")
    checkout.caches_responses = True
    checkout.recorder.optimizer = with_demos
    plant(checkout, pickle.dumps(Payload(proof)))
    with suppress(MiproError):
        checkout.outcome(**policy)
    assert not proof.exists()


def test_the_payload_works(tmp_path: Path) -> None:
    """Unpickled, it does leave a proof."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()
