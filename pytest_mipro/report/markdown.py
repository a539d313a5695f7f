"""Render the summary as GitHub-flavoured Markdown, for a comment or a job summary.

All text that is not from this package may be hostile: names, messages,
examples, prompts. Only three functions show such a text. ``code_span`` puts
it into a code span, in which GitHub reads no Markdown, HTML, mention, reference
or link; ``prose`` does so unless the text is plain words and figures; ``fenced``
puts it into a fence that is longer than any in the text. ``_tagged`` is
``code_span`` for a ``<summary>``, in which GitHub reads no Markdown.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from pytest_mipro import escaping
from pytest_mipro.escaping import neutral
from pytest_mipro.gate import question
from pytest_mipro.report import formatting
from pytest_mipro.report.migrations import HEADINGS as MIGRATION_HEADINGS
from pytest_mipro.report.migrations import migration_tables
from pytest_mipro.report.optimizers import HEADINGS, optimizer_tables
from pytest_mipro.report.prompt_changes import near_changes, prompt_changes
from pytest_mipro.report.summary import (
    earlier_program,
    earlier_prompts,
    effort,
    headline,
    other_losses,
    repeats_verdict,
    score_changes,
    seal_note,
    unmet_first,
    worst_examples,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_mipro.records import HeldOutExample, MetricScores, PairedComparison, Report
    from pytest_mipro.report.migrations import MigrationTable
    from pytest_mipro.report.optimizers import OptimizerRow
    from pytest_mipro.report.prompt_changes import DiffLine, PromptChange
    from pytest_mipro.report.summary import Summary, TaskSummary

MARKER = "<!-- pytest-mipro -->"
"""The first line, which GitHub does not show; a workflow recognizes its comment by it."""
COMMENT_LIMIT = 65_536
"""The most characters of a comment on GitHub; a text has at most as many bytes, too."""

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
"""The headings of the table of tasks, and how Markdown aligns their columns."""
# Words and figures in which GitHub finds nothing to link, whatever the repository is called.
_LINKED = r"(?:(?i:www|gh-|ghsa-|[0-9a-f]{7,})|[A-Z]+-[0-9])"
_PLAIN = re.compile(
    rf"""(?!.*\b{_LINKED}) [A-Za-z0-9+(\["'-]
    (?: [A-Za-z0-9 ()\[\]%=+"';-] | [.,](?=[0-9 ]|$) | :(?=\ |$) )*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _SectionKind:
    """A kind of section.

    Attributes:
        singular: Its name in the note on what is left out.
        plural: The name of several.
        rank: Its place in the order of importance; the last is left out first.
    """

    singular: str
    plural: str
    rank: int


@dataclass(frozen=True)
class _Section:
    """A piece of the text that is shown in full or left out."""

    kind: _SectionKind
    text: str


_ROW = _SectionKind("table row", "table rows", 0)
_TASK = _SectionKind("task that did not pass", "tasks that did not pass", 1)
_OPTIMIZERS = _SectionKind("table of optimizers", "tables of optimizers", 1)
_MIGRATION = _SectionKind("table of a move", "tables of moves", 1)
_EXAMPLE_TABLE = _SectionKind("table of examples", "tables of examples", 2)
_PROMPT = _SectionKind("prompt", "prompts", 2)
_PASSED_ROW = _SectionKind("table row of a passed task", "table rows of passed tasks", 3)
_PASSED = _SectionKind("passed task", "passed tasks", 4)
_RUN = _SectionKind("description of the run", "descriptions of the run", 5)


def render_markdown(summary: Summary, limit: int = COMMENT_LIMIT) -> str:
    """Return the summary as Markdown: a headline, a table, and what did not pass, worst first.

    Args:
        summary: What to show.
        limit: The most bytes in UTF-8, and so also the most characters. The
            least important sections are left out first, and a note counts
            them; the text is empty if the headline does not fit.
    """
    tasks = worst_first(summary.tasks)
    head = neutral("\n".join(_head(summary, tasks)) + "\n")
    sections = [
        _Section(section.kind, neutral(section.text)) for section in _sections(summary, tasks)
    ]
    full = head + "".join(section.text for section in sections)
    if _size(full) <= limit:
        return full
    # The note on all sections is the longest that there can be.
    room = limit - _size(head) - _size(_left_out(sections, limit))
    if room < 0:
        return ""
    shown, left = _fit(sections, room)
    return head + "".join(section.text for section in shown) + _left_out(left, limit)


def code_span(text: str, most: int = _CELL) -> str:
    """Return ``text`` as a code span, on one line and not longer than ``most``."""
    # A bar ends the cell of a table, in a code span, too.
    shown = _line(text, most).replace("|", "\\|")
    ticks = "`" * (_longest_run(shown) + 1)
    # One space on each side is no part of the code, unless there are only spaces.
    padded = shown[0] in "` " or shown[-1] in "` "
    return f"{ticks} {shown} {ticks}" if padded and shown.strip() else f"{ticks}{shown}{ticks}"


def prose(text: str, most: int = _SENTENCE) -> str:
    """Return ``text`` unquoted if it is plain words and figures, else as a code span."""
    if len(text) > most or not _PLAIN.fullmatch(text):
        return code_span(text, most)
    return re.sub(r"([\[\]])", r"\\\1", text)


def fenced(lines: Iterable[str], language: str) -> list[str]:
    """Return ``lines`` in a fence that is longer than any in them."""
    shown = [formatting.shortened(escaping.printable(line[: _LINE + 1]), _LINE) for line in lines]
    if len(shown) > _LINES:
        shown[_LINES:] = [f"… and {len(shown) - _LINES} more lines"]
    fence = "`" * max(3, _longest_run("\n".join(shown)) + 1)
    return [fence + language, *shown, fence]


def _tagged(text: str) -> str:
    return f"<code>{html.escape(_line(text, _NAME))}</code>"


def _line(text: str, most: int) -> str:
    # An escape is never shorter than the character it stands for.
    return formatting.shortened(escaping.escaped_line(text[: most + 1]), most) or "(empty)"


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
    """Return a row of the table of tasks, without the column of references if no task has one."""
    columns = zip(_COLUMNS, cells, strict=True)
    return _row(cell for name, cell in columns if referenced or name != "reference")


def _cells(task: TaskSummary) -> list[str]:
    first = [code_span(task.task, _NAME), _verdict(task)]
    report = task.report
    if report is None:
        return [*first, *[_NOTHING] * (len(_COLUMNS) - len(first))]
    comparison = report.comparison
    return [
        *first,
        formatting.sample_size(report),
        f"{comparison.comparator:.3f}",
        _NOTHING if report.accepted is None else f"{report.accepted.score:.3f}",
        f"{comparison.compiled:.3f}",
        "; ".join(_differences(report)),
        f"{report.usage.calls:,}",
        formatting.money(report.usage),
        prose(effort(report, with_calls=False)),
    ]


def _differences(report: Report) -> Iterator[str]:
    """Yield the differences of unmet verdicts, and that to the baseline."""
    losses = other_losses(report)
    for label, comparison in losses:
        yield f"**{_interval(comparison)}** {prose(label, _NAME)}"
    of = f" {formatting.PROGRAMS['baseline']}" if losses else ""
    yield f"{_interval(report.comparison)}{of}"


def _interval(comparison: PairedComparison) -> str:
    # A text in brackets could be a link.
    return formatting.interval(comparison).replace("[", "\\[")


def _verdict(task: TaskSummary) -> str:
    if task.status == "failed" and task.word != "FAIL":
        return f"{_SYMBOLS['FAIL']} failed, verdict {task.word}"
    if task.status == "error" and task.word != "ERROR":
        return f"{_SYMBOLS['ERROR']} error, verdict {task.word}"
    if not task.blocks and (task.status != "passed" or task.word == "FAIL"):
        return f"{_SYMBOLS['not judged']} {task.status}, verdict {task.word}"
    return f"{_SYMBOLS[task.word]} {task.word}"


def _sections(summary: Summary, tasks: Sequence[TaskSummary]) -> Iterator[_Section]:
    referenced = _has_reference(tasks)
    for task in tasks:
        kind = _ROW if task.blocks else _PASSED_ROW
        yield _Section(kind, _task_row(_cells(task), referenced=referenced) + "\n")
    for test, rows in optimizer_tables(summary):
        yield _Section(_OPTIMIZERS, _paragraph(_optimizers(test, rows)))
    for table in migration_tables(summary):
        yield _Section(_MIGRATION, _paragraph(_migration(table)))
    for task in tasks:
        yield from _details(task)
    yield _Section(_RUN, _paragraph(_run(summary)))


def _optimizers(test: str, rows: Sequence[OptimizerRow]) -> Iterator[str]:
    yield f"Optimizers of {code_span(test, _NAME)}"
    yield ""
    yield _row(HEADINGS)
    yield _row("---" for _ in HEADINGS)
    for row in rows:
        yield _row(prose(cell, _NAME) for cell in row)


def _migration(table: MigrationTable) -> Iterator[str]:
    yield f"{code_span(table.task, _NAME)}: {_clauses(table.moves)}"
    yield ""
    yield _row(MIGRATION_HEADINGS)
    yield _row("---" for _ in MIGRATION_HEADINGS)
    for row in table.rows:
        yield _row(prose(cell, _NAME) for cell in row)
    yield ""
    for note in table.notes:
        yield f"- {prose(note)}"


def _paragraph(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in ["", *lines])


def _details(task: TaskSummary) -> Iterator[_Section]:
    if not task.blocks:
        title = f"{_verdict(task)} {_tagged(task.task)}"
        yield _Section(_PASSED, _paragraph(_folded(title, _facts(task))))
        return
    title = f"### {_verdict(task)}: {code_span(task.task, _NAME)}"
    yield _Section(_TASK, _paragraph([title, "", *_facts(task), *_message(task)]))
    if task.report is not None:
        yield from _evidence(task.report)


def _folded(title: str, lines: Iterable[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _facts(task: TaskSummary) -> Iterator[str]:
    yield f"- test: {code_span(task.test)}, line {task.line}"
    if (report := task.report) is None:
        return
    for verdict in unmet_first(report):
        label, sentence = prose(question(verdict), _NAME), _clauses(verdict.sentence)
        yield f"- {_SYMBOLS[verdict.word]} **{verdict.word}** {label}: {sentence}"
    for scores in report.further:
        yield f"- metric {code_span(scores.metric, _NAME)}: {_figures(scores)}"
    if report.stale:
        yield f"- note: {_clauses(report.stale)}"
    if report.reasons:
        yield f"- compiled because: {', '.join(map(prose, report.reasons))}"
    if report.model:
        yield f"- model: {code_span(report.model, _NAME)}"


def _figures(scores: MetricScores) -> str:
    """Return the means and the difference by a metric that is not optimized."""
    accepted = "" if scores.accepted is None else f", reference {scores.accepted.score:.3f}"
    return (
        f"baseline {scores.baseline.score:.3f}{accepted}, compiled {scores.compiled.score:.3f}, "
        f"difference {_interval(scores.comparison)}"
    )


def _clauses(text: str) -> str:
    """Return a sentence in which those clauses are code that are not plain words."""
    return "; ".join(map(prose, formatting.shortened(text, _SENTENCE).split("; ")))


def _message(task: TaskSummary) -> list[str]:
    if repeats_verdict(task) or not task.message:
        return []
    return ["", *fenced(task.message.split("\n"), "text")]


def _evidence(report: Report) -> Iterator[_Section]:
    if worst := worst_examples(report):
        yield _Section(_EXAMPLE_TABLE, _paragraph(_examples(report, worst)))
    program = formatting.PROGRAMS[earlier_program(report)]
    for change in prompt_changes(earlier_prompts(report), report.prompts_after):
        yield _Section(_PROMPT, _paragraph(_prompt(change, program)))


def _examples(report: Report, worst: Sequence[HeldOutExample]) -> Iterator[str]:
    shown = worst[:_EXAMPLES]
    count = f", {len(shown)} of {len(worst)}" if len(worst) > len(shown) else ""
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
    yield code_span(formatting.fields_text(example.inputs))
    yield code_span(formatting.fields_text(example.expected))
    yield code_span(formatting.result_text(example.baseline))
    yield code_span(formatting.result_text(example.compiled))
    yield f"{example.baseline.score:.3g}"
    if accepted:
        yield _NOTHING if example.accepted is None else f"{example.accepted:.3g}"
    yield f"{example.compiled.score:.3g}"


def _prompt(change: PromptChange, program: str) -> list[str]:
    name = _tagged(change.predictor)
    if change.is_none:
        return _folded(f"Prompt of {name}: as in the {program}", fenced(_diff(change), "text"))
    title = f"Prompt of {name}: what changed since the {program}"
    return _folded(title, fenced(_diff(change), "diff"))


def _diff(change: PromptChange) -> Iterator[str]:
    yield from _around_changes(change.instruction, show_all=change.is_none)
    if change.demos:
        yield ""
        yield " demos:"
        yield from _around_changes(change.demos, show_all=change.is_none)


def _around_changes(lines: Sequence[DiffLine], *, show_all: bool) -> Iterator[str]:
    """Yield the lines that changed and some around them; the others are counted."""
    shown = [show_all or near for near in near_changes(lines, _CONTEXT)]
    for is_shown, run in groupby(zip(shown, lines, strict=True), key=itemgetter(0)):
        texts = [f"{line.mark}{escaping.escaped_line(line.text)}" for _, line in run]
        count = formatting.counted(len(texts), "line")
        yield from texts if is_shown else [f" … {count} as before …"]


def _run(summary: Summary) -> Iterator[str]:
    usage = summary.usage
    calls, cost = formatting.calls(usage), formatting.cost(usage)
    duration, store = formatting.duration(summary.seconds), code_span(summary.store)
    note = "; ".join(filter(None, [f"store {store}", seal_note(summary)]))
    yield f"{calls}, {cost}, {duration}; {note}"
    if summary.orphans:
        yield ""
        shown = ", ".join(code_span(path) for path in summary.orphans[:_EXAMPLES])
        more = len(summary.orphans) - _EXAMPLES
        rest = f" and {more} more" if more > 0 else ""
        yield f"References that belong to no test: {shown}{rest}"


def _fit(sections: Sequence[_Section], room: int) -> tuple[list[_Section], list[_Section]]:
    """Return the sections that fit, in their order, and those from the first that does not."""
    by_rank = sorted(range(len(sections)), key=lambda index: sections[index].kind.rank)
    fitting: set[int] = set()
    for index in by_rank:
        room -= _size(sections[index].text)
        if room < 0:
            break
        fitting.add(index)
    left = [section for index, section in enumerate(sections) if index not in fitting]
    return [sections[index] for index in sorted(fitting)], left


def _left_out(sections: Sequence[_Section], limit: int) -> str:
    counts = Counter(section.kind for section in sections)
    phrases = [
        f"{count} {kind.singular if count == 1 else kind.plural}"
        for kind, count in sorted(counts.items(), key=lambda item: item[0].rank)
    ]
    return (
        f"\nLeft out, to stay within {limit:,} bytes: {', '.join(phrases)}. "
        "The HTML and the JSON report have everything.\n"
    )
