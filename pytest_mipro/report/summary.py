"""The one model all renderers show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_mipro.gate import BEATS_BASELINE, COSTS_NO_MORE, NO_REGRESSION, VERDICT_KINDS
from pytest_mipro.records import HeldOutExample, Record, Report, Usage
from pytest_mipro.report.formatting import PROGRAMS, calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_mipro.records import PairedComparison, Prompt, Verdict

Status = Literal["passed", "failed", "error", "skipped", "xfailed"]
Word = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR", "not judged"]
Change = Literal["worse", "better", "same"]
Since = Literal["baseline", "accepted"]
_WORST_FIRST: tuple[Word, ...] = ("FAIL", "INCONCLUSIVE", "PASS")
_BECAME = (_WORSE, _DEARER, _FAILED, _UNJUDGED) = (
    "got worse",
    "got too expensive",
    "failed",
    "could not be judged",
)
_UNDECIDED = "undecided"
_ASIDE: dict[Status, str] = {"xfailed": "failed as expected", "skipped": "skipped"}
"""How a test ended that decides nothing about a merge."""
_SHOWN = 100
"""So many characters of a value, at least, are at its beginning where pytest shortens it."""


@dataclass(frozen=True)
class TaskSummary(Record):
    """
    One task in one test.

    Attributes:
        task: The task's name.
        test: The test's node id.
        file: The test's file, relative to the root of the run.
        line: Where the test begins in it, from 1.
        status: What pytest says of the test.
        word: ERROR where there is no outcome, else the worst of the verdicts
            the test asked for.
        effort: What this run did for it, in words.
        message: Why the test did not pass; empty where it did.
        report: All there is to say about the outcome; None without one.

    """

    task: str
    test: str
    file: str
    line: int
    status: Status
    word: Word
    effort: str = ""
    message: str = ""
    report: Report | None = None

    @property
    def blocks(self) -> bool:
        """Whether the test makes the run fail."""
        return self.status in {"failed", "error"}


@dataclass(frozen=True)
class Summary(Record):
    """
    A session: what it was run with, and all its tasks in the order of their tests.

    Attributes:
        tasks: The tasks.
        usage: What all of them together asked.
        store: Where the store is, without credentials.
        versions: Of what was run with, by name.
        created: When, as an ISO 8601 date and time with its offset.
        seconds: How long the session took.
        orphans: References of no test; None if only some tests were run.
        interrupted: Whether the session ended before its tests did.

    """

    tasks: tuple[TaskSummary, ...]
    usage: Usage
    store: str
    versions: dict[str, str]
    created: str
    seconds: float
    orphans: tuple[str, ...] | None = None
    interrupted: bool = False


def summarize(
    report: Report, *, file: str, line: int, status: Status, message: str = ""
) -> TaskSummary:
    """Return the summary of a test that has an outcome; see ``TaskSummary`` for what it takes."""
    return TaskSummary(
        task=report.task,
        test=report.test,
        file=file,
        line=line,
        status=status,
        word=_word(report),
        effort=effort(report),
        message=message,
        report=report,
    )


def effort(report: Report, *, counted: bool = True) -> str:
    """Return what a run did for a task; its calls are ``counted`` unless something else does."""
    done = [_origin(report)]
    if counted:
        done.append(calls(report.usage))
    if report.cut is not None:
        done.append(f"search cut at {report.cut.limit}")
    return ", ".join(done)


def headline(summary: Summary) -> str:
    """Return in words what became of the tasks."""
    ended = "; the run was interrupted" if summary.interrupted else ""
    return f"{_told_together(summary.tasks)}{ended}"


def worst_first(tasks: Iterable[TaskSummary]) -> list[TaskSummary]:
    """Return the tasks in the order a reader should look at them."""
    return sorted(tasks, key=_place)


def verdicts(task: TaskSummary) -> tuple[Verdict, ...]:
    """Return the verdicts a test asked for; none where there is no outcome."""
    return () if task.report is None else task.report.verdicts


def unmet_first(report: Report) -> list[Verdict]:
    """Return the verdicts of a test, those that did not pass before the others."""
    return sorted(report.verdicts, key=bool)


def worst_last(some: Iterable[Verdict]) -> list[Verdict]:
    """Return verdicts by their words, those that passed first."""
    return sorted(some, key=lambda each: -_WORST_FIRST.index(each.word))


def is_told(verdict: Verdict, report: Report) -> bool:
    """
    Say whether a verdict compares what the task's own figures do: compiled with baseline.

    What it allows for changes the interval, not what was measured.
    """
    one, other = verdict.comparison, report.comparison
    return one is not None and (one.unit, one.n, one.baseline, one.compiled) == (
        other.unit,
        other.n,
        other.baseline,
        other.compiled,
    )


def lost_elsewhere(report: Report) -> list[tuple[str, PairedComparison]]:
    """Return what the difference to the baseline does not tell: questions that were not met."""
    return [
        (VERDICT_KINDS[verdict.kind].label, verdict.comparison)
        for verdict in report.verdicts
        if verdict.comparison is not None and not verdict and not is_told(verdict, report)
    ]


def repeats(task: TaskSummary) -> bool:
    """
    Say whether a test's message is an assert on a verdict, whose sentence says more.

    Pytest shortens what an assert is about in its middle. Whatever a user's own
    assert says comes before the word ``assert``.
    """
    unmet = (repr(each)[:_SHOWN] for each in verdicts(task) if each.sentence and not each)
    return task.message.startswith("assert ") and any(said in task.message for said in unmet)


def change(example: HeldOutExample, since: Since = "baseline") -> Change:
    """Return how the compiled program does on an example, against the other program."""
    before = _before(example, since)
    if before is None or before == example.compiled.score:
        return "same"
    return "worse" if example.compiled.score < before else "better"


def since(report: Report) -> Since:
    """
    Return which program a reader compares with first.

    It is the accepted one, if there is one, unless all that was not met is to
    be better than the baseline.
    """
    unmet = {verdict.kind for verdict in report.verdicts if not verdict}
    return "baseline" if report.accepted is None or unmet == {BEATS_BASELINE.key} else "accepted"


def earlier_prompts(report: Report) -> tuple[Prompt, ...]:
    """Return the prompts of the program that a reader compares with first."""
    return report.prompts_before if since(report) == "baseline" else report.prompts_accepted


def shifts(report: Report) -> str:
    """Return in words how many examples changed; empty if only the scores are known."""
    compared = since(report)
    counts = Counter(change(each, compared) for each in report.held_out)
    if not report.held_out:
        return ""
    return (
        f"{counts['worse']:,} of {len(report.held_out):,} held-out examples got worse than "
        f"the {PROGRAMS[compared]}, {counts['better']:,} better"
    )


def worst(report: Report) -> list[HeldOutExample]:
    """
    Return the examples to look at first: those that lost most, then those that score least.

    Examples that lost nothing and have the best score there is are left out.
    """
    compared = since(report)
    best = max((each.compiled.score for each in report.held_out), default=0.0)

    def loss(example: HeldOutExample) -> float:
        before = _before(example, compared)
        return 0.0 if before is None else max(before - example.compiled.score, 0.0)

    poor = [each for each in report.held_out if loss(each) or each.compiled.score < best]
    return sorted(poor, key=lambda each: (-loss(each), each.compiled.score))


def _told_together(tasks: Sequence[TaskSummary]) -> str:
    total, kinds = len(tasks), Counter(map(_became, tasks))
    if not total:
        return "No prompt was judged"
    undecided = kinds[_UNDECIDED]
    aside = [f"{kinds[kind]} {kind}" for kind in _ASIDE.values() if kinds[kind]]
    told = [f"{kinds[kind]} {kind}" for kind in _BECAME if kinds[kind]]
    if told:
        told[0] = told[0].replace(" ", " task " if total == 1 else f" of {total} tasks ", 1)
        doubts = [f"{undecided} passed {_UNDECIDED}"] if undecided else []
    else:
        told = [_passed(total - sum(kinds[kind] for kind in _ASIDE.values()), total)]
        doubts = [f"{undecided} {_UNDECIDED}"] if undecided else []
    return ", ".join([*told, *doubts, *aside])


def _passed(count: int, total: int) -> str:
    if count < total:
        return f"{count} of {total} tasks passed"
    return "The task passed" if total == 1 else f"All {total} tasks passed"


def _became(task: TaskSummary) -> str:
    if task.status in _ASIDE:
        return _ASIDE[task.status]
    if task.status == "passed":
        return _UNDECIDED if task.word == "INCONCLUSIVE" else ""
    if task.status == "error":
        return _UNJUDGED
    # Without a comparison, there is no reference that it could be worse than.
    lost = {each.kind for each in verdicts(task) if each.word == "FAIL" and each.comparison}
    if NO_REGRESSION.key in lost:
        return _WORSE
    return _DEARER if COSTS_NO_MORE.key in lost else _FAILED


def _place(task: TaskSummary) -> int:
    if task.status == "failed":
        return 0 if task.word == "FAIL" else 2
    if task.status == "error":
        return 1
    return {"FAIL": 3, "INCONCLUSIVE": 4}.get(task.word, 5)


def _before(example: HeldOutExample, compared: Since) -> float | None:
    return example.baseline.score if compared == "baseline" else example.accepted


def _word(report: Report) -> Word:
    given = {verdict.word for verdict in report.verdicts}
    return next((word for word in _WORST_FIRST if word in given), "not judged")


def _origin(report: Report) -> str:
    if report.origin == "shared":
        return f"shared with {report.shared}"
    if report.origin != "compiled":
        return {"stored": "from the store", "accepted": "from the reference"}[report.origin]
    resumed = f", resumed with {report.resumed:,} stored results" if report.resumed else ""
    return f"compiled in {report.seconds:.0f} s{resumed}"
