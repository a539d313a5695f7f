"""The summary as lines for a terminal, none of them wider than it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, starmap
from typing import TYPE_CHECKING, Literal

from pytest_mipro.gate import amount
from pytest_mipro.report.escaping import inline, printable
from pytest_mipro.report.formatting import (
    ELLIPSIS,
    PROGRAMS,
    cost,
    fields_text,
    interval,
    money,
    result_text,
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
"""Columns of the longest verdict and a gap."""
_GAP = "  "
_EFFORT = 30
"""Columns from which on a table is wide enough for the effort, cut as may be."""
_ROOMY = 64
"""Columns from which on there is room to indent by a verdict."""
_INTERRUPTED = "interrupted: not all tests were judged"


@dataclass(frozen=True)
class Segment:
    """
    A piece of a line.

    Attributes:
        text: Safe to be written.
        style: How, by pytest's name for it; empty for nothing special.

    """

    text: str
    style: Style = ""


@dataclass(frozen=True)
class _Depth:
    """How many of the examples, and lines of what else a failure shows; None is all."""

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
"""By how often -v was given."""
_TRACEBACKS = 3
"""Failures of a program that are shown in whole."""


def table(summary: Summary, width: int) -> list[tuple[Segment, ...]]:
    """
    Return the lines of a table of all tasks, or two to four lines a task where it is too wide.

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


def details(task: TaskSummary, width: int) -> str:
    """Return the sentences of a task's verdicts, why it was compiled, and its prompts."""
    lines = hung("", inline(f"{task.task} ({task.test})"), width)
    if task.report is None:
        return "\n".join([*lines, *hung("  ", inline(task.message), width)])
    for verdict in task.report.verdicts:
        lines += hung("  ", inline(f"{verdict.question}: {verdict!r}"), width)
    if task.report.reasons:
        lines += hung("  ", inline(f"compiled because: {', '.join(task.report.reasons)}"), width)
    for prompt in task.report.prompts_after:
        lines += _prompt(prompt, width)
    return "\n".join(lines)


def failure(task: TaskSummary, width: int, verbosity: int = 0) -> str:
    """
    Return what somebody wants to know whose test just failed.

    Args:
        task: The task of the test.
        width: Columns of the terminal.
        verbosity: How often -v was given: with more, more is shown.

    """
    report = task.report
    if report is None:
        return "\n".join(hung("", printable(task.message), width))
    depth = _DEPTHS[min(max(verbosity, 0), len(_DEPTHS) - 1)]
    parts = [
        _said(report, width),
        _failed(report, width),
        _worst(report, depth, width),
        _changed(report, depth, width),
    ]
    more = "" if depth is _DEPTHS[-1] else "-vv shows all of it; "
    parts.append(hung("", f"{more}--mipro-report out.html is a page to sort and filter", width))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _labels(tasks: Sequence[TaskSummary]) -> list[str]:
    """Return what to call each task: by its test, too, if others are called the same."""
    often = Counter(task.task for task in tasks)
    return [
        inline(task.task if often[task.task] == 1 else f"{task.task} ({task.test})")
        for task in tasks
    ]


