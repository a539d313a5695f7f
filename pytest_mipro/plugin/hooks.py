"""The pytest hooks; each delegates to the object that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin import hookspecs, settings
from pytest_mipro.plugin.state import OUTCOME, SETTINGS, TASK_RUNNER, WORKER_USAGE

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias

    _Collected: TypeAlias = (
        pytest.Item | pytest.Collector | list[pytest.Item | pytest.Collector] | None
    )

MARKER = (
    "mipro(**declared): declare the program, metric and dataset a test judges; "
    "see pytest_mipro.mipro_optimize"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the flags and ini options."""
    settings.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of this plugin."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """Collect no garbage while conftest files are imported, which mostly import DSPy."""
    if not settings.is_on(early_config):
        return (yield)
    from pytest_mipro.plugin.startup import loading

    with loading():
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and, with ``--mipro``, the objects that do the work."""
    config.addinivalue_line("markers", MARKER)
    if not settings.is_on(config):
        settings.refuse_idle_flags(config)
        return
    from pytest_mipro.plugin.startup import loading, start

    with loading():
        start(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the store."""
    if TASK_RUNNER in config.stash:
        config.stash[TASK_RUNNER].close()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Show the version, the model and the store."""
    if SETTINGS not in config.stash:
        return None
    from pytest_mipro.plugin.startup import header

    return header(config.stash[SETTINGS])


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector,
) -> Generator[None, _Collected, _Collected]:
    """Check the declarations of the tests of a function before any test runs."""
    collected = yield
    stash = collector.config.stash
    if TASK_RUNNER in stash:
        for item in collected if isinstance(collected, list) else [collected]:
            if isinstance(item, pytest.Item) and item.get_closest_marker("mipro"):
                stash[TASK_RUNNER].declare(item)
    return collected


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that need ``--mipro`` without it."""
    if SETTINGS in config.stash:
        return
    for item in items:
        if "mipro" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="needs --mipro"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the summary of a test's task to pytest's report of the test."""
    report = yield
    if TASK_RUNNER in item.config.stash:
        from pytest_mipro.plugin.attached_summary import attach_summary

        attach_summary(item, call, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Call ``pytest_mipro_report`` here, where its errors are errors of the test."""
    __tracebackhide__ = True
    try:
        yield
    finally:
        if OUTCOME in item.stash:
            item.config.hook.pytest_mipro_report(outcome=item.stash[OUTCOME])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the usage of a worker to xdist's controller."""
    config = session.config
    if TASK_RUNNER in config.stash and hasattr(config, "workeroutput"):
        config.workeroutput[WORKER_USAGE] = config.stash[TASK_RUNNER].usage.to_dict()
