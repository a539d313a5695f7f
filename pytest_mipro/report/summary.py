"""Summarize a session for all renderers: its tasks, their worst verdicts, what got worse."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_mipro.canonical import Record
from pytest_mipro.gate import BEATS_BASELINE, COSTS_NO_MORE, NO_REGRESSION, question
from pytest_mipro.records import HeldOutExample, Migration, Report, Usage
from pytest_mipro.report.formatting import PROGRAMS, calls, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_mipro.records import PairedComparison, Prompt, Verdict

TestStatus = Literal["passed", "failed", "error", "skipped", "xfailed"]
TaskVerdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR", "not judged"]
ScoreChange = Literal["worse", "better", "same"]
EarlierProgram = Literal["baseline", "accepted"]
_WORST_FIRST: tuple[TaskVerdict, ...] = ("FAIL", "INCONCLUSIVE", "PASS")
_BLOCKING = (_WORSE, _DEARER, _FAILED, _UNJUDGED) = (
    "got worse",
    "got too expensive",
    "failed",
    "could not be judged",
)
_UNDECIDED = "undecided"
_DEFAULT_OPTIMIZER = "mipro"
_ASIDE: dict[TestStatus, str] = {"xfailed": "failed as expected", "skipped": "skipped"}
"""The statuses of tests that decide nothing about a merge."""
_UNCUT = 100
"""Characters at the beginning of a value that pytest does not cut when it shortens one."""


@dataclass(frozen=True)
class TaskSummary(Record):
    """One task in one test.

    Attributes:
        task: The task's name.
        test: The test's node id.
        file: The test's file, relative to the root of the run.
        line: Where the test begins in it, from 1.
        status: What pytest says of the test.
        word: ERROR where there is no outcome, else the worst of the verdicts
            that the test asked for.
        effort: What this run did for it, in words.
        message: Why the test did not pass; empty where it did.
        report: The outcome in full; None without one.
        migration: What a move of the task was measured to do; None if it was not measured.
    """

    task: str
    test: str
    file: str
    line: int
    status: TestStatus
    word: TaskVerdict
    effort: str = ""
    message: str = ""
    report: Report | None = None
    migration: Migration | None = None

    @property
    def blocks(self) -> bool:
        """Whether the test makes the run fail."""
        return self.status in {"failed", "error"}


@dataclass(frozen=True)
class Summary(Record):
    """A session: its settings, and all its tasks in the order of their tests.

    Attributes:
        tasks: The tasks.
        usage: The LM calls of all tasks together.
        store: Where the store is, without credentials.
        versions: The versions of the packages, by name.
        created: When, as an ISO 8601 date and time with its offset.
        seconds: How long the session took.
        orphans: References of no test; None if only some tests were run.
        interrupted: Whether the session ended before its tests did.
        sealed: Whether the store and the references carry a seal that others cannot forge.
    """

    tasks: tuple[TaskSummary, ...]
    usage: Usage
    store: str
    versions: dict[str, str]
    created: str
    seconds: float
    orphans: tuple[str, ...] | None = None
    interrupted: bool = False
    sealed: bool = False


def summarize(
    report: Report, *, file: str, line: int, status: TestStatus, message: str = ""
) -> TaskSummary:
    """Return the summary of a test that has an outcome; see ``TaskSummary`` for the arguments."""
    return TaskSummary(
        task=report.task,
        test=report.test,
        file=file,
        line=line,
        status=status,
        word=_worst_word(report),
        effort=effort(report),
        message=message,
        report=report,
    )


def effort(report: Report, *, with_calls: bool = True) -> str:
    """Return what a run did for a task, with its LM calls unless they are shown beside it."""
    phrases = [_origin(report)]
    if with_calls:
        phrases.append(calls(report.usage))
    if report.cut is not None:
        phrases.append(f"search cut at {report.cut.limit}")
    return ", ".join(phrases)


def seal_note(summary: Summary) -> str:
    """Return what a reader may believe where nothing is sealed; empty where it is."""
    if summary.sealed:
        return ""
    return (
        "nothing is sealed: those who can write the store or a reference can forge scores, "
        "unless MIPRO_SEAL_KEY is set"
    )


def headline(summary: Summary) -> str:
    """Return how many tasks passed, failed or got worse, in words."""
    ending = "; the run was interrupted" if summary.interrupted else ""
    return f"{_counts_in_words(summary.tasks)}{ending}"


def worst_first(tasks: Iterable[TaskSummary]) -> list[TaskSummary]:
    """Return the tasks in the order in which a reader should look at them."""
    return sorted(tasks, key=_rank)


def verdicts(task: TaskSummary) -> tuple[Verdict, ...]:
    """Return the verdicts that a test asked for; none where there is no outcome."""
    return () if task.report is None else task.report.verdicts


def unmet_first(report: Report) -> list[Verdict]:
    """Return the verdicts of a test, those that did not pass before the others."""
    return sorted(report.verdicts, key=bool)


def worst_last(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return verdicts by their words, those that passed first."""
    return sorted(verdicts, key=lambda verdict: -_WORST_FIRST.index(verdict.word))


def has_task_figures(verdict: Verdict, report: Report) -> bool:
    """Return whether a verdict has the figures of its task: compiled against baseline.

    A tolerance changes the interval, not the figures.
    """
    compared, task = verdict.comparison, report.comparison
    if verdict.metric not in {"", report.metric}:
        return False
    return compared is not None and (
        compared.unit,
        compared.n,
        compared.comparator,
        compared.compiled,
    ) == (task.unit, task.n, task.comparator, task.compiled)


