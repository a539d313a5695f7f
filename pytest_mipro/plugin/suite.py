"""Decide at the end of a session about the FAILs of all its tests together.

A test cannot know how many others there are. So an assert on a FAIL holds at first, and the test
is shown as deferred. At the end, in the process that has the terminal, the FAILs that stand are
reported as failures of their tests, as any plugin of pytest sees failures.
"""

from __future__ import annotations

from contextlib import closing
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.canonical import digest, plain
from pytest_mipro.errors import StoreError
from pytest_mipro.gate import (
    confirmed,
    corrected_by_holm,
    is_measured_anew,
    next_streak,
    question,
)
from pytest_mipro.plugin.attached_summary import attach, attached_summary
from pytest_mipro.report import TaskSummary, summarize, verdicts

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pytest_mipro.canonical import JSON
    from pytest_mipro.plugin.reports import Reports
    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.records import HeldOutExample, Report, Verdict
    from pytest_mipro.store import Store

_DIGITS = 16
"""Digits of the identities of examples, and of the digests of answers, in a streak."""


@dataclass(frozen=True)
class _SuiteVerdict:
    """A verdict of a session.

    Attributes:
        node_id: The test that asked for it.
        position: Its number among the verdicts of the test.
        report: The outcome of the test.
        is_deferred: Whether an assert on it depends on the end of the session.
        verdict: The verdict, as far as it is decided.
    """

    node_id: str
    position: int
    report: Report
    is_deferred: bool
    verdict: Verdict

    @property
    def stands(self) -> bool:
        """Whether its assert fails in the end."""
        return self.is_deferred and not self.verdict.deferred

    @property
    def key(self) -> str:
        """The key of the verdict in all runs."""
        return digest(
            [self.report.test, self.verdict.kind, self.verdict.metric, self.position],
        )

    @property
    def question(self) -> str:
        """The digest of what was compared, the same for two tests that ask it of one task."""
        verdict, comparison = self.verdict, self.verdict.comparison
        # What is detectable may be infinite, which only plain data can say.
        compared = None if comparison is None else plain(comparison.to_dict())
        return digest([verdict.kind, verdict.metric, compared, self.evidence])

    @property
    def evidence(self) -> dict[str, str]:
        """The digest of the answers to each example, and of the program and model they are of."""
        report = self.report
        prompts = [prompt.to_dict() for prompt in report.prompts_after]
        program = plain([report.model, prompts])
        return {
            example.identity[:_DIGITS]: digest([program, _answers(example)])[:_DIGITS]
            for example in report.held_out
        }


class SuiteDecision:
    """Hooks of the process that has the terminal, if the end of the session decides."""

    def __init__(self, config: pytest.Config, settings: Settings, reports: Reports) -> None:
        """Decide about the tests of ``config``'s session, and correct their ``reports``."""
        self._config = config
        self._settings = settings
        self._reports = reports
        self._deferred: dict[str, pytest.TestReport] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report of a test that passed but for a FAIL."""
        task = attached_summary(report) if report.passed else None
        if task is not None and any(verdict.deferred for verdict in verdicts(task)):
            self._deferred[report.nodeid] = report

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Show such a test as deferred."""
        if self._deferred.get(report.nodeid) is not report:
            return None
        return "passed", "d", ("DEFERRED", {"yellow": True})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Decide when all tests have run, or when the session is stopped."""
        try:
            return (yield)
        finally:
            self._decide()

    def _decide(self) -> None:
        suite = [
            _SuiteVerdict(node_id, position, task.report, verdict.deferred, verdict)
            for node_id, task in self._reports.tasks.items()
            if task.report is not None
            for position, verdict in enumerate(task.report.verdicts)
        ]
        if self._settings.suite_correction == "holm":
            judged = [entry.verdict for entry in suite]
            questions = [entry.question for entry in suite]
            suite = _with_verdicts(suite, corrected_by_holm(judged, questions))
        else:
            suite = _with_verdicts(
                suite, [replace(entry.verdict, deferred=False) for entry in suite]
            )
        if self._settings.confirm > 1:
            suite = self._with_confirmation(suite)
        for node_id, task in list(self._reports.tasks.items()):
            self._apply(node_id, task, [entry for entry in suite if entry.node_id == node_id])

    def _with_confirmation(self, suite: list[_SuiteVerdict]) -> list[_SuiteVerdict]:
        """Return the verdicts, of which a FAIL stands if it is one in enough runs in a row."""
        from pytest_mipro.session import Storage  # loads DSPy

        settings = self._settings
        try:
            with closing(Storage(settings.store_url, settings.folder, "pytest")) as storage:
                return [self._confirmed(entry, storage.store) for entry in suite]
        except StoreError as error:
            self._reports.add_note(
                f"the FAILs of earlier runs cannot be read, so that each FAIL counts: {error}"
            )
            return suite

    def _confirmed(self, entry: _SuiteVerdict, store: Store) -> _SuiteVerdict:
        verdict = entry.verdict
        if verdict.p_fail is None:
            return entry
        streak, evidence = store.streaks.get(entry.key), entry.evidence
        is_new = self._settings.rescore or is_measured_anew(streak, evidence)
        new = next_streak(streak, entry.key, fails=entry.stands, evidence=evidence, is_new=is_new)
        if new != streak and (streak is not None or new.fails):
            store.streaks.replace(new)
        if not entry.stands:
            return entry
        needed = self._settings.confirm
        return replace(entry, verdict=confirmed(verdict, new.fails, needed, is_new=is_new))

    def _apply(self, node_id: str, task: TaskSummary, suite: Sequence[_SuiteVerdict]) -> None:
        """Put the decided verdicts of a test into its report; report its failure if one stands."""
        if task.report is None or not suite:
            return
        report = replace(task.report, verdicts=tuple(entry.verdict for entry in suite))
        standing = [entry.verdict for entry in suite if entry.stands]
        deferred = self._deferred.get(node_id) if standing else None
        decided = summarize(
            report,
            file=task.file,
            line=task.line,
            status=task.status if deferred is None else "failed",
            message=task.message if deferred is None else f"assert {standing[0]!r}",
        )
        self._reports.replace_task(node_id, decided)
        for entry in suite:
            if entry.is_deferred and entry.verdict.deferred:
                text = f"{question(entry.verdict)}: {entry.verdict!r}"
                self._reports.add_note(f"{task.task}: {text}")
        if deferred is not None:
            self._fail(deferred, decided)

    def _fail(self, deferred: pytest.TestReport, task: TaskSummary) -> None:
        """Report the failure of a test that was shown as deferred."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        passed = [] if reporter is None else reporter.stats.get("passed", [])
        if deferred in passed:
            passed.remove(deferred)
        failed = copy(deferred)
        failed.outcome = "failed"
        failed.longrepr = task.message
        failed.sections = list(deferred.sections)
        attach(failed, task)
        self._config.hook.pytest_runtest_logreport(report=failed)


def _answers(example: HeldOutExample) -> JSON:
    """Return what the compiled program answered; an accepted score is there without its answer."""
    data = example.compiled.to_dict()
    return plain(data["predictions"] or data["score"])


def _with_verdicts(
    suite: Sequence[_SuiteVerdict], decided: Sequence[Verdict]
) -> list[_SuiteVerdict]:
    pairs = zip(suite, decided, strict=True)
    return [replace(entry, verdict=verdict) for entry, verdict in pairs]
