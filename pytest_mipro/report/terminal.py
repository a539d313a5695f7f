"""Render the summary as lines for a terminal, none of them wider than the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, starmap
from typing import TYPE_CHECKING, Literal

from pytest_mipro.escaping import escaped_line, printable
from pytest_mipro.gate import cost_text, failed_answers, question
from pytest_mipro.report.formatting import (
    ELLIPSIS,
    PROGRAMS,
    cost,
    fields_text,
    interval,
    money,
    result_text,
    sample_size,
)
from pytest_mipro.report.prompt_changes import PROMPT_PARTS, prompt_diff
from pytest_mipro.report.summary import (
    earlier_program,
    earlier_prompts,
    effort,
    has_task_figures,
    score_changes,
    worst_examples,
)
from pytest_mipro.report.text_width import columns, cut, cut_middle, hung

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.records import HeldOutExample, PairedComparison, Prompt, Report, Verdict
    from pytest_mipro.report.summary import EarlierProgram, Summary, TaskSummary, TaskVerdict

Style = Literal["", "bold", "green", "red", "yellow"]

_STYLES: dict[TaskVerdict, Style] = {
    "PASS": "green",
    "FAIL": "red",
    "ERROR": "red",
    "INCONCLUSIVE": "yellow",
    "not judged": "",
}
_HEADINGS = ("task", "n", "baseline", "compiled", "difference", "verdict", "calls", "cost")
_LEFT = ("task", "verdict")
_MARGIN = 14
"""Columns of the longest verdict with a gap."""
_GAP = "  "
_LEAST_EFFORT = 30
"""Columns that a table needs for the effort, which is cut to them."""
_ROOMY = 64
"""Columns of a terminal that has room to indent by a verdict."""
_INTERRUPTED = "interrupted: not all tests were judged"


@dataclass(frozen=True)
class Segment:
    """A piece of a line.

    Attributes:
        text: Its text, safe for a terminal.
        style: Pytest's name for its style; empty for none.
    """

    text: str
    style: Style = ""


@dataclass(frozen=True)
class _Depth:
    """How many examples, and lines of each text, a failure shows; None for all."""

    examples: int | None
    value: int | None
    instruction: int | None
    demo: int | None
    changes: int | None


_DEPTHS = (
    _Depth(3, 1, 4, 1, 20),
    _Depth(10, 6, None, None, 100),
    _Depth(None, None, None, None, None),
)
"""By how many times -v was given."""
_FAILED_LINES = 4
"""Most lines about failed answers of a program in a test that passed."""
_TRACEBACKS = 3
"""Failures of a program that are shown with their tracebacks."""


def render_table(summary: Summary, width: int) -> list[tuple[Segment, ...]]:
    """Return the lines of a table of all tasks, or two to four lines a task if it is too wide.

    Args:
        summary: What to show.
        width: Columns of the terminal.
    """
    if not summary.tasks:
        return []
    lines = list(_tasks(summary.tasks, width))
    if summary.interrupted:
        lines += [(Segment(line, "bold"),) for line in hung("", _INTERRUPTED, width)]
    return lines


def render_details(task: TaskSummary, width: int) -> str:
    """Return the sentences of a task's verdicts, the reasons of its compile, and its prompts."""
    lines = hung("", escaped_line(f"{task.task} ({task.test})"), width)
    if task.report is None:
        return "\n".join([*lines, *hung("  ", escaped_line(task.message), width)])
    for verdict in task.report.verdicts:
        lines += hung("  ", escaped_line(f"{question(verdict)}: {verdict!r}"), width)
    if task.report.reasons:
        lines += hung(
            "  ", escaped_line(f"compiled because: {', '.join(task.report.reasons)}"), width
        )
    for prompt in task.report.prompts_after:
        lines += _prompt(prompt, width)
    return "\n".join(lines)


def render_failed_answers(task: TaskSummary, width: int) -> str:
    """Return how many answers of each program failed, with the first error; empty if none did.

    For a test that passed: one that fails shows the tracebacks.
    """
    if (report := task.report) is None or task.blocks:
        return ""
    lines: list[str] = []
    for name, card in (("compiled", report.compiled), ("baseline", report.baseline)):
        for first in card.failures[:1]:
            clause = f"{task.task}: {failed_answers(name, card)}"
            text = f"{clause}; the first is {first.type}: {first.message}"
            lines += hung("", escaped_line(text), width, _FAILED_LINES)
    return "\n".join(lines)


