"""The settings of a session, each with the option that sets it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import quote, unquote

import pytest

from pytest_mipro.plugin.options import Lines, Option, OptionValue, Switch, Text

DEFAULT_STORE = ".mipro/store.db"
DEFAULT_TIMEOUT = 60
INCONCLUSIVE = ("fail", "warn")
CORRECTIONS = ("none", "holm")
_SQLITE = "sqlite:///"


def _whole(value: OptionValue) -> int:
    if not value.text.isdecimal() or int(value.text) < 1:
        value.refuse("a whole number of at least 1")
    return int(value.text)


def _above_zero(unit: str) -> Callable[[OptionValue], float]:
    def parse(value: OptionValue) -> float:
        try:
            number = float(value.text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            value.refuse(f"a number of {unit} above 0")
        return number

    return parse


def _one_of(*words: str) -> Callable[[OptionValue], str]:
    def parse(value: OptionValue) -> str:
        if value.text not in words:
            value.refuse(" or ".join(words))
        return value.text

    return parse


def _price(value: OptionValue) -> tuple[str, tuple[float, float]]:
    name, _, text = value.text.rpartition(":")
    try:
        input_price, output_price = map(float, text.split())
    except ValueError:
        input_price = output_price = math.nan
    if not (name.strip() and 0 <= input_price < math.inf and 0 <= output_price < math.inf):
        value.refuse(
            "a model and US dollars per million input and output tokens, such as "
            "`openai/my-model: 0.15 0.60`"
        )
    return name.strip(), (input_price, output_price)


def _revision(value: OptionValue) -> str:
    if not value.text.strip() or value.text.startswith("-"):
        value.refuse("a commit, such as origin/main")
    return value.text


def _not_empty(expected: str) -> Callable[[OptionValue], str]:
    def parse(value: OptionValue) -> str:
        if not value.text.strip():
            value.refuse(expected)
        return value.text

    return parse


_model = _not_empty("a DSPy model string such as openai/gpt-4o-mini, or 'local'")


def _name(value: OptionValue) -> str:
    if not value.text.strip("* "):
        value.refuse("the name of a secret, such as DEPLOY_PIN or *_pin")
    return value.text.strip()


def _database_url(value: OptionValue) -> str:
    url = value.text
    if not url.strip():
        value.refuse(f"a SQLAlchemy URL such as {_SQLITE}{DEFAULT_STORE}")
    path = _path_in(url)
    if path is None or Path(path).is_absolute():
        return url
    return f"{_SQLITE}{_quoted(value.folder)}/{path}"


def _quoted(folder: Path) -> str:
    """Return a path as a URL has it: its name may hold ``%2F`` or a question mark."""
    return quote(folder.as_posix(), safe="/:")


def _path_in(url: str) -> str | None:
    """Return the path of a file, with the options after it; None if SQLite alone can read it."""
    path = url.removeprefix(_SQLITE)
    return None if path == url or path.startswith((":", "file:")) else path or None


@dataclass(frozen=True)
class Settings:
    """The checked flags and ini options of one session.

    This is the table of the options: a field that is annotated with an option
    is a flag, an ini option, or both.

    Attributes:
        folder: The folder of the default store and of reports.
    """

    folder: Path
    lm: Annotated[
        str | None,
        Text(
            "The language model, before marker, fixture and ini option: a DSPy model string "
            "such as openai/gpt-4o-mini, or 'local' for the embedded model.",
            metavar="NAME",
            parse=_model,
            has_ini=False,
        ),
    ]
    default_lm: Annotated[
        str | None,
        Text(
            "The language model, unless a fixture, marker or flag names another.",
            name="lm",
            parse=_model,
            has_flag=False,
        ),
    ]
    optimizer: Annotated[
        str | None,
        Text(
            "The optimizer, before marker and fixture: mipro (default), bootstrap, random_search, "
            "labeled, knn, copro, simba, gepa or ensemble.",
            metavar="NAME",
            parse=_not_empty("the name of an optimizer, such as mipro"),
            has_ini=False,
        ),
    ]
    threads: Annotated[
        int | None,
        Text(
            "Rows evaluated at the same time (default: 8; the embedded model takes 1).",
            metavar="N",
            parse=_whole,
        ),
    ]
    timeout: Annotated[
        float,
        Text(
            f"Seconds an LM call may take in all (default: {DEFAULT_TIMEOUT}).",
            metavar="SECONDS",
            parse=_above_zero("seconds"),
            default=str(DEFAULT_TIMEOUT),
        ),
    ]
    repeat: Annotated[
        int | None,
        Text(
            "Times each held-out example is answered, before marker and ini option; its score "
            "is the mean (default: 1).",
            metavar="K",
            parse=_whole,
            has_ini=False,
        ),
    ]
    default_repeat: Annotated[
        int,
        Text(
            "Times each held-out example is answered, unless a flag or marker says it.",
            name="repeat",
            parse=_whole,
            default="1",
            has_flag=False,
        ),
    ]
    store_url: Annotated[
        str,
        Text(
            f"SQLAlchemy URL of the store (default: {_SQLITE}{DEFAULT_STORE} under the rootdir).",
            name="store",
            metavar="URL",
            parse=_database_url,
            default=f"{_SQLITE}{DEFAULT_STORE}",
        ),
    ]
    study: Annotated[
        str | None,
        Text("URL of the database of Optuna studies.", parse=_database_url, has_flag=False),
    ]
    update: Annotated[
        bool, Switch("Accept each outcome as the test's reference, in __mipro__ beside the test.")
    ]
    new_anchor: Annotated[
        bool,
        Switch(
            "With --mipro-update: hold later programs against what is accepted now, though it is "
            "worse than what was accepted before."
        ),
    ]
    alpha_spending: Annotated[
        bool,
        Switch(
            "Let all looks at the same held-out examples share alpha, unless a marker says it.",
            has_flag=False,
            has_ini=True,
        ),
    ]
    sequential: Annotated[
        bool,
        Switch("Ask held-out rows in batches until it is clear.", has_flag=False, has_ini=True),
    ]
    frozen: Annotated[
        bool,
        Switch(
            "Compile nothing: take program and scores from the accepted reference.", has_ini=True
        ),
    ]
    refresh: Annotated[
        bool, Switch("Compile tasks again whose artifact is in the store, with new LM calls.")
    ]
    rescore: Annotated[
        bool, Switch("Answer the held-out examples again, also those that the store has rows of.")
    ]
    dry_run: Annotated[
        bool, Switch("Show what would run, with the most LM calls that it would make; make none.")
    ]
    migrate: Annotated[
        bool,
        Switch(
            "Show what a move to another model, adapter or DSPy does: the accepted program there, "
            "and one that is compiled for it, beside the accepted scores; accept nothing."
        ),
    ]
    reference_from: Annotated[
        str | None,
        Text(
            "Read references from this commit of git, such as origin/main in a pull request, "
            "instead of the work tree.",
            metavar="REF",
            parse=_revision,
        ),
    ]
    inconclusive: Annotated[
        str,
        Text(
            "What no_regression() does where the examples do not decide (default: warn).",
            metavar="|".join(INCONCLUSIVE),
            parse=_one_of(*INCONCLUSIVE),
            default="warn",
        ),
    ]
    suite_correction: Annotated[
        str,
        Text(
            "How the FAILs of all tests are corrected for their number: none or holm "
            "(default: none).",
            parse=_one_of(*CORRECTIONS),
            default="none",
            has_flag=False,
        ),
    ]
    confirm: Annotated[
        int,
        Text(
            "How many runs in a row a verdict has to be a FAIL to fail a run (default: 1).",
            parse=_whole,
            default="1",
            has_flag=False,
        ),
    ]
    max_calls: Annotated[
        int | None,
        Text("Most LM calls of this session, all tasks together.", metavar="N", parse=_whole),
    ]
    max_cost: Annotated[
        float | None,
        Text(
            "Most that the LM calls of this session may cost, in US dollars.",
            metavar="USD",
            parse=_above_zero("US dollars"),
        ),
    ]
    prices: Annotated[
        Mapping[str, tuple[float, float]],
        Lines(
            "Prices of models, a line each: NAME: US dollars per million input tokens, and "
            "per million output tokens.",
            name="price",
            parse=_price,
            collect=dict,
            has_flag=False,
        ),
    ]
    reports: Annotated[
        tuple[OptionValue, ...],
        Lines(
            "Write a report to a file that ends in .html, .md or .json; can be repeated.",
            name="report",
            metavar="PATH",
        ),
    ]
    redact: Annotated[
        tuple[str, ...],
        Lines(
            "Names of environment variables, parameters and attributes whose values are secret, "
            "a line each; * stands for any text.",
            parse=_name,
            has_flag=False,
        ),
    ]
    prune: Annotated[
        float | None,
        Text(
            "At the end, delete entries of the store that were not used for so many days.",
            metavar="DAYS",
            parse=_above_zero("days"),
        ),
    ]

    @property
    def decides_at_end(self) -> bool:
        """Whether the end of the session decides about the FAILs of its tests."""
        return self.suite_correction != "none" or self.confirm > 1

    @property
    def store_file(self) -> Path | None:
        """The file that the store is in, if it is in one."""
        path = _path_in(self.store_url)
        return None if path is None else Path(unquote(path.partition("?")[0]))

    @property
    def store_name(self) -> str:
        """The store's URL for people: without credentials, relative where it can be."""
        from pytest_mipro.redaction import url_without_secrets

        return url_without_secrets(self.store_url).replace(f"{_quoted(self.folder.parent)}/", "")

    @classmethod
    def from_config(cls, config: pytest.Config) -> "Settings":
        """Read the settings of a session.

        Raises:
            pytest.UsageError: A flag or ini option has a value it cannot have.
        """
        values: dict[str, Any] = {name: option.read(config) for name, option in options()}
        settings = cls(folder=config.rootpath / ".mipro", **values)
        return _without_contradictions(settings, config)


