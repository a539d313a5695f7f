"""The table of options, and the settings of a session."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.plugin.contradictions import consistent_settings
from pytest_mipro.plugin.options import OptionValue, Switch, Text
from pytest_mipro.plugin.settings import Settings, add_options, options
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence


TEXTS = [(name, option) for name, option in options() if isinstance(option, Text)]


def session_config(pytester: pytest.Pytester, *arguments: str) -> pytest.Config:
    """Return the config of a session with these arguments, in which the plugin is off."""
    return pytester.parseconfig("--rootdir", str(pytester.path), *arguments)


def settings(pytester: pytest.Pytester, *arguments: str) -> Settings:
    """Return the settings of a session with these arguments."""
    return consistent_settings(session_config(pytester, *arguments))


def flags() -> Sequence[str]:
    """Return the flags in the help of pytest."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    (group,) = [group for group in parser._groups if group.name == "mipro"]
    return [name for option in group.options for name in option.names()]


class TestTable:
    def test_each_setting_has_an_option(self) -> None:
        """Only the folder, which follows from the rootdir, cannot be set."""
        assert {setting.name for setting in fields(Settings)} - dict(options()).keys() == {"folder"}

    def test_each_option_with_a_flag_is_declared_once(self) -> None:
        """The help has a flag for each option that has one, and ``--mipro``."""
        expected = [option.flag for _, option in options() if option.has_flag]
        assert flags() == ["--mipro", *expected]

    def test_each_option_is_documented_by_its_metavar(self) -> None:
        """A flag with a value shows in the help what the value is."""
        for name, option in options():
            has_value = option.has_flag and not isinstance(option, Switch)
            assert (option.metavar is not None) == has_value, name
            assert re.fullmatch(r"[A-Z'].*\.", option.help), name


