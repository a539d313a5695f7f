"""The filters of the HTML report's template: what they show of a summary, and how much of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.gate import confidence_text, question
from pytest_mipro.report import charts, formatting, summary, word_changes
from pytest_mipro.report.migrations import migration_tables
from pytest_mipro.report.optimizers import optimizer_tables
from pytest_mipro.report.prompt_changes import changed_parts, prompt_changes
from pytest_mipro.report.references import render_acceptances

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_mipro.records import (
        ExampleResult,
        HeldOutExample,
        Prompt,
        Report,
        Scorecard,
        SearchLog,
        Usage,
    )
    from pytest_mipro.report.formatting import ProgramName
    from pytest_mipro.report.summary import EarlierProgram

_FOLD = 240
"""Characters of a long text that are seen before it is unfolded."""
_FOLD_LINES = 6
"""Lines of it that are seen."""
_UNFOLDED = 4
"""How many times as long as others a text may be that is not folded."""


@dataclass(frozen=True)
class Limits:
    """How much of a summary a report shows.

    Attributes:
        rows: Examples and trials of a task.
        characters: Characters of a text.
        tasks: Tasks.
    """

    rows: int
    characters: int
    tasks: int = 2000

    @property
    def few(self) -> int:
        """The verdicts of a task, predictors of a program, and lines of a prompt."""
        return max(self.rows, 10)


@dataclass(frozen=True)
class Excerpt:
    """A text within a limit.

    Attributes:
        head: What is seen at once.
        rest: What is folded away.
        left: How many characters are not in the report.
    """

    head: str
    rest: str = ""
    left: int = 0

    @property
    def hidden(self) -> int:
        """How many characters are missing where only the head is shown."""
        return self.left + len(self.rest)


def excerpt(text: str, limits: Limits) -> Excerpt:
    """Return the beginning of a text, what is folded away of it, and what is left out."""
    shown = text[: limits.characters]
    end = _FOLD if len(shown) > _FOLD + _FOLD // 4 else len(shown)
    lines = [match.end() for match in re.finditer(r"\n", shown[:end])]
    if len(lines) > _FOLD_LINES:
        end = lines[_FOLD_LINES - 1]
    if end < len(shown) and (space := shown.rfind(" ", end // 2, end)) > 0:
        end = space + 1
    return Excerpt(shown[:end], shown[end:], len(text) - len(shown))


def unfolded(text: str, limits: Limits) -> Excerpt:
    """Return a text that is worth reading at once: nothing is folded, and less is left out."""
    most = limits.characters * _UNFOLDED
    return Excerpt(text[:most], "", max(len(text) - most, 0))


def result_excerpt(result: ExampleResult, limits: Limits) -> Excerpt:
    """Return the predictions and failures of a program; their tracebacks are folded away."""
    predictions = [
        formatting.prediction_text(prediction)
        for prediction in result.predictions
        if not (prediction is None and result.failures)
    ]
    if len(result.predictions) > 1:
        predictions = [f"{number}. {text}" for number, text in enumerate(predictions, 1)]
    failures = [f"{failure.type}: {failure.message}" for failure in result.failures]
    feedback = [f"feedback: {text}" for text in dict.fromkeys(result.feedback) if text]
    first = "\n".join([*predictions, *failures, *feedback]) or formatting.NOT_KEPT
    text = "\n".join([first, *(failure.traceback for failure in result.failures)])
    head, shown = excerpt(first, limits).head, text[: limits.characters]
    return Excerpt(head, shown[len(head) :].rstrip("\n"), len(text) - len(shown))


def scorecards(report: Report) -> dict[ProgramName, Scorecard]:
    """Return the scorecards of the programs that have scores."""
    cards: dict[ProgramName, Scorecard | None] = {
        "baseline": report.baseline,
        "compiled": report.compiled,
        "accepted": report.accepted,
    }
    return {name: card for name, card in cards.items() if card is not None and card.scores}


def score_counts(report: Report) -> charts.ScoreCounts:
    """Return how many examples have which score, for each program."""
    return charts.score_counts({name: card.scores for name, card in scorecards(report).items()})


def numbered_examples(report: Report) -> list[tuple[int, HeldOutExample]]:
    """Return the held-out examples with their numbers in the split, the worst first."""
    numbers = {id(example): number for number, example in enumerate(report.held_out, 1)}
    worst = summary.worst_examples(report)
    rest = numbers.keys() - set(map(id, worst))
    examples = [*worst, *(example for example in report.held_out if id(example) in rest)]
    return [(numbers[id(example)], example) for example in examples]


def example_change(example: HeldOutExample, program: EarlierProgram) -> str:
    """Return how the score of an example changed, or that a reference does not have it."""
    is_new = program == "accepted" and example.accepted is None
    return "new" if is_new else summary.score_change(example, program)


def change_counts(
    examples: Sequence[tuple[int, HeldOutExample]], program: EarlierProgram
) -> dict[str, int]:
    """Return how many of numbered examples changed in which way, and how many failed."""
    changes = [example_change(example, program) for _, example in examples]
    counts = {change: changes.count(change) for change in ("worse", "better", "same", "new")}
    failed = sum(bool(example.compiled.failures) for _, example in examples)
    return {"all": len(examples), **counts, "failed": failed}


def changed_prompt(report: Report) -> str:
    """Return in words what changed in the prompt."""
    program = formatting.PROGRAMS[summary.earlier_program(report)]
    changes = prompt_changes(summary.earlier_prompts(report), report.prompts_after)
    parts = changed_parts(changes)
    if not parts:
        return f"the prompt is that of the {program}"
    return f"changed in the prompt since the {program}: {', '.join(parts)}"


def earlier_programs(report: Report) -> list[tuple[str, Sequence[Prompt]]]:
    """Return the programs to compare prompts with, that of the examples first."""
    prompts: dict[ProgramName, Sequence[Prompt]] = {
        "accepted": report.prompts_accepted,
        "baseline": report.prompts_before,
    }
    first = summary.earlier_program(report)
    return [
        (formatting.PROGRAMS[name], prompts[name])
        for name in sorted(prompts, key=lambda name: name != first)
        if prompts[name] or name == "baseline"
    ]


def shown_trials(log: SearchLog, most: int = charts.MOST_TRIALS) -> list[charts.TrialPoint]:
    """Return the trials of a search that the chart and the table show."""
    return charts.most_measured(charts.trial_points(log), min(most, charts.MOST_TRIALS))


def winning_trial(log: SearchLog) -> int | None:
    """Return the number of the winner's trial; None if the baseline won."""
    points = charts.trial_points(log)
    return next((point.trial.number for point in points if point.kind == "winner"), None)


