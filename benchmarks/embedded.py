"""Compile small tasks on the embedded model: DSPy's MIPROv2, and ours without and with rounds.

The model is SmolLM2-135M-Instruct in this process, through llama.cpp, so both parts of
the embedded model have to be installed. It answers equal requests equally, so that a
compile makes the same calls in each run on a machine, and what one compile has asked is
not computed again for another, though it counts as a call of both. README.md beside
this file explains the columns.

    python benchmarks/embedded.py
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import multiprocessing
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import dspy
from dspy import lm15

sys.path.append(str(Path(__file__).resolve().parents[1]))

import pytest_mipro
from benchmarks.optimizers import mute
from benchmarks.printing import Listed, Table
from benchmarks.small_tasks import TASKS, SmallTask, Split
from pytest_mipro.gate import compare
from pytest_mipro.models import LineAdapter
from pytest_mipro.models.local.engine import MODEL, LlamaEngine, LocalLM, local_lm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPTIMIZERS = ("dspy", "ours rounds=0", "ours")
"""dspy.MIPROv2, ours without rounds, and ours with as many as ``light`` has."""
COLUMNS = {
    "task": 13,
    "optimizer": 14,
    "task calls": 0,
    "prompt calls": 0,
    "demos": 0,
    "instruction": 0,
    "validation": 13,
    "held-out": 13,
    "higher by": 0,
    "95% interval": 14,
}
PAIR_COLUMNS = {"task": 13, "result of": 14, "beside": 14, "higher by": 0, "95% interval": 14}
_THREADS = 2
"""The embedded model answers two calls at a time."""
_LONGEST = 100
"""Tokens of an instruction, and of a description: most of the time goes into writing them."""
_FEW, _SHORT = 4, 8
"""Examples of each split in a quick run, and tokens of an instruction."""
_SMALLEST = {"auto": None, "num_candidates": 2}
_WITHOUT_CODE = {"num_trials": 2, "program_aware_proposer": False}
"""Arguments of a quick run: reading the program's code takes the model a second each time."""
_ALPHA = 0.025
"""Level of a one-sided test, whose interval has a confidence of 95%."""


@dataclass(frozen=True)
class Job:
    """A compile.

    Attributes:
        task: A key of ``TASKS``.
        optimizer: A name out of ``OPTIMIZERS``.
        seed: The seed of the optimizer.
        quick: Whether it is a small search on a handful of examples.
        answers: The file with the model's answers, if they are kept in one.
    """

    task: str
    optimizer: str
    seed: int
    quick: bool
    answers: Path | None


@dataclass(frozen=True)
class Outcome:
    """The figures of a compile.

    Attributes:
        task_calls: LM calls for the program.
        prompt_calls: All other LM calls.
        demos: Demos of the result.
        source: Where the instruction of the result is from.
        instructions: The instruction of the result, then all others that were measured.
        validation: The scores of the student and of the result.
        held_out: The scores of both on each held-out example.
    """

    task_calls: int
    prompt_calls: int
    demos: int
    source: str
    instructions: tuple[str, ...]
    validation: tuple[float, float]
    held_out: tuple[list[float], list[float]]


