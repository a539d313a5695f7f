"""A session with ``--mipro`` on: from a test's request to its outcome."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import dspy
import pytest

from pytest_mipro.errors import DeclarationError, MiproError
from pytest_mipro.models import resolve_model
from pytest_mipro.plugin.account import account_of
from pytest_mipro.plugin.check import check, declaring_test
from pytest_mipro.plugin.interrupt import exit_after_interrupt
from pytest_mipro.plugin.node import location_of, node_id
from pytest_mipro.plugin.progress import ProgressReporter
from pytest_mipro.plugin.state import ORPHANS, OUTCOME
from pytest_mipro.plugin.warnings import MiproWarning
from pytest_mipro.plugin.xdist import shared_folder
from pytest_mipro.redaction import credentials, redact
from pytest_mipro.report import reason, render_dry_run
from pytest_mipro.session import Callbacks, Policy, Session
from pytest_mipro.task import Task, build_program, check_adapter, check_metric, is_sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.optimize import Estimate
    from pytest_mipro.plugin.check import CheckedDeclaration
    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.records import Progress, Usage
    from pytest_mipro.session import Outcome

_DEFAULT_THREADS = 8


class TaskRunner:
    """What a process that runs tests with ``--mipro`` keeps; see ``state.RUNNING``."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        """Prepare for the tests of ``config``'s session."""
        self._config = config
        self._settings = settings
        self._narrator = ProgressReporter(config)
        self._declared: dict[str, CheckedDeclaration] = {}
        self._secrets = credentials([])
        self._node: pytest.Item | None = None
        self._session = Session(
            store_url=settings.store_url,
            store_name=settings.store,
            folder=settings.folder,
            process_name=_process_name(config),
            callbacks=Callbacks(
                optimize=self.optimize,
                fingerprint=self.fingerprint,
                show_line=self.say,
                show_progress=self.progress,
                warn_test=partial(warnings.warn, category=MiproWarning),
                warn_task=self.advise,
            ),
            policy=Policy(
                update=settings.update,
                frozen=settings.frozen,
                refresh=settings.refresh,
                rescore=settings.rescore,
                tolerant=settings.inconclusive == "warn",
            ),
            account=account_of(config, settings),
            shared_folder=shared_folder(config),
        )

    def declare(self, node: pytest.Item) -> None:
        """
        Check what ``node`` declares, at collection.

        Raises:
            pytest.Collector.CollectError: It cannot be used. (A UsageError
                at this point would crash the controller of xdist.)

        """
        try:
            self._declared[declaring_test(node)] = check(node)
        except MiproError as error:
            message = f"{node.nodeid}: {error}"
            raise pytest.Collector.CollectError(message) from None

    def outcome(self, request: pytest.FixtureRequest) -> Outcome:
        """Return the outcome of the requesting test; errors are the fixture's."""
        self._node = request.node
        self._config.stash[ORPHANS].use(request.node)
        try:
            task, place = self._task(request), location_of(request.node)
            estimate = self._session.estimate(task, place) if self._settings.dry_run else None
            if estimate is not None:
                return self._skip(task, estimate)
            outcome = self._session.outcome(task, place)
        except (MiproError, MiproWarning) as error:  # The latter if a filter makes it an error.
            text = str(self.veil(f"mipro: {error}"))
            end: Callable[[], NoReturn] = partial(pytest.fail, text, pytrace=False)
        except KeyboardInterrupt:
            end = partial(exit_after_interrupt, self._settings)
        else:
            request.node.stash[OUTCOME] = outcome
            return outcome
        # Outside the except block, or pytest would show the error twice.
        return end()

    def _skip(self, task: Task, estimate: Estimate) -> NoReturn:
        """Skip a test of a dry run, and say what it would have asked."""
        for line in render_dry_run(task.name, estimate).splitlines():
            self.say(line)
        pytest.skip(reason(estimate))

    @property
    def usage(self) -> Usage:
        """What all tasks of this process have asked so far."""
        return self._session.usage

    def name_of(self, node: pytest.Item) -> str:
        """Return the name of a test's task."""
        declared = self._declared.get(declaring_test(node))
        return node.name if declared is None else str(declared.values.get("name", node.name))

    def veil(self, value: JSON) -> JSON:
        """Return ``value`` without the credentials that this process knows."""
        return redact(value, self._secrets)

    def close(self) -> None:
        """Let go of the store."""
        self._session.close()

    def optimize(self, task: Task) -> dspy.Module | None:
        """Ask the plugins whether one of them compiles ``task``."""
        program: dspy.Module | None = self._config.hook.pytest_mipro_optimize(task=task)
        return program

    def fingerprint(self, task: Task) -> Mapping[str, object]:
        """Collect the parts plugins add to the key."""
        parts: dict[str, object] = {}
        for added in reversed(self._config.hook.pytest_mipro_fingerprint(task=task)):
            parts.update(added)
        return parts

    def say(self, line: str) -> None:
        """Show one line."""
        self._narrator.say(line)

    def progress(self, task: Task, progress: Progress) -> None:
        """Show how far ``task`` has come."""
        trouble = str(self.veil(progress.provider_error))
        self._narrator.progress(task.name, replace(progress, provider_error=trouble))

    def advise(self, text: str) -> None:
        """Warn about the task of the test that is being set up."""
        assert self._node is not None
        self._node.warn(MiproWarning(text))

    def _task(self, request: pytest.FixtureRequest) -> Task:
        node = request.node
        declared = self._declared.get(declaring_test(node)) or check(node)
        wanted = _Wanted(request, declared.values)
        timeout = self._settings.timeout
        model = resolve_model(self._settings.lm or wanted.get("lm"), timeout)
        prompt = wanted.get("prompt_lm")
        teacher, teacher_spec = _teacher(wanted.get("teacher"))
        metric = wanted.need("metric")
        check_metric(metric)
        teacher_lm = None if teacher_spec is None else resolve_model(teacher_spec, timeout).lm
        prompt_lm = (
            resolve_model(prompt, timeout).lm if prompt is not None else teacher_lm or model.lm
        )
        self._secrets |= credentials(
            each for each in (model.lm, prompt_lm, teacher_lm) if each is not None
        )
        adapter = wanted.get("adapter")
        check_adapter(adapter)
        name = self.name_of(node)
        program = build_program(wanted.need("program"))
        return Task(
            name=name,
            test=node_id(node),
            program=program,
            metric=metric,
            dataset=declared.dataset or declared.load(wanted.need("dataset")),
            lm=model.lm,
            prompt_lm=prompt_lm,
            teacher=teacher,
            teacher_lm=teacher_lm,
            adapter=adapter or model.adapter,
            options=declared.options,
            threads=_threads(self._settings.threads, model.threads),
            version=declared.values.get("version"),
            repeat=self._repeat(name, declared, sampled=is_sampled(program, model.lm)),
            cluster=declared.values.get("cluster"),
            budget=declared.values.get("budget"),
        )

    def _repeat(self, name: str, declared: CheckedDeclaration, *, sampled: bool) -> int:
        settings = self._settings
        asked = settings.repeat or declared.values.get("repeat", settings.default_repeat)
        if asked == 1 or sampled:
            return int(asked)
        self.advise(
            f"{name}: repeat={asked} is of no use at temperature 0, where every answer would be "
            "the same, so each held-out example is answered once; give the model a temperature "
            "above 0, or leave repeat out"
        )
        return 1


class _Wanted:
    """What a declaration gives, or else the fixture of the same name."""

    def __init__(self, request: pytest.FixtureRequest, values: Mapping[str, Any]) -> None:
        self._request = request
        self._values = values

    def get(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        return self._request.getfixturevalue(f"mipro_{name}")

    def need(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            message = (
                f"no {name} is declared; give {name}=... to @mipro_optimize, "
                f"or override the mipro_{name} fixture"
            )
            raise DeclarationError(message)
        return value


def _teacher(given: Any) -> tuple[dspy.Module | None, Any]:
    return (given, None) if isinstance(given, dspy.Module) else (None, given)


def _threads(asked: int | None, most: int | None) -> int:
    wanted = asked or _DEFAULT_THREADS
    return wanted if most is None else min(wanted, most)


def _process_name(config: pytest.Config) -> str:
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    return f"pytest's worker {worker}" if worker else "another pytest run"