def search_sentence(log: SearchLog) -> str:
    """Return how many trials a search made, and the scores of the baseline and the winner."""
    dropped = sum(trial.dropped for trial in log.trials)
    rows = formatting.counted(sum(trial.rows for trial in log.trials), "row")
    number = winning_trial(log)
    winner = "the program as it came" if log.winner.is_baseline else "the winner"
    trial = "" if number is None else f" (trial {number})"
    baseline = "was not measured" if log.baseline is None else f"scores {log.baseline:.3f}"
    return (
        f"{formatting.counted(len(log.trials), 'trial')} on {rows}, {dropped:,} dropped early. "
        f"On the {formatting.counted(log.rows, 'validation example')} the baseline {baseline} "
        f"and {winner}{trial} {log.score:.3f}."
    )


def cost_cells(usage: Usage, examples: int | None = None) -> tuple[str, str, str]:
    """Return calls, tokens and money: of one of ``examples``, or in all without a count."""
    if not usage.calls:
        return "none", "none", "none"
    if examples is None:
        return f"{usage.calls:,}", f"{usage.tokens:,}", formatting.money(usage)
    money = "unknown" if usage.cost is None else f"${usage.cost / examples:.6f}"
    return f"{usage.calls / examples:.1f}", f"{usage.tokens / examples:,.0f}", money


def origin_facts(report: Report) -> Iterator[tuple[str, str]]:
    """Yield names and texts about how an outcome came about; a text may be blank."""
    yield "Model", report.model
    yield "Compiled because", "\n".join(report.reasons)
    if report.cut is not None:
        cut = report.cut
        yield "Search cut", f"at {cut.limit}: {cut.remaining:,.6g} {cut.unit} were left for it"
    yield "Accepted", render_acceptances([report])
    if report.resumed:
        yield "Resumed", f"with {formatting.counted(report.resumed, 'stored result')}"
    yield "Statistics", _statistics(report)
    yield "Key", report.key
    yield "Store", report.store


def _statistics(report: Report) -> str:
    comparison = report.comparison
    clusters = f" in {comparison.clusters:,} clusters" if comparison.clusters else ""
    answers = f", {comparison.rollouts} answers each" if comparison.rollouts > 1 else ""
    return (
        f"{comparison.method}, n = {formatting.sample_size(report)}{clusters}{answers}, "
        f"p = {comparison.p_value:.2g}, {confidence_text(comparison)} interval, "
        f"detectable difference {comparison.detectable:.3f}"
    )


FILTERS = {
    function.__name__: function
    for function in (
        change_counts,
        changed_prompt,
        cost_cells,
        earlier_programs,
        example_change,
        excerpt,
        origin_facts,
        question,
        formatting.calls,
        formatting.cost,
        formatting.duration,
        formatting.fields_text,
        formatting.interval,
        formatting.money,
        formatting.sample_size,
        formatting.shortened,
        numbered_examples,
        migration_tables,
        optimizer_tables,
        prompt_changes,
        result_excerpt,
        score_counts,
        scorecards,
        search_sentence,
        shown_trials,
        summary.earlier_program,
        summary.headline,
        summary.other_losses,
        summary.repeats_verdict,
        summary.score_changes,
        summary.seal_note,
        summary.unmet_first,
        summary.worst_first,
        unfolded,
        winning_trial,
        word_changes.mark_words,
    )
}
"""The filters by their names."""