def add_options(parser: pytest.Parser) -> None:
    """Declare the flags and the ini options."""
    group = parser.getgroup("mipro", "compiling and judging DSPy programs (pytest-mipro)")
    text = "Run the tests that compile prompts; without it they are skipped."
    group.addoption("--mipro", action="store_true", default=None, help=text)
    parser.addini("mipro", text, type="bool")
    for _, option in options():
        option.declare(parser, group)


def is_on(config: pytest.Config) -> bool:
    """Whether this session compiles and judges, also while its conftest files are loaded."""
    early = getattr(config.known_args_namespace, "mipro", None)
    flag = config.getoption("mipro", default=early)
    return bool(config.getini("mipro") if flag is None else flag)


def refuse_idle_flags(config: pytest.Config) -> None:
    """Refuse flags that do nothing in a session without ``--mipro``.

    Raises:
        pytest.UsageError: There is one.
    """
    for _, option in options():
        if isinstance(option, Switch) and option.has_set_flag(config):
            message = (
                f"{option.flag} does nothing without --mipro: every such test is skipped; add it"
            )
            raise pytest.UsageError(message)


def options() -> Iterator[tuple[str, Option]]:
    """Return the name of each setting that an option sets, with the option."""
    for setting in fields(Settings):
        for option in get_args(setting.type)[1:]:
            yield setting.name, replace(option, name=option.name or setting.name)


