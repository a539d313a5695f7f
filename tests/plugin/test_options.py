"""The values of flags and ini options."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("pytest")


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--mipro-threads", "0"], "*--mipro-threads='0': expected a whole number*"),
        (["--mipro-threads", "many"], "*--mipro-threads='many': expected*"),
        (["-o", "mipro_threads=-1"], "*mipro_threads='-1': expected*"),
        (["--mipro-repeat", "0"], "*--mipro-repeat='0': expected a whole number*"),
        (["-o", "mipro_repeat=2.5"], "*mipro_repeat='2.5': expected a whole number*"),
        (["--mipro-timeout", "0"], "*--mipro-timeout='0': expected a number of seconds*"),
        (["--mipro-timeout", "nan"], "*--mipro-timeout='nan': expected*"),
        (["-o", "mipro_timeout=inf"], "*mipro_timeout='inf': expected*"),
        (["--mipro-inconclusive", "skip"], "*--mipro-inconclusive='skip': expected fail or warn*"),
        (["-o", "mipro_inconclusive=no"], "*mipro_inconclusive='no': expected fail or warn*"),
    ],
)
def test_a_wrong_value_is_a_usage_error(project: Project, arguments: list[str], line: str) -> None:
    """The error names the option, the value and the expected values."""
    result = project.run("--mipro", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_the_ini_option_switches_the_plugin_on(compiled: Project) -> None:
    """``mipro = true`` has the effect of the flag."""
    compiled.run("-o", "mipro=true").assert_outcomes(passed=1)


def test_a_store_that_cannot_be_opened_is_an_error(project: Project) -> None:
    """The error names the store, and the run makes no LM call."""
    result = project.run("--mipro", "--mipro-store", "sqlite:////proc/nowhere/store.db")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*/proc/nowhere/store.db cannot be made*"])
    assert project.calls == 0


def test_a_store_url_with_options_reaches_sqlite(compiled: Project) -> None:
    """SQLite gets a URL with options as it is, and the options are no part of the file name."""
    shutil.copy(compiled.path / ".mipro" / "store.db", compiled.path / "some.db")
    paid = compiled.calls
    url = f"sqlite:///file:{compiled.path}/some.db?immutable=1&uri=true"
    result = compiled.run("--mipro", "--mipro-store", url)
    result.stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])
    assert compiled.calls == paid
    assert list(compiled.path.glob("*:*")) == []
    second = compiled.run("--mipro", "--mipro-store", "sqlite:///some.db?timeout=9")
    second.stdout.fnmatch_lines(["mipro: *store sqlite:///some.db[?]timeout=9 (* MB)"])


@pytest.mark.parametrize(
    "url, shown",
    [
        ("postgresql://me:canary@host/db", "postgresql://host/db"),
        ("postgresql://host/db?sslpassword=canary", "postgresql://host/db[?]sslpassword=[*][*][*]"),
        ("postgresql:/me:canary@host/db", "postgresql:…"),
        ("canary@host/db", "…"),
    ],
)
def test_no_output_has_the_password_of_the_store(project: Project, url: str, shown: str) -> None:
    """Neither header, error nor report, also where the URL is mistyped."""
    result = project.run("--mipro", "--mipro-store", url, "--mipro-report", "r.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"mipro: *store {shown}"])
    assert "canary" not in result.stdout.str() + result.stderr.str()
    assert "canary" not in (project.path / "r.json").read_text(encoding="utf-8")


def test_python_without_asserts_is_refused(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test whose asserts Python removes, as in a module it imports, passes with any verdict."""
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    pytester.makepyfile("def test_adder(mipro): pass")
    result = pytester.runpytest_subprocess("--mipro")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *run Python without -O and PYTHONOPTIMIZE"])
