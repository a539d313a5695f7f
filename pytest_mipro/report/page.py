"""What the HTML report shows: the summary in the order, words and lengths of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_mipro.gate import VERDICT_KINDS
from pytest_mipro.report import charts, formatting
from pytest_mipro.report.formatting import counted
from pytest_mipro.report.lengths import LIMITS, Text, folded, unfolded
from pytest_mipro.report.prompt_changes import changed_parts, prompt_changes
from pytest_mipro.report.prompts import compared_prompts
from pytest_mipro.report.references import render_acceptances
from pytest_mipro.report.summary import (
    change,
    earlier_prompts,
    headline,
    lost_elsewhere,
    repeats,
    shifts,
    since,
    unmet_first,
    worst,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_mipro.records import (
        ExampleResult,
        HeldOutExample,
        PairedComparison,
        Report,
        SearchLog,
        Usage,
        Verdict,
    )
    from pytest_mipro.report.lengths import Limits
    from pytest_mipro.report.prompts import Prompts
    from pytest_mipro.report.summary import Since, Summary, TaskSummary, Word

Shift = Literal["worse", "better", "same", "new"]

_BRIEF, _NAME = 160, 80
_URGENT: tuple[Word, ...] = ("FAIL", "ERROR", "INCONCLUSIVE", "not judged", "PASS")


@dataclass(frozen=True)
class Example:
    """
    A held-out example, as a row of a table.

    Attributes:
        number: Its place in the split, from 1.
        inputs: What was asked.
        expected: What was to be said.
        baseline_says: What the baseline answered.
        compiled_says: What the compiled program answered.
        baseline: The baseline's score.
        compiled: The compiled program's score.
        accepted: The score in the reference.
        shift: How the compiled score compares with the one it is judged by.
        failed: Whether the compiled program raised.

    """

    number: int
    inputs: Text
    expected: Text
    baseline_says: Text
    compiled_says: Text
    baseline: float
    compiled: float
    accepted: float | None
    shift: Shift
    failed: bool


@dataclass(frozen=True)
class Judgement:
    """A verdict."""

    word: str
    question: str
    sentence: Text
    tolerated: bool


@dataclass(frozen=True)
class Difference:
    """How much more the compiled program scores; ``of`` says than what, where that is not clear."""

    of: str
    mean: str
    interval: str


@dataclass(frozen=True)
class Fact:
    """Something to know, under its name."""

    name: str
    text: Text


@dataclass(frozen=True)
class Cost:
    """What something took; each part in words, as it may be unknown."""

    what: str
    calls: str
    tokens: str
    money: str
    time: str


@dataclass(frozen=True)
class Examples:
    """
    The examples a task was judged on.

    Attributes:
        against: Which scores the compiled ones are compared with.
        rows: The examples, those to look at first first.
        total: How many there are.
        counts: How many got worse, better, stayed the same, failed.
        shown: The same for the rows.
        accepted: Whether there are reference scores.

    """

    against: str
    rows: tuple[Example, ...]
    total: int
    counts: dict[str, int]
    shown: dict[str, int]
    accepted: bool


@dataclass(frozen=True)
class Search:
    """
    A search for the compiled program.

    Attributes:
        sentence: How it went.
        rows: How many examples a candidate is measured on in full.
        baseline: The baseline's mean score, if it was measured.
        score: The winner's.
        points: The trials.
        total: How many there are.
        winner: The number of the winning trial; None if the baseline won.

    """

    sentence: str
    rows: int
    baseline: float | None
    score: float
    points: tuple[charts.Point, ...]
    total: int
    winner: int | None


@dataclass(frozen=True)
class Found:
    """
    All there is to say about an outcome.

    Attributes:
        n: How many examples it was judged on.
        means: The mean score of each program.
        differences: To what it is compared with, what was lost first.
        shifts: How many examples changed, in words.
        changed: Which parts of the prompt changed.
        verdicts: Those that did not pass first.
        stale: What changed since the reference was accepted.
        bars: The scores, counted.
        examples: The examples.
        prompts: The prompts against earlier ones.
        search: The search, if there was one.
        costs: What it took.
        facts: What else there is to know.
        paid: What this run paid.

    """

    n: int
    means: dict[str, float]
    differences: tuple[Difference, ...]
    shifts: str
    changed: Text
    verdicts: tuple[Judgement, ...]
    stale: Text | None
    bars: charts.Bars
    examples: Examples
    prompts: tuple[Prompts, ...]
    search: Search | None
    costs: tuple[Cost, ...]
    facts: tuple[Fact, ...]
    paid: str


@dataclass(frozen=True)
class Task:
    """
    A task in a test.

    Attributes:
        anchor: Where it is in the page.
        name: The task's name.
        test: The test's node id.
        place: Its file and line.
        word: The worst verdict.
        status: What pytest says.
        effort: What it took, in words.
        message: Why the test did not pass.
        repeats: Whether a verdict that did not pass says that, too.
        brief: The first line of that.
        found: What was found out; None where nothing was.

    """

    anchor: str
    name: Text
    test: Text
    place: str
    word: Word
    status: str
    effort: str
    message: Text | None
    repeats: bool
    brief: str
    found: Found | None


@dataclass(frozen=True)
class Page:
    """
    A whole report.

    Attributes:
        headline: The most important there is to say.
        tally: How many tasks there are of each kind.
        accepted: Whether any task has a reference to compare with.
        brief: When it was and what it took, on one line.
        facts: About the session.
        tasks: Those that need somebody first.
        orphans: References of no test.
        notes: What is left out.
        created: When.

    """

    headline: str
    tally: tuple[tuple[Word, int], ...]
    accepted: bool
    brief: str
    facts: tuple[Fact, ...]
    tasks: tuple[Task, ...]
    orphans: tuple[Text, ...]
    notes: tuple[str, ...]
    created: str


def page(summary: Summary, limits: Limits) -> Page:
    """Return what is shown of ``summary`` within ``limits``."""
    urgent = worst_first(summary.tasks)
    tasks = tuple(
        _task(number, task, limits) for number, task in enumerate(urgent[: limits.tasks], 1)
    )
    orphans = (summary.orphans or ())[: limits.rows]
    counts = {word: sum(task.word == word for task in urgent) for word in _URGENT}
    return Page(
        headline=headline(summary),
        tally=tuple((word, count) for word, count in counts.items() if count),
        accepted=any(task.found and "accepted" in task.found.means for task in tasks),
        brief=_brief(summary),
        facts=tuple(_session_facts(summary, limits)),
        tasks=tasks,
        orphans=tuple(folded(each, limits) for each in orphans),
        notes=tuple(_notes(summary, tasks, limits)),
        created=_when(summary)[:100],
    )


def _session_facts(summary: Summary, limits: Limits) -> Iterator[Fact]:
    usage = summary.usage
    said = {
        "When": _when(summary),
        "Took": formatting.duration(summary.seconds),
        "Language models": formatting.calls(usage),
        "Tokens": f"{usage.prompt_tokens:,} asked, {usage.completion_tokens:,} answered",
        "Cost": formatting.money(usage),
        "Store": summary.store or "none",
        "Versions": ", ".join(f"{name} {version}" for name, version in summary.versions.items()),
    }
    for name, each in said.items():
        yield Fact(name, folded(each, limits))


def _brief(summary: Summary) -> str:
    took, usage = formatting.duration(summary.seconds), summary.usage
    return f"{_when(summary)[:100]}, {took}, {formatting.calls(usage)}, {formatting.cost(usage)}"


def _when(summary: Summary) -> str:
    return summary.created.replace("T", " ", 1)


def _notes(summary: Summary, tasks: Sequence[Task], limits: Limits) -> Iterator[str]:
    if len(tasks) < len(summary.tasks):
        yield f"The first {len(tasks):,} of {len(summary.tasks):,} tasks are shown."
    judged = [task.report.held_out for task in summary.tasks if task.report is not None]
    if any(len(each) > limits.rows for each in judged):
        yield f"Of each task, {limits.rows:,} examples are shown, the worst first."
    if limits is not LIMITS[0]:
        yield f"Texts end after {limits.characters:,} characters."


def _task(number: int, task: TaskSummary, limits: Limits) -> Task:
    return Task(
        anchor=f"task-{number}",
        name=folded(task.task, limits),
        test=folded(task.test, limits),
        place=f"{task.file[-200:]}:{task.line}",
        word=task.word,
        status=task.status,
        effort=task.effort[: limits.characters],
        message=unfolded(task.message, limits) if task.message.strip() else None,
        repeats=repeats(task),
        brief=formatting.shortened(task.message.strip().partition("\n")[0], _BRIEF),
        found=None if task.report is None else _found(task.report, limits),
    )


def _found(report: Report, limits: Limits) -> Found:
    cards = {"baseline": report.baseline, "compiled": report.compiled}
    if report.accepted is not None:
        cards["accepted"] = report.accepted
    return Found(
        n=report.comparison.n,
        means={name: card.score for name, card in cards.items() if card.scores},
        differences=tuple(_differences(report, limits)),
        shifts=shifts(report),
        changed=folded(_changed(report), limits),
        verdicts=tuple(_judgement(each, limits) for each in unmet_first(report)[: limits.few]),
        stale=unfolded(report.stale, limits) if report.stale.strip() else None,
        bars=charts.bars({name: card.scores for name, card in cards.items()}),
        examples=_examples(report, limits),
        prompts=tuple(compared_prompts(report, limits)),
        search=None if report.search is None else _search(report.search, limits),
        costs=tuple(_costs(report)),
        facts=tuple(
            Fact(name, unfolded(each, limits)) for name, each in _facts(report) if each.strip()
        ),
        paid=formatting.cost(report.usage),
    )


def _judgement(verdict: Verdict, limits: Limits) -> Judgement:
    doubted = verdict.word == "INCONCLUSIVE" and verdict.tolerated
    question = VERDICT_KINDS[verdict.kind].label
    return Judgement(verdict.word, question, unfolded(verdict.sentence, limits), doubted)


def _differences(report: Report, limits: Limits) -> Iterator[Difference]:
    """Yield what was lost where it is not the baseline that was missed, and the difference."""
    others = lost_elsewhere(report)
    for question, compared in others[: limits.few]:
        yield Difference(formatting.shortened(question, _NAME), *_halves(compared))
    yield Difference("baseline" if others else "", *_halves(report.comparison))


def _halves(comparison: PairedComparison) -> tuple[str, str]:
    difference, _, bounds = formatting.interval(comparison).partition(" ")
    return difference, bounds


def _changed(report: Report) -> str:
    """Return in words what is new in the prompt."""
    other = formatting.PROGRAMS[since(report)]
    named = changed_parts(prompt_changes(earlier_prompts(report), report.prompts_after))
    if not named:
        return f"the prompt is that of the {other}"
    return f"changed in the prompt since the {other}: {', '.join(named)}"


def _examples(report: Report, limits: Limits) -> Examples:
    compared = since(report)
    number = {id(example): place for place, example in enumerate(report.held_out, 1)}
    first = worst(report)
    urgent = {id(example) for example in first}
    ordered = [*first, *(each for each in report.held_out if id(each) not in urgent)]
    rows = ordered[: limits.rows]
    return Examples(
        against=formatting.PROGRAMS[compared],
        rows=tuple(_example(number[id(each)], each, compared, limits) for each in rows),
        total=len(ordered),
        counts=_counts(ordered, compared),
        shown=_counts(rows, compared),
        accepted=report.accepted is not None,
    )


def _example(number: int, example: HeldOutExample, compared: Since, limits: Limits) -> Example:
    return Example(
        number=number,
        inputs=folded(formatting.fields(example.inputs), limits),
        expected=folded(formatting.fields(example.expected), limits),
        baseline_says=_answer(example.baseline, limits),
        compiled_says=_answer(example.compiled, limits),
        baseline=example.baseline.score,
        compiled=example.compiled.score,
        accepted=example.accepted,
        shift=_shift(example, compared),
        failed=bool(example.compiled.failures),
    )


def _answer(answer: ExampleResult, limits: Limits) -> Text:
    """Return what a program answered, with the tracebacks of its failures folded away."""
    failed = [f"{failure.type}: {failure.message}" for failure in answer.failures]
    said = [
        formatting.prediction(each)
        for each in answer.predictions
        if not (each is None and answer.failures)
    ]
    if len(answer.predictions) > 1:
        said = [f"{number}. {each}" for number, each in enumerate(said, 1)]
    first = "\n".join([*said, *failed]) or formatting.NOT_KEPT
    whole = "\n".join([first, *(failure.traceback for failure in answer.failures)])
    head = folded(first, limits).head
    kept = whole[: limits.characters]
    return Text(head, kept[len(head) :].rstrip("\n"), len(whole) - len(kept))


def _shift(example: HeldOutExample, compared: Since) -> Shift:
    unknown = compared == "accepted" and example.accepted is None
    return "new" if unknown else change(example, compared)


def _counts(examples: Sequence[HeldOutExample], compared: Since) -> dict[str, int]:
    shifts = [_shift(each, compared) for each in examples]
    counts = {shift: shifts.count(shift) for shift in ("worse", "better", "same", "new")}
    failed = sum(bool(each.compiled.failures) for each in examples)
    return {"all": len(examples), **counts, "failed": failed}


def _search(log: SearchLog, limits: Limits) -> Search:
    every = charts.points(log)
    winner = next((each.trial.number for each in every if each.kind == "winner"), None)
    most = min(limits.rows, charts.MOST_TRIALS)
    kept = sorted(every, key=lambda each: (each.kind != "winner", -each.trial.rows))[:most]
    return Search(
        sentence=_searched(log, every, winner),
        rows=log.rows,
        baseline=log.baseline,
        score=log.score,
        points=tuple(sorted(kept, key=lambda each: each.trial.number)),
        total=len(every),
        winner=winner,
    )


def _searched(log: SearchLog, every: Sequence[charts.Point], winner: int | None) -> str:
    dropped = sum(each.trial.dropped for each in every)
    rows = sum(each.trial.rows for each in every)
    won = "the program as it came" if log.winner.is_baseline else "the winner"
    which = "" if winner is None else f" (trial {winner})"
    before = "was not measured" if log.baseline is None else f"scores {log.baseline:.3f}"
    return (
        f"{counted(len(every), 'trial')} on {counted(rows, 'row')}, {dropped:,} dropped early. "
        f"On the {counted(log.rows, 'validation example')} the baseline {before} "
        f"and {won}{which} {log.score:.3f}."
    )


def _costs(report: Report) -> Iterator[Cost]:
    yield _cost("This run, in all", report.usage, formatting.duration(report.seconds))
    for name, card in (("Baseline", report.baseline), ("Compiled", report.compiled)):
        latency = "unknown" if card.latency is None else f"{card.latency:.2f} s"
        examples = max(len(card.scores), 1)
        yield _cost(f"{name}, a held-out example", card.usage, latency, examples)


def _cost(what: str, usage: Usage, time: str, examples: int | None = None) -> Cost:
    """Return what ``usage`` comes to: of one of the examples, or in all if none are given."""
    if not usage.calls:
        return Cost(what, "none", "none", "none", time)
    if examples is None:
        return Cost(what, f"{usage.calls:,}", f"{usage.tokens:,}", formatting.money(usage), time)
    calls, tokens = f"{usage.calls / examples:.1f}", f"{usage.tokens / examples:,.0f}"
    money = "unknown" if usage.cost is None else f"${usage.cost / examples:.6f}"
    return Cost(what, calls, tokens, money, time)


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    yield "Model", report.model
    yield "Compiled because", "\n".join(report.reasons)
    if report.cut is not None:
        cut = report.cut
        yield "Search cut", f"at {cut.limit}: {cut.left:,.6g} {cut.what} were left for it"
    yield "Accepted", render_acceptances([report])
    if report.resumed:
        yield "Resumed", f"with {counted(report.resumed, 'stored result')}"
    yield "Statistics", _statistics(report)
    yield "Key", report.key
    yield "Store", report.store


def _statistics(report: Report) -> str:
    found = report.comparison
    clusters = f" in {found.clusters:,} clusters" if found.clusters else ""
    answers = f", {found.rollouts} answers each" if found.rollouts > 1 else ""
    return (
        f"{found.method}, n = {found.n:,}{clusters}{answers}, p = {found.p_value:.2g}, "
        f"{found.confidence:.0%} interval, detectable difference {found.detectable:.3f}"
    )
