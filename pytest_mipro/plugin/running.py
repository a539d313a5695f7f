"""A session with ``--mipro`` on: from a test's request to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import dspy
import pytest

from pytest_mipro.errors import DeclarationError, MiproError
from pytest_mipro.models.resolve import resolve
from pytest_mipro.plugin.check import check, declaring_test
from pytest_mipro.plugin.narrate import Narrator
from pytest_mipro.plugin.state import OUTCOME
from pytest_mipro.session import Session
from pytest_mipro.task import Task, build_program, check_metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.plugin.check import Declared
    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.records import Progress
    from pytest_mipro.session import Outcome

INTERRUPTED = 2
"""The exit status pytest itself has for Ctrl-C."""
_DEFAULT_THREADS = 8


class Running:
    """What a process that runs tests with ``--mipro`` keeps; see ``state.RUNNING``."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        """Prepare for the tests of ``config``'s session."""
        self._config = config
        self._settings = settings
        self._narrator = Narrator(config)
        self._declared: dict[str, Declared] = {}
        self._session = Session(
            store_url=settings.store_url,
            folder=settings.folder,
            who=_who(config),
            around=self,
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
        try:
            outcome = self._session.outcome(self._task(request))
        except MiproError as error:
            prevented = f"mipro: {error}"
        except KeyboardInterrupt:
            _interrupted(self._session.store.name)
        else:
            request.node.stash[OUTCOME] = outcome
            return outcome
        # Outside the except block, or pytest would show the error twice.
        pytest.fail(prevented, pytrace=False)

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
        self._narrator.progress(task.name, progress)

    def _task(self, request: pytest.FixtureRequest) -> Task:
        node = request.node
        declared = self._declared.get(declaring_test(node)) or check(node)
        wanted = _Wanted(request, declared.values)
        timeout = self._settings.timeout
        model = resolve(self._settings.lm or wanted.get("lm"), timeout)
        prompt = wanted.get("prompt_lm")
        teacher, teacher_spec = _teacher(wanted.get("teacher"))
        metric = wanted.need("metric")
        check_metric(metric)
        teacher_lm = None if teacher_spec is None else resolve(teacher_spec, timeout).lm
        return Task(
            name=declared.values.get("name", node.name),
            test=node.nodeid,
            program=build_program(wanted.need("program")),
            metric=metric,
            dataset=declared.dataset or declared.load(wanted.need("dataset")),
            lm=model.lm,
            prompt_lm=resolve(prompt, timeout).lm if prompt is not None else teacher_lm or model.lm,
            teacher=teacher,
            teacher_lm=teacher_lm,
            adapter=wanted.get("adapter") or model.adapter,
            options=declared.options,
            threads=_threads(self._settings.threads, model.threads),
            version=declared.values.get("version"),
        )


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


def _who(config: pytest.Config) -> str:
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    return f"another pytest run{f' (worker {worker})' if worker else ''}"


def _interrupted(store: str) -> NoReturn:
    pytest.exit(
        f"mipro: stopped by Ctrl-C. Everything finished so far is safe in {store}; "
        "run the same command again to go on from there.",
        returncode=INTERRUPTED,
    )