class TestFromConfig:
    def test_defaults(self, pytester: pytest.Pytester) -> None:
        """Without flags and ini options, the settings are those of the README."""
        defaults = settings(pytester)
        assert (defaults.lm, defaults.default_lm, defaults.threads) == (None, None, None)
        assert (defaults.timeout, defaults.repeat, defaults.default_repeat) == (60.0, None, 1)
        assert defaults.inconclusive == "warn"
        assert (defaults.max_calls, defaults.max_cost, defaults.prune) == (None, None, None)
        assert (defaults.prices, defaults.reports) == ({}, ())
        switches = [name for name, option in options() if isinstance(option, Switch)]
        assert not any(getattr(defaults, name) for name in switches)
        assert defaults.store_name == "sqlite:///.mipro/store.db"
        assert defaults.store_file == pytester.path / ".mipro" / "store.db"

    def test_a_flag_wins_over_the_ini_option(self, pytester: pytest.Pytester) -> None:
        """Models and repetitions keep both values, as a marker stands between them."""
        ini = ["threads=2", "timeout=5", "max_calls=7", "prune=3", "inconclusive=fail"]
        arguments = [word for text in ini for word in ("-o", f"mipro_{text}")]
        from_ini = settings(pytester, *arguments, "-o", "mipro_lm=ini", "-o", "mipro_repeat=4")
        assert (from_ini.threads, from_ini.timeout, from_ini.max_calls) == (2, 5.0, 7)
        assert (from_ini.prune, from_ini.inconclusive) == (3.0, "fail")
        assert (from_ini.lm, from_ini.default_lm) == (None, "ini")
        assert (from_ini.repeat, from_ini.default_repeat) == (None, 4)
        flag = settings(pytester, *arguments, "--mipro-threads=1", "--mipro-inconclusive=warn")
        assert (flag.threads, flag.inconclusive, flag.max_calls) == (1, "warn", 7)

    def test_lines_of_the_ini_file(self, pytester: pytest.Pytester) -> None:
        """Each line is a price or a report; report flags replace the lines."""
        pytester.makeini(
            "[pytest]\nmipro_price =\n    a/b:1: 0.5 2\n    c: 0 0\n"
            "mipro_report =\n    x.md\n    y.json\n"
        )
        from_ini = settings(pytester)
        assert from_ini.prices == {"a/b:1": (0.5, 2.0), "c": (0.0, 0.0)}
        assert from_ini.reports == tuple(
            OptionValue(name, "mipro_report", pytester.path) for name in ("x.md", "y.json")
        )
        flag = settings(pytester, "--mipro-report", "z.html")
        assert [str(value) for value in flag.reports] == ["--mipro-report='z.html'"]

    def test_an_ini_option_yields_to_a_contrary_flag(self, pytester: pytest.Pytester) -> None:
        """``mipro_frozen = true`` in the ini file does not forbid an update."""
        assert settings(pytester, "-o", "mipro_frozen=true").frozen
        for flag in ("--mipro-update", "--mipro-refresh"):
            assert not settings(pytester, flag, "-o", "mipro_frozen=true").frozen
            with pytest.raises(pytest.UsageError, match=f"{flag} and --mipro-frozen contradict"):
                settings(pytester, flag, "--mipro-frozen")

    @pytest.mark.parametrize(
        "flags, problem",
        [
            ([], "--mipro-new-anchor does nothing without --mipro-update: it says what"),
            (["--mipro-frozen"], "--mipro-new-anchor does nothing without --mipro-update"),
            (["--mipro-update", "--mipro-frozen"], "--mipro-update and --mipro-frozen contradict"),
            (["--mipro-update", "--mipro-dry-run"], "--mipro-update and --mipro-dry-run contr"),
        ],
    )
    def test_a_new_anchor_is_that_of_an_update(
        self, pytester: pytest.Pytester, flags: list[str], problem: str
    ) -> None:
        """The flag says what an acceptance is to be, and a run without one accepts nothing."""
        with pytest.raises(pytest.UsageError, match=problem):
            settings(pytester, "--mipro-new-anchor", *flags)
        assert settings(pytester, "--mipro-new-anchor", "--mipro-update").new_anchor

    def test_a_migration_contradicts_what_accepts_or_does_nothing(
        self, pytester: pytest.Pytester
    ) -> None:
        """It compiles, and accepts nothing; an ini option yields to it."""
        assert not settings(pytester, "--mipro-migrate", "-o", "mipro_frozen=true").frozen
        for flag in ("--mipro-update", "--mipro-frozen", "--mipro-dry-run"):
            problem = f"--mipro-migrate and {flag} contradict each other"
            with pytest.raises(pytest.UsageError, match=problem):
                settings(pytester, "--mipro-migrate", flag)

    def test_alpha_spending_is_an_ini_option(self, pytester: pytest.Pytester) -> None:
        """It is off by default."""
        assert not settings(pytester).alpha_spending
        assert settings(pytester, "-o", "mipro_alpha_spending=true").alpha_spending

    @pytest.mark.parametrize("blank", ["", " "])
    @pytest.mark.parametrize("name", [name for name, option in TEXTS if option.has_flag])
    def test_an_empty_flag_is_refused(
        self, pytester: pytest.Pytester, name: str, blank: str
    ) -> None:
        """A variable that is not set would remove a limit, also that of the ini file."""
        flag = dict(TEXTS)[name].flag
        with pytest.raises(pytest.UsageError, match=rf"^{flag}='{blank}': expected .*[A-Za-z]"):
            settings(pytester, f"{flag}={blank}", "-o", "mipro_max_calls=20")

    @pytest.mark.parametrize("name", [name for name, option in TEXTS if option.has_ini])
    def test_an_empty_ini_option_is_refused(self, pytester: pytest.Pytester, name: str) -> None:
        """It may come from a variable that is not set, too."""
        key = dict(TEXTS)[name].key
        with pytest.raises(pytest.UsageError, match=rf"^{key}='': expected .*[A-Za-z]"):
            settings(pytester, "-o", f"{key}=")


