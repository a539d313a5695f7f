"""Show what a move to another model, adapter or DSPy does to each task."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from pytest_mipro.escaping import escaped_line
from pytest_mipro.gate import cost_text
from pytest_mipro.report.formatting import calls, cost, counted, interval, mean_score
from pytest_mipro.report.text_width import hung, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.records import Migration, Scorecard
    from pytest_mipro.report.summary import Summary

_UNKNOWN = "unknown"
_NO_DIFFERENCE = "-"


class MigrationRow(NamedTuple):
    """One line of a table; ``HEADINGS`` has its columns."""

    program: str
    model: str
    score: str
    difference: str
    answer: str


HEADINGS = MigrationRow("program", "model", "score", "difference to the reference", "an answer")


@dataclass(frozen=True)
class MigrationTable:
    """The table of one task.

    Attributes:
        task: The name of the task.
        moves: What is another one than at the acceptance.
        rows: The programs.
        notes: Sentences below the table.
    """

    task: str
    moves: str
    rows: tuple[MigrationRow, ...]
    notes: tuple[str, ...]


def migration_tables(summary: Summary) -> list[MigrationTable]:
    """Return a table for each task whose move was measured."""
    return [
        MigrationTable(
            task.task,
            task.migration.moves,
            tuple(_rows(task.migration)),
            tuple(_notes(task.migration)),
        )
        for task in summary.tasks
        if task.migration is not None
    ]


def render_migrations(summary: Summary, width: int) -> str:
    """Return the tables as text, one below the other; empty if there is none."""
    lines: list[str] = []
    for table in migration_tables(summary):
        lines += ["", *hung("", escaped_line(f"{table.task}: {table.moves}"), width)]
        lines += text_table([tuple(map(escaped_line, row)) for row in (HEADINGS, *table.rows)])
        for note in table.notes:
            lines += hung("", escaped_line(note), width)
    return "\n".join(lines)


def _rows(migration: Migration) -> Iterator[MigrationRow]:
    model = migration.model
    net, loss = interval(migration.net), interval(migration.loss)
    yield _row("reference, stored", migration.accepted_model, migration.accepted, _NO_DIFFERENCE)
    yield _row("reference", model, migration.moved, loss)
    yield _row("recompiled", model, migration.recompiled, net)


def _row(program: str, model: str, card: Scorecard, difference: str) -> MigrationRow:
    return MigrationRow(program, model, mean_score(card), difference, _answer(card))


def _answer(card: Scorecard) -> str:
    """Return the mean cost of an answer whose cost is known."""
    costs = list(card.known_costs.values())
    if not costs:
        return _UNKNOWN
    tokens = cost_text(fmean(answer.tokens for answer in costs), "tokens")
    dollars = [answer.usd for answer in costs if answer.usd is not None]
    return f"{tokens}, {cost_text(fmean(dollars), 'usd')}" if len(dollars) == len(costs) else tokens


def _notes(migration: Migration) -> Iterator[str]:
    compiled, usage = migration.compile_usage, migration.usage
    examples = counted(migration.loss.n, "held-out example")
    yield f"recompiled against the reference under {migration.model}: {interval(migration.gain)}"
    yield f"compared on {examples}; compiling took {calls(compiled)}, {cost(compiled)}"
    yield f"this run made {calls(usage)}, {cost(usage)}, and accepted nothing"
    yield f"accept the recompiled program with: {migration.command}"