def render_failure(task: TaskSummary, width: int, verbosity: int = 0) -> str:
    """Return the section of a failed test: verdicts, failures, examples, changes of the prompt.

    Args:
        task: The task of the test.
        width: Columns of the terminal.
        verbosity: How many times -v was given: with more, more is shown.
    """
    report = task.report
    if report is None:
        return "\n".join(hung("", printable(task.message), width))
    depth = _DEPTHS[min(max(verbosity, 0), len(_DEPTHS) - 1)]
    more = "" if depth is _DEPTHS[-1] else "-vv shows all of it; "
    paragraphs = [
        _unmet_verdicts(report, width),
        _tracebacks(report, width),
        _worst_examples(report, depth, width),
        _prompt_diff(report, depth, width),
        hung("", f"{more}--mipro-report out.html is a page to sort and filter", width),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _labels(tasks: Sequence[TaskSummary]) -> list[str]:
    """Return the name of each task, with its test where several tasks have that name."""
    counts = Counter(task.task for task in tasks)
    return [
        escaped_line(task.task if counts[task.task] == 1 else f"{task.task} ({task.test})")
        for task in tasks
    ]


def _tasks(tasks: Sequence[TaskSummary], width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield a heading and a line a task, or some lines a task if that is too wide."""
    labelled = list(zip(tasks, _labels(tasks), strict=True))
    rows = list(starmap(_row, labelled))
    widths = [max(map(columns, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    room = width - sum(widths) - len(_GAP) * len(widths)
    efforts = [escaped_line(_effort(task)) for task in tasks]
    if room < min(max(map(columns, efforts)), _LEAST_EFFORT):
        for task, label in labelled:
            yield from _stack(task, label, width)
        return
    yield (Segment(_GAP.join(_aligned([*_HEADINGS, "effort"], widths)), "bold"),)
    for task, row, phrase in zip(tasks, rows, efforts, strict=True):
        yield _table_line(task, [*row, cut(phrase, room)], widths)
        yield from _further_metrics(task.report, len(_GAP), width)
        yield from _own_figures(task, len(_GAP), width)
        yield from _reason(task, len(_GAP), width)


def _row(task: TaskSummary, label: str) -> tuple[str, ...]:
    report = task.report
    if report is None:
        return (label, "", "", "", "", task.word, "", "")
    comparison, usage = report.comparison, report.usage
    return (
        label,
        sample_size(report),
        f"{comparison.comparator:.3f}",
        f"{comparison.compiled:.3f}",
        interval(comparison),
        task.word,
        f"{usage.calls:,}",
        money(usage),
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the cells of a line, filled to the widths of their columns except the last."""
    *measured, last = cells
    filled = []
    for name, cell, width in zip(_HEADINGS, measured, widths, strict=True):
        fill = " " * (width - columns(cell))
        filled.append(cell + fill if name in _LEFT else fill + cell)
    return [*filled, last]


def _table_line(
    task: TaskSummary, cells: Sequence[str], widths: Sequence[int]
) -> tuple[Segment, ...]:
    filled = _aligned(cells, widths)
    verdict = _HEADINGS.index("verdict")
    rest = _GAP.join(["", *filled[verdict + 1 :]]).rstrip()
    word = filled[verdict] if rest else task.word
    return (
        Segment(_GAP.join([*filled[:verdict], ""])),
        Segment(word, _STYLES[task.word]),
        Segment(rest),
    )


def _stack(task: TaskSummary, label: str, width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield the lines of a task where a table is too wide."""
    margin = _MARGIN if width >= _ROOMY else len(_GAP)
    word = task.word.ljust(margin - len(_GAP)) + _GAP
    yield Segment(word, _STYLES[task.word]), Segment(cut_middle(label, width - len(word)), "bold")
    if task.report is None:
        yield from _reason(task, margin, width)
        return
    # The difference to the baseline may be a gain where something else was lost.
    own_figures = list(_own_figures(task, margin, width))
    yield from own_figures
    name = [f"{PROGRAMS['baseline']}:"] if own_figures else []
    for line in _packed([*name, *_figures(task.report.comparison)], width - margin):
        yield from _lines(line, margin, width)
    yield from _further_metrics(task.report, margin, width)
    yield from _reason(task, margin, width)
    # Where a search was cut has to be seen, whatever else there is to say.
    most = 1 if width >= _ROOMY and task.report.cut is None else 2
    yield from _lines(_whole_effort(task, task.report), margin, width, most)


def _figures(comparison: PairedComparison) -> list[str]:
    means = comparison.comparator, comparison.compiled
    unit = comparison.unit
    texts = [f"{mean:.3f}" if unit == "score" else cost_text(mean, unit) for mean in means]
    return [" -> ".join(texts), interval(comparison), f"n = {comparison.n:,}"]


def _packed(facts: Iterable[str], width: int) -> list[str]:
    """Return facts in as few lines as possible."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(_GAP) + len(fact) <= width:
            lines[-1] += _GAP + fact
        else:
            lines.append(fact)
    return lines


def _further_metrics(
    report: Report | None, margin: int, width: int
) -> Iterator[tuple[Segment, ...]]:
    """Yield the figures of the metrics that are not optimized, compiled against baseline."""
    for scores in () if report is None else report.further:
        for line in _packed([f"{scores.metric}:", *_figures(scores.comparison)], width - margin):
            yield from _lines(line, margin, width)


def _own_figures(task: TaskSummary, margin: int, width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield the lines of unmet verdicts that have other figures than the task."""
    if (report := task.report) is None:
        return
    room = width - margin
    figures = [_verdict_figures(verdict, report, task.word, room) for verdict in report.verdicts]
    # A test may ask for the same verdict several times.
    for line in chain.from_iterable(dict.fromkeys(map(tuple, figures))):
        yield from _lines(line, margin, width)


def _reason(task: TaskSummary, margin: int, width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield the first line of a test's message, if every verdict passed."""
    has_unmet_verdict = task.report is not None and not all(task.report.verdicts)
    if task.blocks and not has_unmet_verdict and task.message.strip():
        yield from _lines(task.message.strip().partition("\n")[0], margin, width, most=2)


def _verdict_figures(
    verdict: Verdict, report: Report, task_word: TaskVerdict, width: int
) -> list[str]:
    """Return the lines of an unmet verdict; none if it has the figures of the task."""
    word = "" if verdict.word == task_word else f" {verdict.word}"
    name = f"{question(verdict)}:{word}"
    if verdict.word == "PASS" or has_task_figures(verdict, report):
        return []
    if verdict.comparison is None:
        return [f"{name} {verdict.sentence}"]
    return _packed([name, *_figures(verdict.comparison)], width)


def _lines(text: str, margin: int, width: int, most: int = 1) -> Iterator[tuple[Segment, ...]]:
    for line in hung(" " * margin, escaped_line(text), width, most):
        yield (Segment(line),)


def _effort(task: TaskSummary) -> str:
    """Return the effort and its reasons, without the calls, which have their own column."""
    if task.report is None:
        return task.effort
    return effort(task.report, with_calls=False) + _reasons(task.report)


def _whole_effort(task: TaskSummary, report: Report) -> str:
    paid = f", {cost(report.usage)}" if report.usage.calls else ""
    return f"{task.effort}{paid}{_reasons(report)}"


def _reasons(report: Report) -> str:
    return f": {', '.join(report.reasons)}" if report.reasons else ""


def _prompt(prompt: Prompt, width: int) -> Iterator[str]:
    name = escaped_line(prompt.predictor)
    yield from hung("  ", f"compiled instruction of {name}:", width)
    yield from hung("    ", printable(prompt.instruction) or "(empty)", width)
    yield from hung("  ", f"compiled demos of {name}: {len(prompt.demos) or 'none'}", width)
    for demo in prompt.demos:
        yield from hung("    ", escaped_line(fields_text(demo)), width)


def _unmet_verdicts(report: Report, width: int) -> list[str]:
    """Return the verdicts that did not pass, or the figures, and what is out of date."""
    unmet = [f"{question(verdict)}: {verdict!r}" for verdict in report.verdicts if not verdict]
    texts = [*(unmet or [_measured(report)]), *([report.stale] if report.stale else [])]
    return [line for text in texts for line in hung("", escaped_line(text), width)]


def _measured(report: Report) -> str:
    comparison = report.comparison
    scores = [f"baseline {comparison.comparator:.3f}", f"compiled {comparison.compiled:.3f}"]
    if report.accepted is not None:
        scores.insert(1, f"reference {report.accepted.score:.3f}")
    of = "" if report.accepted is None else " from the baseline"
    return f"{', '.join(scores)}, difference{of} {interval(comparison)}, n = {comparison.n:,}"


def _tracebacks(report: Report, width: int) -> list[str]:
    """Return how many answers of each program failed, and the first tracebacks."""
    programs = {"compiled": report.compiled, "baseline": report.baseline}
    failing = {name: card for name, card in programs.items() if card.failures}
    if not failing:
        return []
    counts = (
        f"the {name} program failed on {len(card.failures):,} of "
        f"{len(card.scores) * card.rollouts:,} answers"
        for name, card in failing.items()
    )
    failures = list(chain.from_iterable(card.failures for card in failing.values()))
    shown = failures[:_TRACEBACKS]
    is_part = len(shown) < len(failures)
    extent = f"the first {len(shown)} of {len(failures):,}" if is_part else "all of them"
    lines = hung("", f"{', '.join(counts)}; each scores 0; {extent}:", width)
    for failure in shown:
        lines += hung("  ", printable(failure.traceback.rstrip()), width)
    return lines


def _worst_examples(report: Report, depth: _Depth, width: int) -> list[str]:
    worst = worst_examples(report)
    shown = worst[: depth.examples]
    if not worst:
        return []
    count = f" {len(shown)}" if len(shown) < len(worst) else ""
    lines = hung("", f"{score_changes(report)}; the worst{count}:", width)
    for number, example in enumerate(shown, 1):
        head = f"{number:>{len(str(len(shown))) + 2}}  "
        lines += hung(head, _scores(example, earlier_program(report)), width)
        lines += _values(example, " " * len(head), depth, width)
    return lines


def _scores(example: HeldOutExample, program: EarlierProgram) -> str:
    """Return how the score changed since an earlier program, with the baseline's score."""
    baseline, compiled = f"{example.baseline.score:.3f}", f"{example.compiled.score:.3f}"
    if program == "baseline":
        return f"score {baseline} -> {compiled}"
    if example.accepted is None:
        return f"score {compiled}, baseline {baseline}, not in the reference"
    return f"score {example.accepted:.3f} -> {compiled}, baseline {baseline}"


def _values(example: HeldOutExample, margin: str, depth: _Depth, width: int) -> Iterator[str]:
    values = {
        "input": fields_text(example.inputs),
        "expected": fields_text(example.expected),
        "baseline": result_text(example.baseline),
        "compiled": result_text(example.compiled),
    }
    for name, value in values.items():
        if value or name != "expected":
            text = escaped_line(value) if depth.value == 1 else printable(value)
            yield from hung(f"{margin}{name:<8}  ", text, width, depth.value)


def _prompt_diff(report: Report, depth: _Depth, width: int) -> list[str]:
    """Return how the prompt differs from that of the program to compare with first."""
    program = f"the {PROGRAMS[earlier_program(report)]}"
    lines: list[str] = []
    for part, most in zip(PROMPT_PARTS, (depth.instruction, depth.demo), strict=True):
        diff = prompt_diff(earlier_prompts(report), report.prompts_after, [part])
        for head, text in diff:
            lines += hung(f"  {head}", escaped_line(text), width, most)
    if not lines:
        return hung("", f"the prompt is that of {program}", width)
    if depth.changes is not None and len(lines) > depth.changes:
        more = f"  {ELLIPSIS} {len(lines) - depth.changes:,} more lines with -v"
        lines[depth.changes :] = [more if depth is _DEPTHS[0] else f"{more}v"]
    return [*hung("", f"the prompt since {program}:", width), *lines]