NATIVE = [
    ("reference_from", "'origin/main'", "origin/main"),
    ("threads", "4", 4),
    ("timeout", "2", 2.0),
    ("timeout", "2.5", 2.5),
    ("default_repeat", "3", 3),
    ("max_calls", "9", 9),
    ("max_cost", "1.5", 1.5),
    ("prune", "0.5", 0.5),
    ("frozen", "true", True),
    ("alpha_spending", "true", True),
    ("sequential", "true", True),
    ("suite_correction", "'holm'", "holm"),
    ("confirm", "2", 2),
    ("default_lm", "'a/b'", "a/b"),
    ("inconclusive", "'fail'", "fail"),
    ("store_url", "'postgresql://host/db'", "postgresql://host/db"),
    ("study", "'postgresql://host/db'", "postgresql://host/db"),
    ("prices", "['a/b: 1 2', 'c: 0 0.5']", {"a/b": (1.0, 2.0), "c": (0.0, 0.5)}),
    ("reports", "['a.md']", None),
    ("redact", "['*_pin', 'salt']", ("*_pin", "salt")),
]
"""Settings, their values in TOML, and what they are then."""


@pytest.mark.skipif(
    pytest.version_tuple < (9, 2), reason="pytest has no table with values of several types"
)
class TestNativeTable:
    """The table ``[tool.pytest]``, whose values have types."""

    @pytest.mark.parametrize("name, value, expected", NATIVE)
    def test_values(
        self, pytester: pytest.Pytester, name: str, value: str, expected: object
    ) -> None:
        """Numbers are numbers, and texts texts."""
        read = native_settings(pytester, dict(options())[name].key, value)
        if name == "reports":
            expected = (OptionValue("a.md", "mipro_report", pytester.path),)
        assert getattr(read, name) == expected

    def test_the_table_is_complete(self) -> None:
        """Each ini option is tried."""
        names = {name for name, option in options() if option.has_ini}
        assert {name for name, _, _ in NATIVE} == names

    @pytest.mark.parametrize(
        "key, value, shown",
        [
            ("threads", "true", "true"),
            ("threads", "1.5", "1.5"),
            ("max_calls", "0", "0"),
            ("max_calls", "''", ""),
            ("max_cost", "nan", "nan"),
            ("max_cost", "false", "false"),
            ("timeout", "-1", "-1"),
            ("inconclusive", "1", "1"),
            ("redact", "['*']", r"\*"),
        ],
    )
    def test_wrong_values(
        self, pytester: pytest.Pytester, key: str, value: str, shown: str
    ) -> None:
        """The error is ours, with the value as the file has it."""
        with pytest.raises(pytest.UsageError, match=rf"^mipro_{key}='{shown}': expected"):
            native_settings(pytester, f"mipro_{key}", value)


def native_settings(pytester: pytest.Pytester, key: str, value: str) -> Settings:
    """Return the settings of a session with a value in pytest's own table."""
    pytester.makepyprojecttoml(f"[tool.pytest]\n{key} = {value}\n")
    return settings(pytester)


class TestStore:
    @pytest.mark.parametrize("folder", ["job_feature%2Fbranch", "pro?ject", "a#b"])
    def test_a_folder_of_any_name(self, pytester: pytest.Pytester, folder: str) -> None:
        """The store is in the project, whatever its folder is called."""
        root = pytester.mkdir(folder)
        root.joinpath("pytest.ini").write_text("[pytest]\n")
        store = settings(pytester, "--rootdir", str(root), "-c", str(root / "pytest.ini"))
        assert store.store_file == store.folder / "store.db" == root / ".mipro" / "store.db"
        assert store.store_name == "sqlite:///.mipro/store.db"
        with closing(Store.open(store.store_url)):
            assert store.store_file.exists()

    @pytest.mark.parametrize(
        "url, name, file",
        [
            ("sqlite:///a.db?timeout=9", "sqlite:///a.db?timeout=9", "a.db"),
            ("sqlite:///:memory:", "sqlite:///:memory:", None),
            ("sqlite:///file:a.db?uri=true", "sqlite:///file:a.db?uri=true", None),
            ("postgresql://me:secret@host/db", "postgresql://host/db", None),
            ("postgresql://host/db?sslpassword=x", "postgresql://host/db?sslpassword=***", None),
            ("postgresql:/me:secret@host/db", "postgresql:…", None),
        ],
    )
    def test_name_and_file(
        self, pytester: pytest.Pytester, url: str, name: str, file: str | None
    ) -> None:
        """The name has no credentials, and only a URL of a plain file has a file."""
        store = settings(pytester, "-o", f"mipro_store={url}")
        assert store.store_name == name
        assert store.store_file == (None if file is None else pytester.path / file)
