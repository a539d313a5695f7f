"""The flags, their ini twins, and the settings they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_STORE = ".mipro/store.db"
DEFAULT_TIMEOUT = "60"
INCONCLUSIVE = ("fail", "warn")
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
        "--mipro-repeat",
        metavar="K",
        help="Times each held-out example is answered; its score is the mean (default: 1).",
    )
    group.addoption(
        "--mipro-store",
        metavar="URL",
        help=f"SQLAlchemy URL of the store (default: sqlite:///{DEFAULT_STORE} under the rootdir).",
    )
    for name, what in _ACTIONS.items():
        group.addoption(f"--mipro-{name}", action="store_true", default=None, help=what)
    group.addoption(
        "--mipro-inconclusive",
        metavar="|".join(INCONCLUSIVE),
        help="What no_regression() does where the examples do not decide (default: warn).",
    )
    group.addoption(
        "--mipro-max-calls",
        metavar="N",
        help="Most calls that language models may answer in this session, all tasks together.",
    )
    group.addoption(
        "--mipro-max-cost",
        metavar="USD",
        help="Most that the calls of this session may cost, in US dollars.",
    )
    group.addoption(
        "--mipro-report",
        action="append",
        metavar="PATH",
        help="Write a report, as .html, .md or .json says; may be given several times.",
    )
    group.addoption(
        "--mipro-prune",
        metavar="DAYS",
        help="At the end, delete from the store what was not used for so long.",
    )
    parser.addini("mipro", "Run the tests that compile prompts.", type="bool", default=False)
    parser.addini(
        "mipro_frozen", "Compile nothing: take the accepted reference.", type="bool", default=False
    )
    for name, what in (
        ("mipro_lm", "The language model, unless a fixture, marker or flag names another."),
        ("mipro_threads", "Rows evaluated at the same time."),
        ("mipro_timeout", "Longest an LM call may take, in seconds."),
        ("mipro_repeat", "Times each held-out example is answered, unless a marker says it."),
        ("mipro_store", "SQLAlchemy URL of the store."),
        ("mipro_inconclusive", "What no_regression() does without a decision: fail or warn."),
        ("mipro_max_calls", "Most calls of a session that language models may answer."),
        ("mipro_max_cost", "Most that the calls of a session may cost, in US dollars."),
        ("mipro_prune", "At the end, delete from the store what was not used for so many days."),
    ):
        parser.addini(name, what, type="string", default="")
    parser.addini(
        "mipro_report", "Reports to write, a path each line.", type="linelist", default=[]
    )
    parser.addini(
        "mipro_price",
        "What models charge, a line each: NAME: USD per million tokens asked, and answered.",
        type="linelist",
        default=[],
    )


_ACTIONS = {
    "update": "Accept each outcome as the test's reference, in __mipro__ beside the test.",
    "frozen": "Compile nothing: take program and scores from the accepted reference.",
    "refresh": "Compile again what the store has, and ask the models again for it.",
    "rescore": "Answer the held-out examples again, whatever the store has.",
    "dry-run": "Say what would run and how much it would ask at most; ask nothing.",
}


@dataclass(frozen=True)
class Settings:
    """
    The flags and ini options of one session, checked.

    Attributes:
        lm: The model the command line names, if it does.
        threads: Rows at a time; None leaves it to the model.
        timeout: Seconds an LM call may take.
        repeat: Rollouts that the command line asks for, if it does.
        default_repeat: Rollouts where a declaration does not say.
        store_url: SQLAlchemy URL of the store.
        folder: Where everything else that is kept goes.
        update: Whether outcomes are accepted as references.
        frozen: Whether program and scores are the references'.
        refresh: Whether programs are compiled again.
        rescore: Whether held-out examples are answered again.
        inconclusive: What becomes of a test whose examples do not decide.
        prune: Days after which the store forgets, if it does.
        dry_run: Whether to say what would run instead of running it.
        max_calls: Most LM calls of the session, if they are limited.
        max_cost: Most they may cost in US dollars, if that is limited.
        prices: By model, US dollars per million tokens asked, and answered.

    """

    lm: str | None
    threads: int | None
    timeout: float
    repeat: int | None
    default_repeat: int
    store_url: str
    folder: Path
    update: bool
    frozen: bool
    refresh: bool
    rescore: bool
    inconclusive: str
    prune: float | None
    dry_run: bool
    max_calls: int | None
    max_cost: float | None
    prices: Mapping[str, tuple[float, float]]

    @property
    def store_file(self) -> Path | None:
        """The file the store is in, if it is in one."""
        path = _path_in(self.store_url)
        return None if path is None else Path(path.partition("?")[0])

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
            threads=_whole(*_value(config, "threads")),
            timeout=_above_zero(*_value(config, "timeout", DEFAULT_TIMEOUT), "seconds"),
            repeat=_whole("--mipro-repeat", config.getoption("mipro_repeat") or ""),
            default_repeat=_whole("mipro_repeat", config.getini("mipro_repeat")) or 1,
            store_url=_store_url(config),
            folder=config.rootpath / ".mipro",
            update=_flag(config, "update"),
            frozen=_frozen(config),
            refresh=_flag(config, "refresh"),
            rescore=_flag(config, "rescore"),
            inconclusive=_choice(*_value(config, "inconclusive", "warn"), INCONCLUSIVE),
            prune=_prune(*_value(config, "prune")),
            dry_run=_dry_run(config),
            max_calls=_whole(*_value(config, "max_calls")),
            max_cost=_cost(*_value(config, "max_cost")),
            prices=dict(map(_price, config.getini("mipro_price"))),
        )


def is_on(config: pytest.Config) -> bool:
    """Whether this session compiles and judges, also while its conftest files are loaded."""
    early = getattr(config.known_args_namespace, "mipro", None)
    flag = config.getoption("mipro", default=early)
    return bool(config.getini("mipro") if flag is None else flag)


def refuse_idle(config: pytest.Config) -> None:
    """
    Refuse flags that ask for something which a session without ``--mipro`` does not do.

    Raises:
        pytest.UsageError: There is one.

    """
    for name in _ACTIONS:
        if _flag(config, name.replace("-", "_")):
            message = (
                f"--mipro-{name} does nothing without --mipro: every such test is skipped; add it"
            )
            raise pytest.UsageError(message)


def _value(config: pytest.Config, name: str, default: str = "") -> tuple[str, str]:
    """Return where an option was set, and to what: flag before ini before default."""
    flag = config.getoption(f"mipro_{name}")
    if flag is not None:
        return f"--mipro-{name.replace('_', '-')}", str(flag)
    return f"mipro_{name}", str(config.getini(f"mipro_{name}")) or default


def _flag(config: pytest.Config, name: str) -> bool:
    return bool(config.getoption(f"mipro_{name}"))


def _frozen(config: pytest.Config) -> bool:
    """Return whether nothing is compiled; what a flag asks for wins over the ini option."""
    contrary = [name for name in ("update", "refresh") if _flag(config, name)]
    if not _flag(config, "frozen"):
        return bool(config.getini("mipro_frozen")) and not contrary
    if contrary:
        message = (
            f"--mipro-{contrary[0]} and --mipro-frozen contradict each other: "
            "one gives new references or programs, the other takes what was accepted; choose one"
        )
        raise pytest.UsageError(message)
    return True


def _dry_run(config: pytest.Config) -> bool:
    """Return whether nothing is run; a reference cannot be accepted then."""
    dry = _flag(config, "dry_run")
    if dry and _flag(config, "update"):
        message = (
            "--mipro-update and --mipro-dry-run contradict each other: one accepts what a run "
            "came to, the other runs nothing; choose one"
        )
        raise pytest.UsageError(message)
    return dry


def _choice(source: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        message = f"{source}={text!r}: expected {' or '.join(choices)}"
        raise pytest.UsageError(message)
    return text


def _prune(source: str, text: str) -> float | None:
    return _above_zero(source, text, "days") if text else None


def _cost(source: str, text: str) -> float | None:
    return _above_zero(source, text, "US dollars") if text else None


def _price(line: str) -> tuple[str, tuple[float, float]]:
    name, _, text = line.rpartition(":")
    try:
        asked, answered = map(float, text.split())
    except ValueError:
        asked = answered = math.nan
    if not (name.strip() and 0 <= asked < math.inf and 0 <= answered < math.inf):
        message = (
            f"mipro_price={line!r}: expected a model and US dollars per million tokens asked and "
            "answered, such as `openai/my-model: 0.15 0.60`"
        )
        raise pytest.UsageError(message)
    return name.strip(), (asked, answered)


def _store_url(config: pytest.Config) -> str:
    """Return the store's URL; a file's path starts where pytest's own paths do."""
    flag = config.getoption("mipro_store")
    start = config.rootpath if flag is None else config.invocation_params.dir
    url: str = flag or config.getini("mipro_store") or f"{_SQLITE}{DEFAULT_STORE}"
    path = _path_in(url)
    return url if path is None else f"{_SQLITE}{(start / path).as_posix()}"


def _path_in(url: str) -> str | None:
    """Return the path of a file, with the options after it; None if SQLite alone can read it."""
    path = url.removeprefix(_SQLITE)
    return None if path == url or path.startswith((":", "file:")) else path or None


def _whole(source: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        message = f"{source}={text!r}: expected a whole number of at least 1"
        raise pytest.UsageError(message)
    return int(text)


def _above_zero(source: str, text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        message = f"{source}={text!r}: expected a number of {what} above 0"
        raise pytest.UsageError(message)
    return number
