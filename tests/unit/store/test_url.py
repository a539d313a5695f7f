from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from store_checks import NEXT_STEP, refusal

from pytest_mipro.errors import StoreError
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "url",
    [
        "store.db",
        "",
        "nosuchdatabase://localhost/store",
        "postgresql://localhost:notaport/store",
        "sqlite+nosuchdriver:///store.db",
    ],
)
def test_a_wrong_url(url: str) -> None:
    """A URL without a store is refused with an example or the driver to install."""
    message = refusal(url)
    assert ("store" in message) if url else ("''" in message)
    assert "sqlite:///" in message or NEXT_STEP.search(message)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nosuchdriver://alice:hunter2@localhost/store",
        "nosuchdatabase://alice:hunter2@localhost/store",
        "postgresql:/alice:hunter2@localhost/store",
        "postgresql://alice:hunter2@localhost:notaport/store",
        "postgresql+nosuchdriver://localhost/store?user=alice&password=hunter2",
    ],
)
def test_no_password_in_a_message(url: str) -> None:
    """An error about a URL does not repeat its password."""
    with pytest.raises(StoreError) as error:
        Store.open(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("url", ["mysql://me:hunter2@localhost/store", "oracle://h/store"])
def test_another_kind_of_database(url: str) -> None:
    """A database of an unsupported kind is refused, without the password."""
    with pytest.raises(StoreError, match=r"use SQLite or PostgreSQL") as error:
        Store.open(url)
    assert "hunter2" not in str(error.value)


NAMES = ("job_feature%2Fbranch", "pro?ject", "$HOME", "a#b", "~", "ü &;x=1", "file:x", "100%")


@pytest.mark.parametrize("name", NAMES)
def test_a_store_is_in_its_folder(tmp_path: Path, name: str) -> None:
    """A path is used as it is, and so is one in a URL with its escapes."""
    path, quoted = tmp_path / name / "store.db", tmp_path / f"{name} in a URL" / "store.db"
    Store.open_file(path).close()
    Store.open(f"sqlite:///{quote(str(quoted))}").close()
    files = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {path, quoted}
