"""Measure what an optimizer learns from mistakes: DSPy's MIPROv2 and GEPA, and ours.

All compile on the same models, for which an instruction is worth what it says
(``rules.py``), in this process and without a network. README.md beside this
file explains the columns.

    python benchmarks/learning.py
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import dspy

sys.path.append(str(Path(__file__).resolve().parents[1]))

import pytest_mipro
from benchmarks.landscape import answer
from benchmarks.optimizers import STUDENTS, VALSET, Outcome, SimulatedEngine, local_lm, mute
from benchmarks.printing import Listed, Table
from benchmarks.rules import RulesModel, question
from pytest_mipro.gate import student_critical
from pytest_mipro.spending import Account, Limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPTIMIZERS = ("mipro", "ours", "gepa", "gepa 1500", "ours 40%")
"""dspy.MIPROv2, ours, dspy.GEPA with as many runs as ours made and with 1,500, and ours with a
budget of 40% of all calls that these 1,500 runs made."""
COLUMNS = {
    "auto": 6,
    "predictors": 0,
    "feedback": 0,
    "optimizer": 12,
    "runs": 0,
    "task calls": 0,
    "prompt calls": 0,
    "start": 0,
    "score": 0,
    "ours higher by": 0,
    "95% interval": 16,
}
_NEEDED = {"gepa": "ours", "ours 40%": "gepa 1500"}
"""Per optimizer, that whose calls are its budget."""
_THREADS = 4
_TRAINSET = 100
_FEW = 30
_LARGE = 1500
"""Runs of the program that the larger ``dspy.GEPA`` may make."""
_SHARE = 0.4
"""Share of its calls that is the budget of "ours 40%"."""


@dataclass(frozen=True)
class Job:
    """The compiles on one model.

    Attributes:
        model: The number of the model, and the seed of the optimizers.
        auto: The size of the search.
        predictors: Predictors of the program.
        feedback: Whether the metric says what is wrong.
        rows: Rows of the validation set.
        only: The optimizers to run, in the order of ``OPTIMIZERS``.
        rounds: The option of ours; None is its default.
    """

    model: int
    auto: str
    predictors: int
    feedback: bool
    rows: int
    only: tuple[str, ...]
    rounds: int | None = None


def examples(name: str, count: int) -> list[dspy.Example]:
    """Return ``count`` labelled examples."""
    questions = [question(name, number) for number in range(count)]
    return [
        dspy.Example(question=text, answer=answer(text)).with_inputs("question")
        for text in questions
    ]


def plain_metric(
    gold: dspy.Example,
    pred: dspy.Prediction,
    trace: object = None,  # ruff: ignore[unused-function-argument]  # a metric takes five arguments
    pred_name: str | None = None,  # ruff: ignore[unused-function-argument]  # the same
    pred_trace: object = None,  # ruff: ignore[unused-function-argument]  # the same
) -> float:
    """Return whether the answer is right."""
    return float(gold.answer == pred.answer)


def metric_with_feedback(
    gold: dspy.Example,
    pred: dspy.Prediction,
    trace: object = None,  # ruff: ignore[unused-function-argument]  # a metric takes five arguments
    pred_name: str | None = None,  # ruff: ignore[unused-function-argument]  # the same
    pred_trace: object = None,  # ruff: ignore[unused-function-argument]  # the same
) -> dspy.Prediction:
    """Return whether the answer is right, and the right one."""
    score = float(gold.answer == pred.answer)
    feedback = "Right." if score else f"The answer is not {pred.answer}, but {gold.answer}."
    return dspy.Prediction(score=score, feedback=feedback)


def run(job: Job) -> tuple[Job, dict[str, Outcome]]:
    """Compile with each optimizer."""
    outcomes: dict[str, Outcome] = {}
    for name in job.only:
        outcomes[name] = _outcome(job, name, _budget(name, job.predictors, outcomes))
    return job, outcomes


def _budget(name: str, predictors: int, outcomes: Mapping[str, Outcome]) -> int:
    """Return the runs of the program that GEPA may make, or the calls that ours may make."""
    if name == "gepa":
        return outcomes["ours"].task_calls // predictors
    if name == "ours 40%":
        large = outcomes["gepa 1500"]
        return int(_SHARE * (large.task_calls + large.prompt_calls))
    return _LARGE


def _outcome(job: Job, name: str, budget: int) -> Outcome:
    model = RulesModel(job.model)
    engine = SimulatedEngine(model)
    lm = local_lm(engine)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    student = STUDENTS[job.predictors]()
    limits = [Limit("calls", budget, "lm_calls")] if name == "ours 40%" else []
    with dspy.context(lm=lm), Account(limits).current():
        optimizer, arguments = _optimizer(job, name, budget, lm)
        program = optimizer.compile(
            student,
            trainset=examples(f"train {job.model}", _TRAINSET),
            valset=examples(f"validation {job.model}", job.rows),
            **arguments,
        )
    task_calls = sum(reply.levels is not None for reply in engine.replies)
    prompt_calls = len(engine.replies) - task_calls
    start, score = (_true_score(model, scored) for scored in (student, program))
    return Outcome(task_calls, prompt_calls, start, score)


def _optimizer(job: Job, name: str, budget: int, lm: dspy.LM) -> tuple[Any, dict[str, Any]]:
    metric: Any = metric_with_feedback if job.feedback else plain_metric
    if name.startswith("gepa"):
        gepa = dspy.GEPA(
            metric,
            max_metric_calls=budget,
            reflection_lm=lm,
            seed=job.model,
            num_threads=_THREADS,
        )
        return gepa, {}
    sizes: dict[str, Any] = {"auto": job.auto, "num_threads": _THREADS, "seed": job.model}
    arguments = {"minibatch_size": min(35, job.rows)}
    if name == "mipro":
        # dspy.MIPROv2 counts any Prediction, which GEPA's metrics return, as right.
        return dspy.MIPROv2(plain_metric, **sizes), arguments
    if job.rounds is not None:
        sizes["rounds"] = job.rounds
    return pytest_mipro.MIPROv2(metric, **sizes), arguments


def _true_score(model: RulesModel, program: dspy.Module) -> float:
    """Run the program once, to get the levels of its prompts from the model's replies."""
    engine = SimulatedEngine(model)
    with dspy.context(lm=local_lm(engine, cache=False)):
        program(question=question("held-out", 0))
    return model.score([reply.levels for reply in engine.replies if reply.levels is not None])


