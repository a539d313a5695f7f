"""Run the task of each test that requests its outcome."""

from __future__ import annotations

import platform
import shlex
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

# ruff: ignore[import-private-name]: pytest has no public name for what it makes of assert
from _pytest.assertion.rewrite import AssertionRewritingHook, rewrite_asserts

from pytest_mipro.errors import MiproError
from pytest_mipro.escaping import printable
from pytest_mipro.fingerprint import (
    add_loader,
    add_project_under_test,
    described_once,
    remember_files,
)
from pytest_mipro.plugin.account import account_of
from pytest_mipro.plugin.asking_errors import stop_with_error
from pytest_mipro.plugin.declaration import check, declaring_test
from pytest_mipro.plugin.executors import Executors
from pytest_mipro.plugin.interrupt import exit_after_interrupt
from pytest_mipro.plugin.migration import skip_measured
from pytest_mipro.plugin.node import check_name, location_of
from pytest_mipro.plugin.progress import ProgressDisplay
from pytest_mipro.plugin.safe_text import safe_line, safe_text
from pytest_mipro.plugin.task_builder import TaskBuilder
from pytest_mipro.plugin.unasserted import dropped_verdict_warning
from pytest_mipro.plugin.warnings import MiproWarning, warn_about
from pytest_mipro.plugin.xdist import shared_folder, worker_id
from pytest_mipro.redaction import SECRETS
from pytest_mipro.session import Callbacks, Policy, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_mipro.optimize import Estimate
    from pytest_mipro.plugin.declaration import CheckedDeclaration
    from pytest_mipro.plugin.orphans import OrphanedReferences
    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.records import Progress, Usage
    from pytest_mipro.reference import ReferenceLocation
    from pytest_mipro.session import Outcome
    from pytest_mipro.task import Task

T = TypeVar("T")


