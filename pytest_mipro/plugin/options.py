"""The flags, their ini twins, and the settings they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_STORE = ".mipro/store.db"
DEFAULT_TIMEOUT = "60"
_SQLITE = "sqlite:///"


def add_options(parser: pytest.Parser) -> None:
    """Declare the flags and the ini options."""
    group = parser.getgroup("mipro", "compiling and judging DSPy programs (pytest-mipro)")
    group.addoption(
        "--mipro",
        action="store_true",
        default=None,
        help="Run the tests that compile prompts; without it they are skipped.",
    )
    group.addoption(
        "--mipro-lm",
        metavar="NAME",
        help="The language model, before marker, fixture and ini: a DSPy model string such as "
        "openai/gpt-4o-mini, or 'local' for the embedded model.",
    )
    group.addoption(
        "--mipro-threads",
        metavar="N",
        help="Rows evaluated at the same time (default: 8; the embedded model takes 1).",
    )
    group.addoption(
        "--mipro-timeout",
        metavar="SECONDS",
        help=f"Longest an LM call may take (default: {DEFAULT_TIMEOUT}).",
    )
    group.addoption(
        "--mipro-store",
        metavar="URL",
        help=f"SQLAlchemy URL of the store (default: sqlite:///{DEFAULT_STORE} under the rootdir).",
    )
    parser.addini("mipro", "Run the tests that compile prompts.", type="bool", default=False)
    for name, what in (
        ("mipro_lm", "The language model, unless a fixture, marker or flag names another."),
        ("mipro_threads", "Rows evaluated at the same time."),
        ("mipro_timeout", "Longest an LM call may take, in seconds."),
        ("mipro_store", "SQLAlchemy URL of the store."),
    ):
        parser.addini(name, what, type="string", default="")


@dataclass(frozen=True)
class Settings:
    """
    The flags and ini options of one session, checked.

    Attributes:
        lm: The model the command line names, if it does.
        threads: Rows at a time; None leaves it to the model.
        timeout: Seconds an LM call may take.
        store_url: SQLAlchemy URL of the store.
        folder: Where everything else that is kept goes.

    """

    lm: str | None
    threads: int | None
    timeout: float
    store_url: str
    folder: Path

    @property
    def store(self) -> str:
        """The store's URL for people: without credentials, relative where it can be."""
        scheme, _, rest = self.store_url.partition("://")
        shown = f"{scheme}://{rest.rpartition('@')[2]}"
        return shown.replace(f"{self.folder.parent.as_posix()}/", "")

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """
        Read the settings of a session.

        Raises:
            pytest.UsageError: A flag or ini option has a value it cannot have.

        """
        return cls(
            lm=config.getoption("mipro_lm") or None,
            threads=_threads(*_value(config, "threads")),
            timeout=_timeout(*_value(config, "timeout", DEFAULT_TIMEOUT)),
            store_url=_store_url(config),
            folder=config.rootpath / ".mipro",
        )


def is_on(config: pytest.Config) -> bool:
    """Whether this session compiles and judges."""
    flag = config.getoption("mipro", default=None)
    return bool(config.getini("mipro") if flag is None else flag)


def _value(config: pytest.Config, name: str, default: str = "") -> tuple[str, str]:
    """Return where an option was set, and to what: flag before ini before default."""
    flag = config.getoption(f"mipro_{name}")
    if flag is not None:
        return f"--mipro-{name}", str(flag)
    return f"mipro_{name}", str(config.getini(f"mipro_{name}")) or default


def _store_url(config: pytest.Config) -> str:
    """Return the store's URL; a file's path starts where pytest's own paths do."""
    flag = config.getoption("mipro_store")
    start = config.rootpath if flag is None else config.invocation_params.dir
    url = flag or config.getini("mipro_store") or f"{_SQLITE}{DEFAULT_STORE}"
    path = url.removeprefix(_SQLITE)
    if path == url or path.startswith(":") or not path:
        return str(url)
    return f"{_SQLITE}{(start / path).as_posix()}"


def _threads(source: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        message = f"{source}={text!r}: expected a whole number of at least 1"
        raise pytest.UsageError(message)
    return int(text)


def _timeout(source: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"{source}={text!r}: expected a number of seconds above 0"
        raise pytest.UsageError(message)
    return seconds
