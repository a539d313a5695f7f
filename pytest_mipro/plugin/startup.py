"""The start of a session with ``--mipro``: what is imported, registered and announced."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_mipro import __version__
from pytest_mipro.plugin.state import CONTROLLER, ORPHANS, SETTINGS, TASK_RUNNER

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_mipro.plugin.report_files import ReportFile
    from pytest_mipro.plugin.settings import Settings

_MEGABYTE = 1_000_000


@contextmanager
def loading() -> Generator[None]:
    """Keep Python's garbage collector away from imports, which leave no garbage.

    The modules, above all those of DSPy, stay until the process ends. So later
    collections leave them out, too: pytest makes two when a session ends, and
    Python more as it exits. All of this together took a third of the time of a
    session with nothing to compile.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def start(config: pytest.Config) -> None:
    """Read the settings and register the hooks of a session with ``--mipro``.

    Raises:
        pytest.UsageError: Settings cannot be carried out together, or Python removes asserts.
    """
    _refuse_removed_asserts()
    from pytest_mipro.plugin.contradictions import consistent_settings
    from pytest_mipro.plugin.interrupt import InterruptHooks
    from pytest_mipro.plugin.orphans import OrphanedReferences
    from pytest_mipro.plugin.safe_logs import install_safe_logs
    from pytest_mipro.plugin.safe_report import SafeReports
    from pytest_mipro.redaction import SECRETS

    settings = config.stash[SETTINGS] = consistent_settings(config)
    SECRETS.add_names(settings.redact)
    for url in filter(None, (settings.store_url, settings.study)):
        SECRETS.add_url(url)
    config.add_cleanup(install_safe_logs())
    config.pluginmanager.register(SafeReports(config))
    orphans = config.stash[ORPHANS] = OrphanedReferences(config)
    config.pluginmanager.register(orphans)
    config.pluginmanager.register(InterruptHooks(config))
    if not hasattr(config, "workerinput"):
        from pytest_mipro.plugin.reports import Reports

        reports = Reports(config, settings, _report_files(settings))
        config.pluginmanager.register(reports)
        if settings.decides_at_end:
            from pytest_mipro.plugin.suite import SuiteDecision

            config.pluginmanager.register(SuiteDecision(config, settings, reports))
    if _has_workers(config):
        from pytest_mipro.plugin.xdist import Controller

        controller = config.stash[CONTROLLER] = Controller(config, settings)
        config.pluginmanager.register(controller)
    else:
        from pytest_mipro.plugin.silent_tests import SilentTests
        from pytest_mipro.plugin.task_runner import TaskRunner  # loads DSPy

        config.stash[TASK_RUNNER] = TaskRunner(config, settings, orphans)
        config.pluginmanager.register(SilentTests())


def _refuse_removed_asserts() -> None:
    if sys.flags.optimize:
        message = (
            "--mipro needs the asserts by which tests judge, and Python removes those that pytest "
            "does not rewrite; run Python without -O and PYTHONOPTIMIZE"
        )
        raise pytest.UsageError(message)


def _report_files(settings: Settings) -> tuple[ReportFile, ...]:
    if not settings.reports:
        return ()
    from pytest_mipro.plugin.report_files import report_files

    return report_files(settings)


def header(settings: Settings) -> str:
    """Return the line in pytest's header: the version, the model and the store."""
    from pytest_mipro.plugin.safe_text import safe_line

    model = settings.lm or settings.default_lm or "as declared"
    store = f"{settings.store_name}{_size(settings)}"
    return safe_line(f"mipro: {__version__}, model {model}, store {store}")


def _has_workers(config: pytest.Config) -> bool:
    """Whether this is xdist's controller, which collects and runs no tests."""
    return getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")


def _size(settings: Settings) -> str:
    """Return the size of a store in a file, so that a cold cache in CI shows at once."""
    if settings.store_file is None:
        return ""
    try:
        size = settings.store_file.stat().st_size
    except FileNotFoundError:
        return " (new)"
    except OSError:
        return ""  # The store raises an error that says why, once it is opened.
    return f" ({size / _MEGABYTE:.1f} MB)"