def other_losses(report: Report) -> list[tuple[str, PairedComparison]]:
    """Return the unmet verdicts with figures of their own, as their questions and comparisons."""
    return [
        (question(verdict), verdict.comparison)
        for verdict in report.verdicts
        if verdict.comparison is not None and not verdict and not has_task_figures(verdict, report)
    ]


def repeats_verdict(task: TaskSummary) -> bool:
    """Return whether a test's message is an assert on a verdict, whose sentence says more.

    Pytest shortens the operands of an assert in their middle. The message of a
    user's own assert comes before the word ``assert``.
    """
    beginnings = (
        repr(verdict)[:_UNCUT] for verdict in verdicts(task) if verdict.sentence and not verdict
    )
    return task.message.startswith("assert ") and any(map(task.message.__contains__, beginnings))


def score_change(example: HeldOutExample, program: EarlierProgram = "baseline") -> ScoreChange:
    """Return how the compiled program does on an example, against an earlier program."""
    score = _earlier_score(example, program)
    if score is None or score == example.compiled.score:
        return "same"
    return "worse" if example.compiled.score < score else "better"


def earlier_program(report: Report) -> EarlierProgram:
    """Return the program that a reader compares with first.

    It is the accepted one, if there is one, unless the only unmet verdict is
    that the compiled program beats the baseline.
    """
    unmet = {verdict.kind for verdict in report.verdicts if not verdict}
    return "baseline" if report.accepted is None or unmet == {BEATS_BASELINE.key} else "accepted"


def earlier_prompts(report: Report) -> tuple[Prompt, ...]:
    """Return the prompts of the program that a reader compares with first."""
    if earlier_program(report) == "baseline":
        return report.prompts_before
    # What this run accepted is the compiled program, whose prompts are not there twice.
    return report.prompts_after if report.acceptance is not None else report.prompts_accepted


def score_changes(report: Report) -> str:
    """Return in words how many examples changed; empty if only the scores are known."""
    program = earlier_program(report)
    counts = Counter(score_change(example, program) for example in report.held_out)
    if not report.held_out:
        return ""
    return (
        f"{counts['worse']:,} of {len(report.held_out):,} held-out examples got worse than "
        f"the {PROGRAMS[program]}, {counts['better']:,} better"
    )


def worst_examples(report: Report) -> list[HeldOutExample]:
    """Return the examples to look at first: by their loss, then by their score.

    Examples without a loss that have the best score of all are left out.
    """
    program = earlier_program(report)
    best = max((example.compiled.score for example in report.held_out), default=0.0)

    def loss(example: HeldOutExample) -> float:
        score = _earlier_score(example, program)
        return 0.0 if score is None else max(score - example.compiled.score, 0.0)

    poor = [
        example for example in report.held_out if loss(example) or example.compiled.score < best
    ]
    return sorted(poor, key=lambda example: (-loss(example), example.compiled.score))


def _counts_in_words(tasks: Sequence[TaskSummary]) -> str:
    total, counts = len(tasks), Counter(map(_result, tasks))
    if not total:
        return "No prompt was judged"
    if all(task.migration is not None for task in tasks):
        return f"The move of {counted(total, 'task')} was measured"
    aside = [f"{counts[result]} {result}" for result in _ASIDE.values() if counts[result]]
    phrases = [f"{counts[result]} {result}" for result in _BLOCKING if counts[result]]
    undecided = f"{counts[_UNDECIDED]} {'passed ' if phrases else ''}{_UNDECIDED}"
    if phrases:
        phrases[0] = phrases[0].replace(" ", " task " if total == 1 else f" of {total} tasks ", 1)
    else:
        phrases = [_passed(total - sum(counts[result] for result in _ASIDE.values()), total)]
    return ", ".join([*phrases, *([undecided] if counts[_UNDECIDED] else []), *aside])


def _passed(count: int, total: int) -> str:
    if count < total:
        return f"{count} of {total} tasks passed"
    return "The task passed" if total == 1 else f"All {total} tasks passed"


def _result(task: TaskSummary) -> str:
    """Return the result of a task as the headline names it; empty where it passed."""
    if task.status in _ASIDE:
        return _ASIDE[task.status]
    if task.status == "passed":
        return _UNDECIDED if task.word == "INCONCLUSIVE" else ""
    if task.status == "error":
        return _UNJUDGED
    # Without a comparison, there is no reference that it could be worse than.
    lost = {
        verdict.kind for verdict in verdicts(task) if verdict.word == "FAIL" and verdict.comparison
    }
    if NO_REGRESSION.key in lost:
        return _WORSE
    return _DEARER if COSTS_NO_MORE.key in lost else _FAILED


def _rank(task: TaskSummary) -> int:
    if task.status == "failed":
        return 0 if task.word == "FAIL" else 2
    if task.status == "error":
        return 1
    return {"FAIL": 3, "INCONCLUSIVE": 4}.get(task.word, 5)


def _earlier_score(example: HeldOutExample, program: EarlierProgram) -> float | None:
    return example.baseline.score if program == "baseline" else example.accepted


def _worst_word(report: Report) -> TaskVerdict:
    # The end of the session has decided that a deferred FAIL does not stand.
    words = {"INCONCLUSIVE" if verdict.deferred else verdict.word for verdict in report.verdicts}
    return next((word for word in _WORST_FIRST if word in words), "not judged")


def _origin(report: Report) -> str:
    if report.origin == "shared":
        return f"shared with {report.shared}"
    if report.origin != "compiled":
        return {"stored": "from the store", "accepted": "from the reference"}[report.origin]
    resumed = f", resumed with {report.resumed:,} stored results" if report.resumed else ""
    how = "" if report.optimizer == _DEFAULT_OPTIMIZER else f" with {report.optimizer}"
    return f"compiled{how} in {report.seconds:.0f} s{resumed}"