def _interval(differences: Sequence[float]) -> str:
    """Return Student's interval of the mean difference."""
    if len(differences) < 2:
        return ""
    count = len(differences)
    half_width = student_critical(0.025, count - 1) * stdev(differences) / math.sqrt(count)
    mean = fmean(differences)
    return f"{mean - half_width:+.1f} {mean + half_width:+.1f}"


def report(outcomes: Sequence[tuple[Job, dict[str, Outcome]]]) -> None:
    """Print a row per configuration and optimizer."""
    groups: dict[tuple[object, ...], list[dict[str, Outcome]]] = defaultdict(list)
    for job, by_name in sorted(outcomes, key=lambda pair: pair[0].model):
        groups[job.auto, job.predictors, "yes" if job.feedback else "no"].append(by_name)
    table = Table(COLUMNS)
    for configuration in sorted(groups, key=str):
        members = groups[configuration]
        for name in members[0]:
            table.row([*configuration, *_cells(name, members)])


def _cells(name: str, members: Sequence[dict[str, Outcome]]) -> list[object]:
    figures = [by_name[name] for by_name in members]
    differences = [
        by_name["ours"].score - by_name[name].score for by_name in members if "ours" in by_name
    ]
    is_ours = name == "ours" or not differences
    return [
        *(name, len(figures)),
        f"{fmean(outcome.task_calls for outcome in figures):.0f}",
        f"{fmean(outcome.prompt_calls for outcome in figures):.1f}",
        f"{fmean(outcome.start for outcome in figures):.1f}",
        f"{fmean(outcome.score for outcome in figures):.1f}",
        *(("", "") if is_ours else (f"{fmean(differences):+.1f}", _interval(differences))),
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare what optimizers learn from mistakes.")
    parser.add_argument("--quick", action="store_true", help="one model, one configuration")
    parser.add_argument("--models", type=int, default=20, help="how many; default 20")
    parser.add_argument("--first", type=int, default=0, help="the first one's number; default 0")
    parser.add_argument("--auto", type=Listed(str, list(VALSET)), default=["light", "medium"])
    parser.add_argument("--predictors", type=Listed(int, list(STUDENTS)), default=[1, 2])
    parser.add_argument("--feedback", type=Listed(str, ["yes", "no"]), default=["yes", "no"])
    parser.add_argument("--only", type=Listed(str, OPTIMIZERS), default=list(OPTIMIZERS))
    parser.add_argument("--rounds", type=int, help="the option of ours; default is its own")
    parser.add_argument("--jobs", type=int, default=2, help="models at a time; default 2")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.models, arguments.auto, arguments.predictors = 1, ["light"], [1]
        arguments.feedback, arguments.only = ["yes"], ["ours", "gepa"]
    return arguments


def _jobs(arguments: argparse.Namespace) -> list[Job]:
    models = range(arguments.first, arguments.first + arguments.models)
    choices = product(arguments.auto, arguments.predictors, arguments.feedback, models)
    names = {*arguments.only, *(_NEEDED.get(name, name) for name in arguments.only)}
    only = tuple(name for name in OPTIMIZERS if name in names)
    return [
        Job(
            model,
            auto,
            predictors,
            feedback == "yes",
            _FEW if arguments.quick else VALSET[auto],
            only,
            arguments.rounds,
        )
        for auto, predictors, feedback, model in choices
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run every compile and print the table."""
    arguments = _arguments(argv)
    jobs = _jobs(arguments)
    outcomes = []
    processes = min(arguments.jobs, len(jobs))
    with multiprocessing.get_context("spawn").Pool(processes, initializer=mute) as pool:
        for number, outcome in enumerate(pool.imap_unordered(run, jobs), start=1):
            outcomes.append(outcome)
            print(f"\r{number} of {len(jobs)} models", end="", file=sys.stderr, flush=True)
        pool.close()
        pool.join()
    print(file=sys.stderr)
    report(outcomes)


if __name__ == "__main__":
    main()