class TaskRunner:
    """Runs the tasks of a process with ``--mipro``, and is what their session runs in."""

    def __init__(
        self, config: pytest.Config, settings: Settings, orphans: OrphanedReferences
    ) -> None:
        """Prepare for the tests of ``config``'s session."""
        add_loader(AssertionRewritingHook, partial(rewrite_asserts, config=config))
        self._config = config
        self._settings = settings
        self._orphans = orphans
        self._progress_display = ProgressDisplay(config)
        self._executors = Executors()
        self._declared: dict[str, CheckedDeclaration] = {}
        self._node: pytest.Item | None = None
        self._session = Session(
            store_url=settings.store_url,
            store_name=settings.store_name,
            folder=settings.folder,
            process_name=_process_name(config, settings),
            callbacks=Callbacks(
                fingerprint=self.fingerprint,
                show_line=self.say,
                show_progress=self.progress,
                warn=self.warn,
                run_in_test=self.run_in_test,
            ),
            policy=Policy(
                update=settings.update,
                new_anchor=settings.new_anchor,
                frozen=settings.frozen,
                refresh=settings.refresh,
                rescore=settings.rescore,
                study=settings.study or "",
                defers_fails=settings.decides_at_end,
                tolerant=settings.inconclusive == "warn",
            ),
            account=account_of(config, settings),
            shared_folder=shared_folder(config),
        )

    def declare(self, node: pytest.Item) -> None:
        """Check and keep the declaration of ``node``, at collection; tests may share one.

        Raises:
            pytest.Collector.CollectError: It cannot be used. (A UsageError
                at this point would crash the controller of xdist.)
        """
        key = declaring_test(node)
        try:
            check_name(node)
            if key not in self._declared:
                add_project_under_test(node.path)
                remember_files()  # A file may be edited while other tests run.
                self._declared[key] = check(node)
        except MiproError as error:
            message = safe_text(f"{node.nodeid}: {error}")
            raise pytest.Collector.CollectError(message) from None

    @described_once()
    def outcome(self, request: pytest.FixtureRequest) -> Outcome:
        """Return the outcome of the requesting test; errors are those of its fixture."""
        self._node = request.node
        self._orphans.add_user(request.node)
        return self._guarded(partial(self._set_up, request), partial(pytest.fail, pytrace=False))

    @described_once()
    def run_in_test(self, work: Callable[[], T]) -> T:
        """Return the result of work that the running test asks for; errors are not failures."""
        return self._guarded(work, self._stop_test)

    def _set_up(self, request: pytest.FixtureRequest) -> Outcome:
        task, location = self._task(request), self._location(request.node)
        if warning := dropped_verdict_warning(getattr(request.node, "function", None)):
            self.warn(f"{task.name}: {warning}")
        end = self._end_without_verdict(task, location)
        return self._outcome(task, location) if end is None else end()

    def _guarded(self, work: Callable[[], T], fail: Callable[[str], NoReturn]) -> T:
        """Return the result of ``work``; its errors are messages without a traceback."""
        try:
            return work()
        except (MiproError, MiproWarning) as error:  # A filter can make a warning an error.
            message = printable(SECRETS.redact_error(f"mipro: {error}", error))
            end: Callable[[], NoReturn] = partial(fail, message)
        except KeyboardInterrupt:
            end = partial(exit_after_interrupt, self._settings)
        # Outside the except block, or pytest would show the error twice.
        return end()

    def _stop_test(self, message: str) -> NoReturn:
        """Stop the running test with an error."""
        stop_with_error(self._running_test, message)

    def _end_without_verdict(
        self, task: Task, location: ReferenceLocation
    ) -> Callable[[], NoReturn] | None:
        """Return what ends a test of a run that judges nothing; None if the test is judged."""
        if self._settings.migrate:
            migration = self._session.migration(task, location)
            return partial(skip_measured, self._running_test, migration)
        estimate = self._session.estimate(task, location) if self._settings.dry_run else None
        return None if estimate is None else partial(self._skip, task, estimate)

    @property
    def _running_test(self) -> pytest.Item:
        """The test whose outcome was requested last."""
        assert self._node is not None
        return self._node

    @property
    def usage(self) -> Usage:
        """The usage of all tasks of this process so far."""
        return self._session.usage

    def name_of(self, node: pytest.Item) -> str:
        """Return the name of a test's task."""
        declared = self._declared.get(declaring_test(node))
        return node.name if declared is None else str(declared.values.get("name", node.name))

    def close(self) -> None:
        """Close the store, and shut down executors."""
        self._session.close()
        self._executors.close()

    def fingerprint(self, task: Task) -> Mapping[str, object]:
        """Return the parts that plugins add to the compile key."""
        parts: dict[str, object] = {}
        for plugin_parts in reversed(self._config.hook.pytest_mipro_fingerprint(task=task)):
            parts.update(plugin_parts)
        return parts

    def say(self, line: str) -> None:
        """Show one line."""
        self._progress_display.say(safe_line(line))

    def progress(self, task: Task, progress: Progress) -> None:
        """Show the progress of ``task``."""
        provider_error = SECRETS.redact_text(progress.provider_error)
        self._progress_display.progress(task.name, replace(progress, provider_error=provider_error))

    def warn(self, text: str) -> None:
        """Warn about the test whose outcome was requested last."""
        warn_about(self._running_test, safe_text(text))

    def _task(self, request: pytest.FixtureRequest) -> Task:
        node = request.node
        declared = self._declared.get(declaring_test(node)) or check(node)
        builder = TaskBuilder(request, declared, self._settings, self._executors)
        models = builder.models()
        SECRETS.add_from(*models.lms)  # Building the rest may fail, and cite them.
        task = builder.task(self.name_of(node), models, self.warn)
        metrics = (task.metric, *task.further_metrics.values())
        SECRETS.add_from(task.program, *metrics, task.teacher, task.adapter)
        return task

    def _outcome(self, task: Task, location: ReferenceLocation) -> Outcome:
        outcome = self._session.outcome(task, location)
        if self._running_test.get_closest_marker("xfail") is not None:
            outcome.decide_at_once()  # Such a test is expected to fail while it runs.
        return outcome

    def _location(self, node: pytest.Item) -> ReferenceLocation:
        """Return where a test's reference is; its command has the flags that decide an outcome."""
        settings = self._settings
        flags = {"--mipro-optimizer": settings.optimizer, "--mipro-repeat": settings.repeat}
        words = "".join(
            f" {flag} {shlex.quote(str(value))}"
            for flag, value in flags.items()
            if value is not None
        )
        location = replace(location_of(node), revision=settings.reference_from or "")
        return location.with_flags(words, settings.lm or "")

    def _skip(self, task: Task, estimate: Estimate) -> NoReturn:
        """Skip a test of a dry run, and show the estimate of its task."""
        from pytest_mipro.report import render_dry_run, skip_reason

        for line in render_dry_run(task.name, estimate).splitlines():
            self.say(line)
        pytest.skip(skip_reason(estimate))


def _process_name(config: pytest.Config, settings: Settings) -> str:
    worker = worker_id(config)
    name = f"pytest's worker {worker}" if worker else "another pytest run"
    # Machines share a store on a server, and no other.
    return f"{name} on {platform.node()}" if settings.store_file is None else name
