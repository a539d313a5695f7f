"""The settings of a session, each with the option that sets it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import unquote

import pytest

from pytest_mipro.plugin.option_values import (
    DEFAULT_STORE,
    SQLITE,
    above_zero,
    database_url,
    model_name,
    not_empty,
    one_of,
    path_in,
    price,
    quoted,
    revision,
    secret_name,
    whole_number,
)
from pytest_mipro.plugin.options import Lines, Option, OptionValue, Switch, Text

DEFAULT_TIMEOUT = 60
INCONCLUSIVE = ("fail", "warn")
CORRECTIONS = ("none", "holm")


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
            parse=model_name,
            has_ini=False,
        ),
    ]
    default_lm: Annotated[
        str | None,
        Text(
            "The language model, unless a fixture, marker or flag names another.",
            name="lm",
            parse=model_name,
            has_flag=False,
        ),
    ]
    optimizer: Annotated[
        str | None,
        Text(
            "The optimizer, before marker and fixture: mipro (default), bootstrap, random_search, "
            "labeled, knn, copro, simba, gepa or ensemble.",
            metavar="NAME",
            parse=not_empty("the name of an optimizer, such as mipro"),
            has_ini=False,
        ),
    ]
    threads: Annotated[
        int | None,
        Text(
            "Rows evaluated at the same time (default: 8; the embedded model: 2, or 1 on one "
            "processor).",
            metavar="N",
            parse=whole_number,
        ),
    ]
    timeout: Annotated[
        float,
        Text(
            f"Seconds an LM call may take in all (default: {DEFAULT_TIMEOUT}).",
            metavar="SECONDS",
            parse=above_zero("seconds"),
            default=str(DEFAULT_TIMEOUT),
        ),
    ]
    repeat: Annotated[
        int | None,
        Text(
            "Times each held-out example is answered, before marker and ini option; its score "
            "is the mean (default: 1).",
            metavar="K",
            parse=whole_number,
            has_ini=False,
        ),
    ]
    default_repeat: Annotated[
        int,
        Text(
            "Times each held-out example is answered, unless a flag or marker says it.",
            name="repeat",
            parse=whole_number,
            default="1",
            has_flag=False,
        ),
    ]
    store_url: Annotated[
        str,
        Text(
            f"SQLAlchemy URL of the store (default: {SQLITE}{DEFAULT_STORE} under the rootdir).",
            name="store",
            metavar="URL",
            parse=database_url,
            default=f"{SQLITE}{DEFAULT_STORE}",
        ),
    ]
    study: Annotated[
        str | None,
        Text("URL of the database of Optuna studies.", parse=database_url, has_flag=False),
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
            parse=revision,
        ),
    ]
    inconclusive: Annotated[
        str,
        Text(
            "What no_regression() does where the examples do not decide (default: warn).",
            metavar="|".join(INCONCLUSIVE),
            parse=one_of(*INCONCLUSIVE),
            default="warn",
        ),
    ]
    suite_correction: Annotated[
        str,
        Text(
            "How the FAILs of all tests are corrected for their number: none or holm "
            "(default: none).",
            parse=one_of(*CORRECTIONS),
            default="none",
            has_flag=False,
        ),
    ]
    confirm: Annotated[
        int,
        Text(
            "How many runs in a row a verdict has to be a FAIL to fail a run (default: 1).",
            parse=whole_number,
            default="1",
            has_flag=False,
        ),
    ]
    max_calls: Annotated[
        int | None,
        Text("Most LM calls of this session, all tasks together.", metavar="N", parse=whole_number),
    ]
    max_cost: Annotated[
        float | None,
        Text(
            "Most that the LM calls of this session may cost, in US dollars.",
            metavar="USD",
            parse=above_zero("US dollars"),
        ),
    ]
    prices: Annotated[
        Mapping[str, tuple[float, float]],
        Lines(
            "Prices of models, a line each: NAME: US dollars per million input tokens, and "
            "per million output tokens.",
            name="price",
            parse=price,
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
            parse=secret_name,
            has_flag=False,
        ),
    ]
    prune: Annotated[
        float | None,
        Text(
            "At the end, delete entries of the store that were not used for so many days.",
            metavar="DAYS",
            parse=above_zero("days"),
        ),
    ]

    @property
    def decides_at_end(self) -> bool:
        """Whether the end of the session decides about the FAILs of its tests."""
        return self.suite_correction != "none" or self.confirm > 1

    @property
    def store_file(self) -> Path | None:
        """The file that the store is in, if it is in one."""
        path = path_in(self.store_url)
        return None if path is None else Path(unquote(path.partition("?")[0]))

    @property
    def store_name(self) -> str:
        """The store's URL for people: without credentials, relative where it can be."""
        from pytest_mipro.redaction import url_without_secrets

        return url_without_secrets(self.store_url).replace(f"{quoted(self.folder.parent)}/", "")

    @classmethod
    def from_config(cls, config: pytest.Config) -> "Settings":
        """Read the settings of a session, which may contradict each other.

        Raises:
            pytest.UsageError: A flag or ini option has a value it cannot have.
        """
        values: dict[str, Any] = {name: option.read(config) for name, option in options()}
        return cls(folder=config.rootpath / ".mipro", **values)


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
