"""What a test has to say about its task, attached to what pytest reports of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_mipro.plugin.node import node_id
from pytest_mipro.plugin.state import OUTCOME, TASK_RUNNER
from pytest_mipro.report import TaskSummary, inline, summarize, worst_last

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_mipro.records import Report
    from pytest_mipro.report import Status

_ATTRIBUTE = "mipro_told"
"""What xdist carries with the rest of a report: JSON, as a text may hold what UTF-8 cannot."""
_VERDICT = "mipro_verdict"


def attach(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Attach the summary of a test's task, and what JUnit's XML is to have of it."""
    summary = _summary(item, call, report)
    if summary is None:
        return
    setattr(report, _ATTRIBUTE, json.dumps(item.config.stash[TASK_RUNNER].veil(summary.to_dict())))
    if all(name != _VERDICT for name, _ in item.user_properties):
        properties = list(_properties(summary))
        item.user_properties += properties
        report.user_properties += properties


def told(report: pytest.TestReport) -> TaskSummary | None:
    """Return what was attached, here or in a worker."""
    text = getattr(report, _ATTRIBUTE, None)
    return None if text is None else TaskSummary.from_dict(json.loads(text))


def _summary(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> TaskSummary | None:
    if not report.failed and (report.when != "call" or OUTCOME not in item.stash):
        return None
    file, line, _ = report.location
    status, message = _status(report), _message(call, report)
    outcome = item.stash.get(OUTCOME, None)
    if outcome is not None:
        found = outcome.report()
        return summarize(found, file=file, line=(line or 0) + 1, status=status, message=message)
    return TaskSummary(
        task=item.config.stash[TASK_RUNNER].name_of(item),
        test=node_id(item),
        file=file,
        line=(line or 0) + 1,
        status=status,
        word="ERROR",
        message=message,
    )


def _status(report: pytest.TestReport) -> Status:
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
    # The text that a test or the plugin fails with is better without the exception's name.
    said = getattr(call.excinfo.value, "msg", None) or call.excinfo.exconly(tryshort=True)
    return str(said).removeprefix("mipro: ")


def _properties(summary: TaskSummary) -> Iterator[tuple[str, object]]:
    yield "mipro_task", inline(summary.task)
    yield _VERDICT, summary.word
    if summary.report is not None:
        yield from _figures(summary.report)


def _figures(report: Report) -> Iterator[tuple[str, object]]:
    comparison = report.comparison
    # A test may ask for a kind several times; the worst verdict is reported then.
    worst = {verdict.kind: verdict for verdict in worst_last(report.verdicts)}
    for kind, verdict in worst.items():
        yield f"mipro_{kind}", verdict.word
        if verdict.comparison is not None and verdict.comparison.unit != "score":
            yield "mipro_cost_ratio", verdict.comparison.times(verdict.comparison.difference)
    yield "mipro_baseline", comparison.baseline
    if report.accepted is not None:
        yield "mipro_reference", report.accepted.score
    yield "mipro_compiled", comparison.compiled
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