class Classifier(dspy.Module):
    """One predictor: an input goes in, a label comes out."""

    def __init__(self, signature: type[dspy.Signature]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.classify = dspy.Predict(signature)

    def forward(self, **inputs: str) -> dspy.Prediction:
        """Return the label of the input."""
        prediction: dspy.Prediction = self.classify(**inputs)
        return prediction


class Answers:
    """The answers that the model has given, by the digest of their request.

    Args:
        file: Where they are kept for further runs; None keeps them for this one.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
        self._texts: dict[str, tuple[str, str]] = dict(map(json.loads, lines))

    def get(self, request: lm15.Request) -> lm15.Response | None:
        """Return the answer to ``request``; None if it has none."""
        if (answer := self._texts.get(_key(request))) is None:
            return None
        text, reason = answer
        return _response(request, text, reason)

    def add(self, request: lm15.Request, response: lm15.Response) -> None:
        """Keep an answer."""
        answer = response.text or "", response.finish_reason
        self._texts[_key(request)] = answer
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([_key(request), answer]) + "\n")


def _key(request: lm15.Request) -> str:
    return hashlib.sha256(repr(request).encode()).hexdigest()


def _response(request: lm15.Request, text: str, reason: Any) -> lm15.Response:  # ruff: ignore[any-type]  # DSPy's literals
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant(text),
        finish_reason=reason,
        usage=lm15.Usage(),
    )


class CountingEngine(LlamaEngine):
    """The engine of the embedded model, which counts its calls.

    Attributes:
        requests: The requests so far.
    """

    def __init__(self, model_file: Path, answers: Answers) -> None:
        super().__init__(model_file)
        self.requests: list[lm15.Request] = []
        self._answers = answers

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        self.requests.append(request)
        response = self._answers.get(request)
        if response is None:
            response = super().complete(request)
            self._answers.add(request, response)
        return response


def counting_lm(answers: Answers, **options: int) -> tuple[dspy.LM, CountingEngine]:
    """Return the embedded model, and the engine that it is asked through."""
    lm = local_lm(**options)
    engine = CountingEngine(lm.engine.model_file, answers)
    return LocalLM(MODEL, engine=engine, **lm.kwargs), engine


@cache
def _answers(file: Path | None) -> Answers:
    return Answers(file)


def run(job: Job) -> tuple[Job, Outcome]:
    """Compile with an empty cache, and score the student and the result."""
    task = TASKS[job.task]()
    task = task.part(_FEW) if job.quick else task
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    answers = _answers(job.answers)
    task_lm, task_engine = counting_lm(answers)
    longest = _SHORT if job.quick else _LONGEST
    prompt_lm, prompt_engine = counting_lm(answers, max_tokens=longest)
    student = Classifier(task.signature)
    with dspy.context(lm=task_lm, adapter=LineAdapter()):
        optimizer, arguments = _optimizer(job, task, prompt_lm)
        program = optimizer.compile(
            student,
            trainset=list(task.train.examples),
            valset=list(task.validation.examples),
            # The model makes nothing of a summary of the data, which takes eleven calls.
            data_aware_proposer=False,
            **arguments,
        )
        calls = len(task_engine.requests), len(prompt_engine.requests)
        validation, held_out = (
            (_scores(student, task, split), _scores(program, task, split))
            for split in (task.validation, task.held_out)
        )
    texts = _instructions(program)
    return job, Outcome(
        *calls,
        demos=len(program.classify.demos),
        source=_source(texts[0], task.signature.instructions, optimizer),
        instructions=texts,
        validation=(fmean(validation[0]), fmean(validation[1])),
        held_out=held_out,
    )


def _optimizer(job: Job, task: SmallTask, prompt_lm: dspy.LM) -> tuple[Any, dict[str, Any]]:
    cls: Any = dspy.MIPROv2 if job.optimizer == "dspy" else pytest_mipro.MIPROv2
    options: dict[str, Any] = _SMALLEST if job.quick else {"auto": "light"}
    if job.optimizer == "ours rounds=0" or (job.optimizer == "ours" and job.quick):
        options = {**options, "rounds": int(job.optimizer == "ours")}
    arguments: dict[str, Any] = {"minibatch_size": min(35, len(task.validation.examples))}
    if job.quick:
        arguments |= _WITHOUT_CODE
    optimizer = cls(
        task.metric, prompt_model=prompt_lm, num_threads=_THREADS, seed=job.seed, **options
    )
    return optimizer, arguments


def _scores(program: dspy.Module, task: SmallTask, split: Split) -> list[float]:
    """Return the score of ``program`` on each example; a failure is raised."""
    evaluate = dspy.Evaluate(
        devset=list(split.examples), metric=task.metric, num_threads=_THREADS, max_errors=1
    )
    return [float(score) for _, _, score in evaluate(program).results]


def _instructions(program: Any) -> tuple[str, ...]:  # ruff: ignore[any-type]  # DSPy's attributes
    """Return the instruction of the result, then all others that were measured."""
    entries = [*program.candidate_programs, *program.mb_candidate_programs]
    programs = [program, *(entry["program"] for entry in entries)]
    texts = (candidate.classify.signature.instructions for candidate in programs)
    return tuple(dict.fromkeys(texts))


def _source(text: str, own: str, optimizer: Any) -> str:  # ruff: ignore[any-type]
    """Return where an instruction is from: "own", "proposed", or the round that it is of."""
    if text == own:
        return "own"
    log = getattr(optimizer, "search", None)
    written = log.written if log else ()
    rounds = {inspect.cleandoc(entry.text): f"round {entry.round}" for entry in written}
    return rounds.get(text, "proposed")


def report(outcomes: Mapping[Job, Outcome]) -> None:
    """Print a row per task and optimizer, then one per task and pair of optimizers."""
    by_name: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for job, outcome in outcomes.items():
        by_name[job.task, job.optimizer].append(outcome)
    table = Table(COLUMNS)
    for (task, optimizer), members in by_name.items():
        table.row([task, optimizer, *_cells(task, members)])
    print()
    pairs = Table(PAIR_COLUMNS)
    names = dict.fromkeys(optimizer for _, optimizer in by_name)
    for task in dict.fromkeys(task for task, _ in by_name):
        for earlier, later in combinations(names, 2):
            scores = [_means(by_name[task, name], 1) for name in (earlier, later)]
            pairs.row([task, later, earlier, *_difference(task, *scores)])


def _cells(task: str, members: Sequence[Outcome]) -> list[object]:
    scores = [_means(members, place) for place in (0, 1)]
    validation = [fmean(outcome.validation[place] for outcome in members) for place in (0, 1)]
    return [
        f"{fmean(outcome.task_calls for outcome in members):.0f}",
        f"{fmean(outcome.prompt_calls for outcome in members):.0f}",
        f"{fmean(outcome.demos for outcome in members):.0f}",
        "/".join(dict.fromkeys(outcome.source for outcome in members)),
        _change(*validation),
        _change(*map(fmean, scores)),
        *_difference(task, *scores),
    ]


def _means(members: Sequence[Outcome], place: int) -> list[float]:
    """Return the mean score of each held-out example over the seeds."""
    return [fmean(scores) for scores in zip(*(run.held_out[place] for run in members), strict=True)]


def _change(earlier: float, later: float) -> str:
    return f"{100 * earlier:.1f} -> {100 * later:.1f}"


def _difference(task: str, earlier: Sequence[float], later: Sequence[float]) -> tuple[str, str]:
    """Return how many points higher the later scores are, and the interval of that."""
    clusters = TASKS[task]().held_out.clusters if len(earlier) > _FEW else ()
    comparison = compare(earlier, later, alpha=_ALPHA, clusters=clusters)
    low, high = 100 * comparison.low, 100 * comparison.high
    return f"{100 * comparison.difference:+.1f}", f"{low:+.1f} {high:+.1f}"


def _show_instructions(outcomes: Mapping[Job, Outcome]) -> None:
    for job, outcome in outcomes.items():
        print(f"\n{job.task}, {job.optimizer}, seed {job.seed}: the chosen instruction first")
        for text in outcome.instructions:
            print(f"  {text!r}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compile small tasks on the embedded model.")
    parser.add_argument("--quick", action="store_true", help="one task, a handful of examples")
    parser.add_argument("--tasks", type=Listed(str, list(TASKS)), default=list(TASKS))
    parser.add_argument("--only", type=Listed(str, OPTIMIZERS), default=list(OPTIMIZERS))
    parser.add_argument("--seeds", type=int, default=1, help="compiles of each; default 1")
    parser.add_argument("--answers", type=Path, help="a file that keeps the model's answers")
    parser.add_argument("--instructions", action="store_true", help="print all that were measured")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.tasks = arguments.tasks[:1]
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run every compile and print the tables."""
    arguments = _arguments(argv)
    seeds = range(7, 7 + arguments.seeds)
    choices = product(arguments.tasks, arguments.only, seeds)
    jobs = [Job(*choice, arguments.quick, arguments.answers) for choice in choices]
    outcomes = {}
    # A process of its own: what DSPy prints is discarded.
    with multiprocessing.get_context("spawn").Pool(1, initializer=mute) as pool:
        for number, (job, outcome) in enumerate(pool.imap(run, jobs), start=1):
            outcomes[job] = outcome
            print(f"\r{number} of {len(jobs)} compiles", end="", file=sys.stderr, flush=True)
        pool.close()
        pool.join()
    print(file=sys.stderr)
    report(outcomes)
    if arguments.instructions:
        _show_instructions(outcomes)


if __name__ == "__main__":
    main()
