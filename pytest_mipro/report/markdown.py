"""
The summary as GitHub-flavoured Markdown, for a comment or a job summary.

Whatever is not from this package is hostile here: names, messages, examples,
prompts. Such a text is shown by one of three functions only. ``inline`` puts
it into a code span, in which neither Markdown nor HTML, mentions, references
or links live; ``prose`` does so unless it is plain words and figures; ``block``
puts it into a fence that is longer than any inside. ``_tagged`` is ``inline``
for the one place where GitHub reads no Markdown, a ``<summary>``.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from pytest_mipro.report import escaping, formatting
from pytest_mipro.report.escaping import neutral
from pytest_mipro.report.prompt_changes import near_changes, prompt_changes
from pytest_mipro.report.summary import (
    earlier_program,
    earlier_prompts,
    effort,
    headline,
    other_losses,
    repeats_verdict,
    score_changes,
    unmet_first,
    worst_examples,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.records import HeldOutExample, PairedComparison, Report
    from pytest_mipro.report.prompt_changes import DiffLine, PromptChange
    from pytest_mipro.report.summary import Summary, TaskSummary

MARKER = "<!-- pytest-mipro -->"
"""The first line, which GitHub does not show; a workflow finds its comment by it."""
COMMENT_LIMIT = 65_536
"""The most characters of a comment on GitHub, and what a text takes at most in bytes, too."""

_EXAMPLES = 5
_NAME, _CELL, _SENTENCE, _LINE = 80, 160, 1_000, 500
_LINES = 100
_CONTEXT = 3
_SYMBOLS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "ERROR": "💥", "not judged": "⚪"}
_NOTHING = "-"
_COLUMNS = {
    "task": "---",
    "verdict": "---",
    "n": "--:",
    "baseline": "--:",
    "reference": "--:",
    "compiled": "--:",
    "difference [interval]": "--:",
    "LM calls": "--:",
    "cost": "--:",
    "effort": "---",
}
"""The table of tasks: its headings, and how Markdown aligns what is below each."""
# Words and figures in which GitHub finds nothing to link, whatever the repository is called.
_LINKED = r"(?:(?i:www|gh-|ghsa-|[0-9a-f]{7,})|[A-Z]+-[0-9])"
_PLAIN = re.compile(
    rf"""(?!.*\b{_LINKED}) [A-Za-z0-9+(\["'-]
    (?: [A-Za-z0-9 ()\[\]%=+"';-] | [.,](?=[0-9 ]|$) | :(?=\ |$) )*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Kind:
    """What a part shows, as the note on what was left out calls it."""

    one: str
    many: str
    rank: int


@dataclass(frozen=True)
class _Part:
    """A piece that is shown whole or not at all."""

    kind: _Kind
    text: str


_ROW = _Kind("table row", "table rows", 0)
_TASK = _Kind("task that did not pass", "tasks that did not pass", 1)
_EXAMPLE_TABLE = _Kind("table of examples", "tables of examples", 2)
_PROMPT = _Kind("prompt", "prompts", 2)
_PASSED_ROW = _Kind("table row of a passed task", "table rows of passed tasks", 3)
_PASSED = _Kind("passed task", "passed tasks", 4)
_RUN = _Kind("description of the run", "descriptions of the run", 5)


def render_markdown(summary: Summary, limit: int = COMMENT_LIMIT) -> str:
    """
    Return the summary as Markdown: a headline, a table, and what did not pass, worst first.

    Args:
        summary: What to show.
        limit: The most bytes in UTF-8, and so also the most characters. What
            matters least is left out first, in whole sections, and a note says
            what; nothing is returned if the headline does not fit.

    """
    tasks = worst_first(summary.tasks)
    head = neutral("\n".join(_head(summary, tasks)) + "\n")
    parts = [_Part(each.kind, neutral(each.text)) for each in _parts(summary, tasks)]
    whole = head + "".join(each.text for each in parts)
    if _size(whole) <= limit:
        return whole
    # Of all that can be left out, the longest note there can be.
    room = limit - _size(head) - _size(_left_out(parts, limit))
    if room < 0:
        return ""
    kept, left = _fit(parts, room)
    return head + "".join(each.text for each in kept) + _left_out(left, limit)


def inline(text: str, most: int = _CELL) -> str:
    """Return ``text`` as a code span, on one line and not longer than ``most``."""
    shown = _line(text, most)
    # A table takes a bar for the end of its cell, in a code span, too.
    shown = shown.replace("|", "\\|")
    ticks = "`" * (_longest_run(shown) + 1)
    # One space on each side is no part of the code, unless there are only spaces.
    padded = shown[0] in "` " or shown[-1] in "` "
    return f"{ticks} {shown} {ticks}" if padded and shown.strip() else f"{ticks}{shown}{ticks}"


def prose(text: str, most: int = _SENTENCE) -> str:
    """Return ``text`` as words if it is nothing else, or like ``inline``."""
    if len(text) > most or not _PLAIN.fullmatch(text):
        return inline(text, most)
    return re.sub(r"([\[\]])", r"\\\1", text)


def block(lines: Iterable[str], language: str) -> list[str]:
    """Return ``lines`` in a fence that none of them closes."""
    shown = [formatting.shortened(escaping.printable(line[: _LINE + 1]), _LINE) for line in lines]
    if len(shown) > _LINES:
        shown[_LINES:] = [f"… and {len(shown) - _LINES} more lines"]
    fence = "`" * max(3, _longest_run("\n".join(shown)) + 1)
    return [fence + language, *shown, fence]


def _tagged(text: str) -> str:
    return f"<code>{html.escape(_line(text, _NAME))}</code>"


def _line(text: str, most: int) -> str:
    # An escape is never shorter than what it shows.
    return formatting.shortened(escaping.inline(text[: most + 1]), most) or "(empty)"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)


def _size(text: str) -> int:
    return len(text.encode())


def _head(summary: Summary, tasks: Sequence[TaskSummary]) -> Iterator[str]:
    yield MARKER
    yield f"## {headline(summary)}"
    if tasks:
        referenced = _has_reference(tasks)
        yield ""
        yield _task_row(_COLUMNS, referenced=referenced)
        yield _task_row(_COLUMNS.values(), referenced=referenced)


def _has_reference(tasks: Iterable[TaskSummary]) -> bool:
    return any(task.report is not None and task.report.accepted for task in tasks)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _task_row(cells: Iterable[str], *, referenced: bool) -> str:
    """Return a row of the table of tasks, which has no column of what no task has."""
    named = zip(_COLUMNS, cells, strict=True)
    return _row(cell for name, cell in named if referenced or name != "reference")


def _cells(task: TaskSummary) -> list[str]:
    named = [inline(task.task, _NAME), _judged(task)]
    report = task.report
    if report is None:
        return [*named, *[_NOTHING] * (len(_COLUMNS) - len(named))]
    compared = report.comparison
    return [
        *named,
        str(compared.n),
        f"{compared.baseline:.3f}",
        _NOTHING if report.accepted is None else f"{report.accepted.score:.3f}",
        f"{compared.compiled:.3f}",
        "; ".join(_differences(report)),
        f"{report.usage.calls:,}",
        formatting.money(report.usage),
        prose(effort(report, with_calls=False)),
    ]


def _differences(report: Report) -> Iterator[str]:
    """Yield what was lost where it is not the baseline that was missed, and the difference."""
    others = other_losses(report)
    for question, compared in others:
        yield f"**{_interval(compared)}** {prose(question, _NAME)}"
    of = f" {formatting.PROGRAMS['baseline']}" if others else ""
    yield f"{_interval(report.comparison)}{of}"


def _interval(comparison: PairedComparison) -> str:
    # In brackets, some of it could be a link.
    return formatting.interval(comparison).replace("[", "\\[")


def _judged(task: TaskSummary) -> str:
    if task.status == "failed" and task.word != "FAIL":
        return f"{_SYMBOLS['FAIL']} failed, verdict {task.word}"
    if task.status == "error" and task.word != "ERROR":
        return f"{_SYMBOLS['ERROR']} error, verdict {task.word}"
    if not task.blocks and (task.status != "passed" or task.word == "FAIL"):
        return f"{_SYMBOLS['not judged']} {task.status}, verdict {task.word}"
    return f"{_SYMBOLS[task.word]} {task.word}"


def _parts(summary: Summary, tasks: Sequence[TaskSummary]) -> Iterator[_Part]:
    referenced = _has_reference(tasks)
    for task in tasks:
        kind = _ROW if task.blocks else _PASSED_ROW
        yield _Part(kind, _task_row(_cells(task), referenced=referenced) + "\n")
    for task in tasks:
        yield from _details(task)
    yield _Part(_RUN, _section(_run(summary)))


def _section(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in ["", *lines])


def _details(task: TaskSummary) -> Iterator[_Part]:
    if not task.blocks:
        title = f"{_judged(task)} {_tagged(task.task)}"
        yield _Part(_PASSED, _section(_folded(title, _told(task))))
        return
    title = f"### {_judged(task)}: {inline(task.task, _NAME)}"
    yield _Part(_TASK, _section([title, "", *_told(task), *_message(task)]))
    if task.report is not None:
        yield from _evidence(task.report)


def _folded(title: str, lines: Iterable[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _told(task: TaskSummary) -> Iterator[str]:
    yield f"- test: {inline(task.test)}, line {task.line}"
    if (report := task.report) is None:
        return
    for verdict in unmet_first(report):
        question, sentence = prose(verdict.question, _NAME), _clauses(verdict.sentence)
        yield f"- {_SYMBOLS[verdict.word]} **{verdict.word}** {question}: {sentence}"
    if report.stale:
        yield f"- note: {_clauses(report.stale)}"
    if report.reasons:
        yield f"- compiled because: {', '.join(map(prose, report.reasons))}"
    if report.model:
        yield f"- model: {inline(report.model, _NAME)}"


def _clauses(text: str) -> str:
    """Return a sentence of which only those clauses are code that are no plain words."""
    return "; ".join(map(prose, formatting.shortened(text, _SENTENCE).split("; ")))


def _message(task: TaskSummary) -> list[str]:
    if repeats_verdict(task) or not task.message:
        return []
    return ["", *block(task.message.split("\n"), "text")]


def _evidence(report: Report) -> Iterator[_Part]:
    if found := worst_examples(report):
        yield _Part(_EXAMPLE_TABLE, _section(_examples(report, found)))
    program = formatting.PROGRAMS[earlier_program(report)]
    for change in prompt_changes(earlier_prompts(report), report.prompts_after):
        yield _Part(_PROMPT, _section(_prompt(change, program)))


def _examples(report: Report, found: Sequence[HeldOutExample]) -> Iterator[str]:
    shown = found[:_EXAMPLES]
    count = f", {len(shown)} of {len(found)}" if len(found) > len(shown) else ""
    accepted = report.accepted is not None
    yield f"{score_changes(report)}. Examples to look at first{count}:"
    yield ""
    titles = ["input", "expected", "baseline says", "compiled says", "baseline", "compiled"]
    rules = ["---", "---", "---", "---", "--:", "--:"]
    if accepted:
        titles.insert(-1, "reference")
        rules.insert(-1, "--:")
    yield _row(titles)
    yield _row(rules)
    for example in shown:
        yield _row(_example(example, accepted=accepted))


def _example(example: HeldOutExample, *, accepted: bool) -> Iterator[str]:
    yield inline(formatting.fields_text(example.inputs))
    yield inline(formatting.fields_text(example.expected))
    yield inline(formatting.result_text(example.baseline))
    yield inline(formatting.result_text(example.compiled))
    yield f"{example.baseline.score:.3g}"
    if accepted:
        yield _NOTHING if example.accepted is None else f"{example.accepted:.3g}"
    yield f"{example.compiled.score:.3g}"


def _prompt(change: PromptChange, program: str) -> list[str]:
    name = _tagged(change.predictor)
    if change.is_none:
        return _folded(f"Prompt of {name}: as in the {program}", block(_diff(change), "text"))
    title = f"Prompt of {name}: what changed since the {program}"
    return _folded(title, block(_diff(change), "diff"))


def _diff(change: PromptChange) -> Iterator[str]:
    yield from _around_changes(change.instruction, everything=change.is_none)
    if change.demos:
        yield ""
        yield " demos:"
        yield from _around_changes(change.demos, everything=change.is_none)


def _around_changes(lines: Sequence[DiffLine], *, everything: bool) -> Iterator[str]:
    """Yield the lines that changed and some around them; the others are counted."""
    shown = [everything or near for near in near_changes(lines, _CONTEXT)]
    for is_shown, run in groupby(zip(shown, lines, strict=True), key=itemgetter(0)):
        kept = [f"{line.mark}{escaping.inline(line.text)}" for _, line in run]
        count = formatting.counted(len(kept), "line")
        yield from kept if is_shown else [f" … {count} as before …"]


def _run(summary: Summary) -> Iterator[str]:
    usage = summary.usage
    calls, cost = formatting.calls(usage), formatting.cost(usage)
    yield f"{calls}, {cost}, {formatting.duration(summary.seconds)}; store {inline(summary.store)}"
    if summary.orphans:
        yield ""
        shown = ", ".join(inline(each) for each in summary.orphans[:_EXAMPLES])
        more = len(summary.orphans) - _EXAMPLES
        rest = f" and {more} more" if more > 0 else ""
        yield f"References that belong to no test: {shown}{rest}"


def _fit(parts: Sequence[_Part], room: int) -> tuple[list[_Part], list[_Part]]:
    """Return the parts that fit, as they come, and those from the first that does not."""
    by_worth = sorted(range(len(parts)), key=lambda at: parts[at].kind.rank)
    kept: set[int] = set()
    for at in by_worth:
        room -= _size(parts[at].text)
        if room < 0:
            break
        kept.add(at)
    left = [each for at, each in enumerate(parts) if at not in kept]
    return [parts[at] for at in sorted(kept)], left


def _left_out(parts: Sequence[_Part], limit: int) -> str:
    counts = Counter(each.kind for each in parts)
    told = [
        f"{count} {kind.one if count == 1 else kind.many}"
        for kind, count in sorted(counts.items(), key=lambda item: item[0].rank)
    ]
    return (
        f"\nLeft out, to stay within {limit:,} bytes: {', '.join(told)}. "
        "The HTML and the JSON report have everything.\n"
    )
