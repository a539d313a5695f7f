"""The pytest hooks: doorbells that ring in the rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro import __version__
from pytest_mipro.plugin import hookspecs, options
from pytest_mipro.plugin.state import OUTCOME, RUNNING, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Generator

MARKER = (
    "mipro(**declared): declare the program, metric and dataset a test judges; "
    "see pytest_mipro.mipro_optimize"
)
REPORT = "mipro_report"
"""The attribute of a test report that carries the outcome, also through xdist."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the flags and ini options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of this plugin."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and get ready if ``--mipro`` is on."""
    config.addinivalue_line("markers", MARKER)
    if options.is_on(config):
        settings = config.stash[SETTINGS] = options.Settings.from_config(config)
        if not _only_controls(config):
            from pytest_mipro.plugin.running import Running  # loads DSPy

            config.stash[RUNNING] = Running(config, settings)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the store."""
    if RUNNING in config.stash:
        config.stash[RUNNING].close()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say that prompts are going to be judged, and where the store is."""
    if SETTINGS not in config.stash:
        return None
    return f"mipro: {__version__}, store {config.stash[SETTINGS].store}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Check what a test declares before anything runs."""
    config = metafunc.config
    if RUNNING in config.stash and metafunc.definition.get_closest_marker("mipro"):
        config.stash[RUNNING].declare(metafunc.definition)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs ``--mipro`` without it."""
    if SETTINGS in config.stash:
        return
    for item in items:
        if "mipro" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="needs --mipro"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the outcome to the report of the test that asked for it."""
    report = yield
    if call.when == "call" and OUTCOME in item.stash:
        outcome = item.stash[OUTCOME]
        setattr(report, REPORT, outcome.report().to_dict())
        item.config.hook.pytest_mipro_report(outcome=outcome)
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Write one line per task, and with ``-v`` the verdicts and prompts."""
    found = {
        report.nodeid: getattr(report, REPORT)
        for reports in terminalreporter.stats.values()
        for report in reports
        if hasattr(report, REPORT)
    }
    if found:
        _write_summary(terminalreporter, list(found.values()), config)


def _write_summary(
    reporter: pytest.TerminalReporter, found: list[dict[str, Any]], config: pytest.Config
) -> None:
    from pytest_mipro.records import Report  # loads pydantic
    from pytest_mipro.report.summary import summarize
    from pytest_mipro.report.terminal import render

    summary = summarize([Report.from_dict(each) for each in found])
    reporter.section("mipro")
    for line in render(summary, detailed=config.get_verbosity() > 0).splitlines():
        reporter.write_line(line)


def _only_controls(config: pytest.Config) -> bool:
    """Whether this is xdist's controller, which collects and runs nothing."""
    spread = getattr(config.option, "dist", "no") != "no"
    return spread and not hasattr(config, "workerinput")
