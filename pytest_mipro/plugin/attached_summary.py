"""The summary of a test's task, attached to pytest's report of the test."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import finalize

from pytest_mipro.escaping import escaped_line
from pytest_mipro.plugin.asking_errors import is_asking_error
from pytest_mipro.plugin.migration import MIGRATION
from pytest_mipro.plugin.node import node_id
from pytest_mipro.plugin.safe_report import make_safe
from pytest_mipro.plugin.state import OUTCOME, TASK_RUNNER
from pytest_mipro.plugin.terminal import is_coloured
from pytest_mipro.redaction import SECRETS
from pytest_mipro.report import TaskSummary, summarize, worst_last

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_mipro.records import Report
    from pytest_mipro.report import TestStatus

_ATTRIBUTE = "mipro_summary"
"""The attribute that xdist sends with the report: JSON, as a text may be no valid UTF-8."""
_attached: dict[int, TaskSummary] = {}
"""The summaries of this process, by the identity of the report: a report of subtests has no hash.

To read them from JSON takes longer.
"""
_VERDICT = "mipro_verdict"


def attach_summary(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> None:
    """Attach the summary of a test's task, and its figures as properties for JUnit's XML.

    The texts of the test's own report are made safe: what failed cites models and datasets.
    """
    if is_asking_error(item, call):
        report.when = "setup"
    if _declares_task(item) or OUTCOME in item.stash:
        make_safe(report, coloured=is_coloured(item.config))
    summary = _summary(item, call, report)
    if summary is None:
        return
    attach(report, SECRETS.redact(summary))
    if all(name != _VERDICT for name, _ in item.user_properties):
        properties = list(_properties(summary))
        item.user_properties += properties
        report.user_properties += properties


def attach(report: pytest.TestReport, summary: TaskSummary) -> None:
    """Attach a summary from which the credentials have been taken."""
    setattr(report, _ATTRIBUTE, json.dumps(summary.to_dict()))
    if id(report) not in _attached:
        finalize(report, _attached.pop, id(report)).atexit = False
    _attached[id(report)] = summary


def attached_summary(report: pytest.TestReport) -> TaskSummary | None:
    """Return the summary that this process or a worker attached."""
    if id(report) in _attached:
        return _attached[id(report)]
    text = getattr(report, _ATTRIBUTE, None)
    return None if text is None else TaskSummary.from_dict(json.loads(text))


def _summary(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> TaskSummary | None:
    outcome = item.stash.get(OUTCOME, None)
    migration = item.stash.get(MIGRATION, None)
    if migration is not None:
        is_wanted = report.when == "setup"
    elif report.failed:
        is_wanted = outcome is not None or _declares_task(item)
    else:
        is_wanted = outcome is not None and report.when == "call"
    if not is_wanted:
        return None
    file, index, _ = report.location
    line, status, message = (index or 0) + 1, _status(report), _message(call, report)
    if outcome is not None:
        record = outcome.report()
        summary = summarize(record, file=file, line=line, status=status, message=message)
        return replace(summary, word="ERROR") if is_asking_error(item, call) else summary
    return TaskSummary(
        task=item.config.stash[TASK_RUNNER].name_of(item),
        test=node_id(item),
        file=file,
        line=line,
        status=status,
        word="ERROR" if migration is None else "not judged",
        message=message,
        migration=migration,
    )


def _declares_task(item: pytest.Item) -> bool:
    is_requested = "mipro" in getattr(item, "fixturenames", ())
    return is_requested or item.get_closest_marker("mipro") is not None


def _status(report: pytest.TestReport) -> TestStatus:
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    return "passed"


def _message(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    if not report.failed:
        return ""
    if call.excinfo is None:
        return str(report.longrepr)
    # The message of pytest.fail() reads better without the exception's name.
    message = getattr(call.excinfo.value, "msg", None) or call.excinfo.exconly(tryshort=True)
    return SECRETS.redact_error(str(message), call.excinfo.value).removeprefix("mipro: ")


def _properties(summary: TaskSummary) -> Iterator[tuple[str, object]]:
    yield "mipro_task", escaped_line(summary.task)
    yield _VERDICT, summary.word
    if summary.report is not None:
        yield from _figures(summary.report)


def _figures(report: Report) -> Iterator[tuple[str, object]]:
    comparison = report.comparison
    # A test may ask for a kind several times; the worst verdict is reported then.
    verdicts = {
        _property(verdict.kind, verdict.metric, report): verdict
        for verdict in worst_last(report.verdicts)
    }
    for name, verdict in verdicts.items():
        yield name, verdict.word
        if verdict.comparison is not None and verdict.comparison.unit != "score":
            yield "mipro_cost_ratio", verdict.comparison.times(verdict.comparison.difference)
    yield "mipro_baseline", comparison.comparator
    if report.accepted is not None:
        yield "mipro_reference", report.accepted.score
    yield "mipro_compiled", comparison.compiled
    for scores in report.further:
        yield _property("baseline", scores.metric, report), scores.baseline.score
        if scores.accepted is not None:
            yield _property("reference", scores.metric, report), scores.accepted.score
        yield _property("compiled", scores.metric, report), scores.compiled.score
    yield "mipro_difference", comparison.difference
    yield "mipro_low", comparison.low
    yield "mipro_high", comparison.high
    yield "mipro_p", comparison.p_value
    yield "mipro_n", comparison.n
    yield "mipro_calls", report.usage.calls
    cost = report.usage.cost
    yield "mipro_cost_usd", "unknown" if cost is None else cost
    yield "mipro_origin", report.origin
    yield "mipro_key", report.key


def _property(name: str, metric: str, report: Report) -> str:
    """Return the name of a figure, with that of its metric if that is not the optimized one."""
    is_optimized = metric in {"", report.metric}
    return f"mipro_{name}" if is_optimized else f"mipro_{name}[{escaped_line(metric)}]"
