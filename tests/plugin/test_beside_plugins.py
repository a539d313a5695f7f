"""The plugin beside others, of `tox run -e plugins`; see docs/reference/other-plugins.md."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from project import CONFTEST
from quick_project import ASYNC, QUICK, ROWS, quick

if TYPE_CHECKING:
    from collections.abc import Callable

    from project import Project

    Runner = Callable[..., pytest.RunResult]

MODULES = {
    "pytest-asyncio": ["pytest_asyncio.plugin"],
    "pytest-cov": ["pytest_cov.plugin"],
    "pytest-html": ["pytest_metadata.plugin", "pytest_html.plugin"],
    "pytest-randomly": ["pytest_randomly"],
    "pytest-rerunfailures": ["pytest_rerunfailures"],
    "pytest-sugar": ["pytest_sugar"],
    "pytest-timeout": ["pytest_timeout"],
}
"""The modules that pytest loads for each plugin."""
MISSING = [
    name
    for name, modules in MODULES.items()
    if any(find_spec(module.partition(".")[0]) is None for module in modules)
]
IS_REQUIRED = os.environ.get("MIPRO_PLUGINS") == "required"
pytestmark = pytest.mark.skipif(
    bool(MISSING) and not IS_REQUIRED, reason=f"not installed: {', '.join(MISSING)}"
)

SEARCH = """
@mipro_optimize(
    program=Adder,
    metric=right,
    dataset=DATASET,
    auto=None,
    num_candidates=3,
    num_trials=2,
    minibatch=False,
)
def test_{name}(mipro):
    assert mipro.compiled.score > 0
"""
FLAKY = """
import pathlib

@adding
def test_first(mipro):
    assert mipro.compiled.score > 0
    mark = pathlib.Path("mark")
    if not mark.exists():
        mark.touch()
        assert mipro.no_regression()
"""
HANGING = CONFTEST.replace('"calls.log")', '"calls.log", latency=8)')
"""The project's model, half of whose answers take four seconds and more."""


@pytest.fixture
def beside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return a function that runs pytest with this plugin and one other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(plugin: str, *arguments: str) -> pytest.RunResult:
        modules = ["pytest_mipro.plugin", *MODULES[plugin]]
        loaded = [word for module in modules for word in ("-p", module)]
        return project.run(*loaded, *arguments)

    return run


def test_randomly(project: Project, beside: Runner) -> None:
    """A compile takes no random number from the state that pytest-randomly sets."""
    names = ("first", "second", "third")
    quick(project, "".join(SEARCH.format(name=name) for name in names))
    arguments = ("--mipro", "--mipro-update", "-v", "-W", "ignore::pytest_mipro.MiproWarning")
    orders, programs = [], []
    for seed in ("1", "3"):
        result = beside("pytest-randomly", *arguments, "--mipro-refresh", f"--randomly-seed={seed}")
        result.assert_outcomes(passed=3)
        orders.append([line for line in result.outlines if line.startswith("test_adder.py::")])
        folder = project.path / "__mipro__" / "test_adder"
        programs.append([(folder / f"test_{name}.program.json").read_bytes() for name in names])
    assert orders[0] != orders[1]
    assert programs[0] == programs[1]
    assert len(set(programs[0])) == 1


def test_rerunfailures(project: Project, beside: Runner) -> None:
    """A test that is run again has the same scores without a call, and one line in the summary."""
    quick(project, FLAKY)
    result = beside("pytest-rerunfailures", *QUICK, "--reruns", "1")
    result.stdout.fnmatch_lines(["*1 passed*1 rerun in*"])
    assert result.stdout.str().count("\ntest_first  10 ") == 1
    assert project.calls == ROWS


def test_timeout(project: Project, beside: Runner) -> None:
    """A test that takes too long ends with what it paid for in the store; the next one goes on."""
    quick(project)
    assert beside("pytest-timeout", *QUICK, "--timeout=100").ret == pytest.ExitCode.OK
    paid = project.calls
    project.write(conftest=HANGING)
    start = time.monotonic()
    result = beside(
        "pytest-timeout", *QUICK, "--mipro-rescore", "--timeout=1", "--timeout-method=signal"
    )
    assert time.monotonic() - start < 60
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*Timeout*1.0s*"])
    assert project.calls > paid
    project.write(conftest=CONFTEST)
    paid = project.calls
    beside("pytest-timeout", *QUICK, "--timeout=100").assert_outcomes(passed=2)
    assert project.calls == paid


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_asyncio(project: Project, beside: Runner, mode: str) -> None:
    """An ``async def`` test calls and awaits the programs of its outcome; the calls are counted."""
    quick(project, ASYNC.format(decorator="@pytest.mark.asyncio" if mode == "strict" else ""))
    options = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function")
    result = beside("pytest-asyncio", *QUICK, *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"test_first  10 * {ROWS + 2} *"])
    assert project.calls == ROWS + 2


def test_cov(project: Project, beside: Runner) -> None:
    """The program counts as covered, although its rows are evaluated in threads."""
    quick(project)
    result = beside("pytest-cov", *QUICK, "--cov=program", "--cov-report=term-missing")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["program.py * 100%"])


def test_sugar(project: Project, beside: Runner) -> None:
    """Its progress bar and the plugin's lines do not disturb each other."""
    quick(project)
    result = beside("pytest-sugar", *QUICK)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["mipro: test_first: compiling: *", "task  *", "test_first   10 *", "test_second  10 *"]
    )


def test_html(project: Project, beside: Runner) -> None:
    """Its page has the verdict of a test that failed."""
    quick(project, "\n@adding\ndef test_first(mipro):\n    assert mipro.no_regression()\n")
    result = beside("pytest-html", *QUICK, "--html=out.html", "--self-contained-html")
    result.assert_outcomes(failed=1)
    page = (project.path / "out.html").read_text(encoding="utf-8")
    assert "no reference is accepted yet" in page


def test_all_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pytest loads them where they are installed."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    quick(project)
    result = project.run(*QUICK, "--cov=program", "--html=out.html", "--reruns=1", "--timeout=100")
    result.assert_outcomes(passed=2)
    assert project.calls == ROWS