def _without_contradictions(settings: Settings, config: pytest.Config) -> "Settings":
    """Return settings that can be carried out; a flag switches off a contrary ini option."""
    contrary = [name for name in ("update", "refresh") if getattr(settings, name)]
    if contrary and config.getoption("mipro_frozen"):
        message = (
            f"--mipro-{contrary[0]} and --mipro-frozen contradict each other: "
            "one gives new references or programs, the other takes what was accepted; choose one"
        )
        raise pytest.UsageError(message)
    if settings.reference_from and settings.update:
        message = (
            "--mipro-update and --mipro-reference-from contradict each other: one writes the "
            "references of the work tree, the other reads those of a commit; choose one"
        )
        raise pytest.UsageError(message)
    if settings.new_anchor and not settings.update:
        message = (
            "--mipro-new-anchor does nothing without --mipro-update: it says what an acceptance "
            "is to be; add --mipro-update, or leave it out"
        )
        raise pytest.UsageError(message)
    if settings.dry_run and settings.update:
        message = (
            "--mipro-update and --mipro-dry-run contradict each other: one accepts what a run "
            "came to, the other runs nothing; choose one"
        )
        raise pytest.UsageError(message)
    if settings.migrate:
        _check_migration(config)
        contrary.append("migrate")
    return replace(settings, frozen=settings.frozen and not contrary)


def _check_migration(config: pytest.Config) -> None:
    """Raise UsageError for a flag that contradicts ``--mipro-migrate``."""
    reasons = {
        "update": "accepts what a run came to",
        "frozen": "compiles nothing",
        "dry_run": "runs nothing",
    }
    for name, reason in reasons.items():
        if config.getoption(f"mipro_{name}"):
            message = (
                f"--mipro-migrate and --mipro-{name.replace('_', '-')} contradict each other: one "
                f"compiles, compares and accepts nothing, the other {reason}; choose one"
            )
            raise pytest.UsageError(message)