def _tasks(tasks: Sequence[TaskSummary], width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield a heading and a line a task, or some lines a task where that is too wide."""
    named = list(zip(tasks, _labels(tasks), strict=True))
    rows = list(starmap(_row, named))
    widths = [max(map(columns, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    room = width - sum(widths) - len(_GAP) * len(widths)
    efforts = [inline(_effort(task)) for task in tasks]
    if room < min(max(map(columns, efforts)), _EFFORT):
        for task, label in named:
            yield from _stack(task, label, width)
        return
    yield (Segment(_GAP.join(_aligned([*_HEADINGS, "effort"], widths)), "bold"),)
    for task, row, done in zip(tasks, rows, efforts, strict=True):
        yield _tabled(task, [*row, cut(done, room)], widths)
        yield from _others(task, len(_GAP), width)
        yield from _reason(task, len(_GAP), width)


def _row(task: TaskSummary, label: str) -> tuple[str, ...]:
    report = task.report
    if report is None:
        return (label, "", "", "", "", task.word, "", "")
    compared, usage = report.comparison, report.usage
    return (
        label,
        f"{compared.n:,}",
        f"{compared.baseline:.3f}",
        f"{compared.compiled:.3f}",
        interval(compared),
        task.word,
        f"{usage.calls:,}",
        money(usage),
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the cells of a line as wide as their columns; the last has no end."""
    *measured, last = cells
    filled = []
    for name, cell, width in zip(_HEADINGS, measured, widths, strict=True):
        fill = " " * (width - columns(cell))
        filled.append(cell + fill if name in _LEFT else fill + cell)
    return [*filled, last]


def _tabled(task: TaskSummary, cells: Sequence[str], widths: Sequence[int]) -> tuple[Segment, ...]:
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
    """Yield the lines of a task that does not fit into one."""
    margin = _MARGIN if width >= _ROOMY else len(_GAP)
    word = task.word.ljust(margin - len(_GAP)) + _GAP
    yield Segment(word, _STYLES[task.word]), Segment(cut_middle(label, width - len(word)), "bold")
    if task.report is None:
        yield from _reason(task, margin, width)
        return
    # The difference to the baseline may be a gain where something else was lost.
    others = list(_others(task, margin, width))
    yield from others
    name = [f"{PROGRAMS['baseline']}:"] if others else []
    for line in _packed([*name, *_figures(task.report.comparison)], width - margin):
        yield from _lines(line, margin, width)
    yield from _reason(task, margin, width)
    most = 1 if width >= _ROOMY else 2
    yield from _lines(_whole_effort(task, task.report), margin, width, most)


def _figures(compared: PairedComparison) -> list[str]:
    if compared.unit != "score":
        amounts = (amount(each, compared.unit) for each in (compared.baseline, compared.compiled))
        return [" -> ".join(amounts), interval(compared), f"n = {compared.n:,}"]
    scores = f"{compared.baseline:.3f} -> {compared.compiled:.3f}"
    return [scores, interval(compared), f"n = {compared.n:,}"]


def _packed(facts: Iterable[str], width: int) -> list[str]:
    """Return facts in as few lines as they fit in."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(_GAP) + len(fact) <= width:
            lines[-1] += _GAP + fact
        else:
            lines.append(fact)
    return lines


def _others(task: TaskSummary, margin: int, width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield what a task was compared with besides the baseline, where it did not pass."""
    if task.report is None:
        return
    room = width - margin
    told = [_other_figures(each, task.report, task.word, room) for each in task.report.verdicts]
    # A test may ask the same several times.
    for line in chain.from_iterable(dict.fromkeys(map(tuple, told))):
        yield from _lines(line, margin, width)


def _reason(task: TaskSummary, margin: int, width: int) -> Iterator[tuple[Segment, ...]]:
    """Yield why a test did not pass, where no verdict says it."""
    says_why = task.report is not None and not all(task.report.verdicts)
    if task.blocks and not says_why and task.message.strip():
        yield from _lines(task.message.strip().partition("\n")[0], margin, width, most=2)


def _other_figures(verdict: Verdict, report: Report, told: TaskVerdict, width: int) -> list[str]:
    """Return the figures of a verdict that did not pass, if they are other than the task's."""
    name = f"{verdict.question}:" + ("" if verdict.word == told else f" {verdict.word}")
    if verdict.word == "PASS" or has_task_figures(verdict, report):
        return []
    if verdict.comparison is None:
        return [f"{name} {verdict.sentence}"]
    return _packed([name, *_figures(verdict.comparison)], width)


def _lines(text: str, margin: int, width: int, most: int = 1) -> Iterator[tuple[Segment, ...]]:
    for line in hung(" " * margin, inline(text), width, most):
        yield (Segment(line),)


def _effort(task: TaskSummary) -> str:
    """Return what was done, and why; the calls have their own column."""
    if task.report is None:
        return task.effort
    return effort(task.report, with_calls=False) + _why(task.report)


def _whole_effort(task: TaskSummary, report: Report) -> str:
    paid = f", {cost(report.usage)}" if report.usage.calls else ""
    return f"{task.effort}{paid}{_why(report)}"


def _why(report: Report) -> str:
    return f": {', '.join(report.reasons)}" if report.reasons else ""


def _prompt(prompt: Prompt, width: int) -> Iterator[str]:
    name = inline(prompt.predictor)
    yield from hung("  ", f"compiled instruction of {name}:", width)
    yield from hung("    ", printable(prompt.instruction) or "(empty)", width)
    yield from hung("  ", f"compiled demos of {name}: {len(prompt.demos) or 'none'}", width)
    for demo in prompt.demos:
        yield from hung("    ", inline(fields_text(demo)), width)


def _said(report: Report, width: int) -> list[str]:
    """Return what did not pass, or else the figures, and what changed since the reference."""
    unmet = [f"{verdict.question}: {verdict!r}" for verdict in report.verdicts if not verdict]
    said = [*(unmet or [_measured(report)]), *([report.stale] if report.stale else [])]
    return [line for text in said for line in hung("", inline(text), width)]


def _measured(report: Report) -> str:
    compared = report.comparison
    scores = [f"baseline {compared.baseline:.3f}", f"compiled {compared.compiled:.3f}"]
    if report.accepted is not None:
        scores.insert(1, f"reference {report.accepted.score:.3f}")
    of = "" if report.accepted is None else " from the baseline"
    return f"{', '.join(scores)}, difference{of} {interval(compared)}, n = {compared.n:,}"


def _failed(report: Report, width: int) -> list[str]:
    """Return how often the programs could not answer, and the first tracebacks."""
    cards = {"compiled": report.compiled, "baseline": report.baseline}
    failed = {name: card for name, card in cards.items() if card.failures}
    if not failed:
        return []
    counts = (
        f"the {name} program failed on {len(card.failures):,} of "
        f"{len(card.scores) * card.rollouts:,} answers"
        for name, card in failed.items()
    )
    every = list(chain.from_iterable(card.failures for card in failed.values()))
    shown = every[:_TRACEBACKS]
    some = f"the first {len(shown)} of {len(every):,}" if len(shown) < len(every) else "all of them"
    lines = hung("", f"{', '.join(counts)}; each scores 0; {some}:", width)
    for failure in shown:
        lines += hung("  ", printable(failure.traceback.rstrip()), width)
    return lines


def _worst(report: Report, depth: _Depth, width: int) -> list[str]:
    found = worst_examples(report)
    shown = found[: depth.examples]
    if not found:
        return []
    some = f" {len(shown)}" if len(shown) < len(found) else ""
    lines = hung("", f"{score_changes(report)}; the worst{some}:", width)
    for number, example in enumerate(shown, 1):
        head = f"{number:>{len(str(len(shown))) + 2}}  "
        lines += hung(head, _scores(example, earlier_program(report)), width)
        lines += _values(example, " " * len(head), depth, width)
    return lines


def _scores(example: HeldOutExample, compared: EarlierProgram) -> str:
    """Return how the score changed; where that is since the reference, also the baseline's."""
    baseline, then = f"{example.baseline.score:.3f}", f"{example.compiled.score:.3f}"
    if compared == "baseline":
        return f"score {baseline} -> {then}"
    if example.accepted is None:
        return f"score {then}, baseline {baseline}, not in the reference"
    return f"score {example.accepted:.3f} -> {then}, baseline {baseline}"


def _values(example: HeldOutExample, margin: str, depth: _Depth, width: int) -> Iterator[str]:
    values = {
        "input": fields_text(example.inputs),
        "expected": fields_text(example.expected),
        "baseline": result_text(example.baseline),
        "compiled": result_text(example.compiled),
    }
    for name, value in values.items():
        if value or name != "expected":
            text = inline(value) if depth.value == 1 else printable(value)
            yield from hung(f"{margin}{name:<8}  ", text, width, depth.value)


def _changed(report: Report, depth: _Depth, width: int) -> list[str]:
    """Return how the prompt differs from what a reader compares it with first."""
    lines: list[str] = []
    for part, most in zip(PROMPT_PARTS, (depth.instruction, depth.demo), strict=True):
        diff = prompt_diff(earlier_prompts(report), report.prompts_after, [part])
        for head, text in diff:
            lines += hung(f"  {head}", inline(text), width, most)
    if not lines:
        return hung("", f"the prompt is that of {_other(report)}", width)
    if depth.changes is not None and len(lines) > depth.changes:
        more = f"  {ELLIPSIS} {len(lines) - depth.changes:,} more lines with -v"
        lines[depth.changes :] = [more if depth is _DEPTHS[0] else f"{more}v"]
    return [*hung("", f"the prompt since {_other(report)}:", width), *lines]


def _other(report: Report) -> str:
    """Return what a reader compares with first, in words."""
    return f"the {PROGRAMS[earlier_program(report)]}"
