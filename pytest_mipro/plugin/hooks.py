"""The pytest hooks: doorbells that ring in the rooms."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro import __version__
from pytest_mipro.plugin import hookspecs, options
from pytest_mipro.plugin.collector import loading
from pytest_mipro.plugin.state import ORPHANS, OUTCOME, SETTINGS, TASK_RUNNER, WORKERS

if TYPE_CHECKING:
    from collections.abc import Generator

MARKER = (
    "mipro(**declared): declare the program, metric and dataset a test judges; "
    "see pytest_mipro.mipro_optimize"
)

_MEGABYTE = 1_000_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the flags and ini options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of this plugin."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """Import what the conftest files do, which is DSPy as a rule."""
    with loading() if options.is_on(early_config) else nullcontext():
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and get ready if ``--mipro`` is on."""
    config.addinivalue_line("markers", MARKER)
    if not options.is_on(config):
        options.refuse_idle(config)
    else:
        with loading():
            _get_ready(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the store."""
    if TASK_RUNNER in config.stash:
        config.stash[TASK_RUNNER].close()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say that prompts are going to be judged, by which model, and what the store has."""
    if SETTINGS not in config.stash:
        return None
    settings = config.stash[SETTINGS]
    model = settings.lm or config.getini("mipro_lm") or "as declared"
    return f"mipro: {__version__}, model {model}, store {settings.store}{_size(settings)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Check what a test declares before anything runs."""
    config = metafunc.config
    if TASK_RUNNER in config.stash and metafunc.definition.get_closest_marker("mipro"):
        config.stash[TASK_RUNNER].declare(metafunc.definition)


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
    """Attach what a test has to say about its task to pytest's report of it."""
    report = yield
    if TASK_RUNNER in item.config.stash and _is_judged(item):
        from pytest_mipro.plugin.test_report import attach

        attach(item, call, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Hand out the outcome here, where an error of whoever takes it is the test's."""
    __tracebackhide__ = True
    try:
        yield
    finally:
        if OUTCOME in item.stash:
            item.config.hook.pytest_mipro_report(outcome=item.stash[OUTCOME])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the controller of xdist what this process has asked."""
    config = session.config
    if TASK_RUNNER in config.stash and hasattr(config, "workeroutput"):
        config.workeroutput["mipro_usage"] = config.stash[TASK_RUNNER].usage.to_dict()


def _get_ready(config: pytest.Config) -> None:
    from pytest_mipro.plugin.interrupt import InterruptHooks
    from pytest_mipro.plugin.orphans import OrphanedReferences

    settings = config.stash[SETTINGS] = options.Settings.from_config(config)
    leftovers = config.stash[ORPHANS] = OrphanedReferences(config)
    config.pluginmanager.register(leftovers)
    config.pluginmanager.register(InterruptHooks(config))
    if not hasattr(config, "workerinput"):
        from pytest_mipro.plugin.report_files import targets_of
        from pytest_mipro.plugin.reports import Reports

        config.pluginmanager.register(Reports(config, settings, targets_of(config)))
    if _only_controls(config):
        from pytest_mipro.plugin.xdist import Controller

        controller = config.stash[WORKERS] = Controller(config, settings)
        config.pluginmanager.register(controller)
    else:
        from pytest_mipro.plugin.task_runner import TaskRunner  # loads DSPy

        config.stash[TASK_RUNNER] = TaskRunner(config, settings)


def _is_judged(item: pytest.Item) -> bool:
    """Whether a test asks for its outcome, as an argument or while it runs."""
    asks = "mipro" in getattr(item, "fixturenames", ())
    return asks or OUTCOME in item.stash or item.get_closest_marker("mipro") is not None


def _size(settings: options.Settings) -> str:
    """Return how full a store in a file is, so that a cold cache in CI shows at once."""
    if settings.store_file is None:
        return ""
    try:
        size = settings.store_file.stat().st_size
    except FileNotFoundError:
        return " (new)"
    except OSError:
        return ""  # Whoever opens it says what is wrong.
    return f" ({size / _MEGABYTE:.1f} MB)"


def _only_controls(config: pytest.Config) -> bool:
    """Whether this is xdist's controller, which collects and runs nothing."""
    spread = getattr(config.option, "dist", "no") != "no"
    return spread and not hasattr(config, "workerinput")
