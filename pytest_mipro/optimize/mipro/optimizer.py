"""
MIPROv2, the optimizer of Opsahl-Ong et al. (2024), as a DSPy teleprompter.

The pipeline is the paper's and DSPy's: bootstrap demos from traces that pass
the metric, propose grounded instructions, search instruction and demo set of
all predictors together. The phases are in the modules beside this one, with
what differs from the paper and why.

Reference: Krista Opsahl-Ong et al., "Optimizing Instructions and
Demonstrations for Multi-Stage Language Model Programs", EMNLP 2024,
arXiv:2406.11695.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import replace
from itertools import chain, compress
from operator import not_
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import dspy
from dspy.teleprompt import Teleprompter

from pytest_mipro import fingerprint
from pytest_mipro.errors import DeclarationError, FingerprintError, InfrastructureError
from pytest_mipro.evaluate import (
    ContextThreadPool,
    Evaluator,
    FailureLimit,
    StoredRows,
    WorkerPool,
    cancel_all,
    gather,
    gather_two,
    run_to_completion,
)
from pytest_mipro.optimize.mipro.bootstrap import Bootstrap, own_demos
from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.optimize.mipro.propose import PromptModel, Propose
from pytest_mipro.optimize.mipro.search import Search
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.optimize.mipro.statistics import percent, save_candidates, statistics
from pytest_mipro.records import Progress, Proposal, SearchLog, Trace, Usage
from pytest_mipro.spending import current_account
from pytest_mipro.store import Store
from pytest_mipro.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_mipro.optimize.mipro.bootstrap import Making
    from pytest_mipro.optimize.mipro.search import SearchResult
    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.records import Cut
    from pytest_mipro.task import Metric

logger = logging.getLogger(__name__)


class MIPROv2(Teleprompter):
    """
    Optimizes instructions and demos of all predictors of a program together.

    A drop-in for ``dspy.MIPROv2``: same constructor, same ``compile``. It
    differs in how it gets there: the same seed gives the same program at any
    number of threads, an LM error stops the compile instead of counting as a
    score of 0, and far fewer rows are evaluated (see ``search.py``).

    Example::

        optimizer = MIPROv2(metric=exact_match, auto="light")
        compiled = optimizer.compile(program, trainset=train, valset=val)
        compiled.save("router.json")
    """

    def __init__(
        self,
        metric: Metric,
        prompt_model: dspy.BaseLM | None = None,
        task_model: dspy.BaseLM | None = None,
        teacher_settings: dict[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 4,
        auto: Literal["light", "medium", "heavy"] | None = "light",
        num_candidates: int | None = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        seed: int = 9,
        init_temperature: float = 1.0,
        verbose: bool = False,
        track_stats: bool = True,
        log_dir: str | None = None,
        metric_threshold: float | None = None,
        *,
        store: Store | None = None,
        version: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        held_out: int = 0,
    ) -> None:
        """
        Configure the optimizer.

        Args:
            metric: ``metric(example, prediction, trace=None)``; returns a
                bool, a number or ``Prediction(score=…)``.
            prompt_model: Writes instructions; default the ``lm`` of
                ``teacher_settings``, then ``dspy.settings.lm``.
            task_model: Answers for the program; default ``dspy.settings.lm``.
            teacher_settings: DSPy settings the teacher runs under, such as
                ``{"lm": stronger}``.
            max_bootstrapped_demos: Most demos per set taken from traces.
            max_labeled_demos: Most demos per set when filled up with labelled
                examples.
            auto: Size of the search; None takes ``num_candidates`` and
                ``num_trials``.
            num_candidates: Instructions and demo sets per predictor.
            num_threads: Rows evaluated at a time; default
                ``dspy.settings.num_threads``.
            max_errors: Rows the program may fail on before the compile stops;
                None sets no limit, as a failed row has the score 0.
            seed: Decides every draw; 0 is a seed like any other.
            init_temperature: Temperature of the prompt model for instructions.
            verbose: Log each step of the progress.
            track_stats: Attach ``trial_logs``, ``candidate_programs`` and
                ``mb_candidate_programs`` to the result.
            log_dir: Folder that gets every candidate measured in full, as JSON.
            metric_threshold: What a trace must score to become a demo.
            store: Where finished work is kept and found again; default is
                memory, for one compile.
            version: With a ``store``, stands for whatever in the metric or the
                program cannot be hashed by content; change it with that.
            on_progress: Told where the compile stands.
            held_out: Rows that are going to be evaluated afterwards, for which
                a budget keeps enough back.

        Raises:
            DeclarationError: An option is wrong, or no model is known. It is a
                ``ValueError`` too.

        """
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.metric = metric
        self.task_model = task_model or dspy.settings.lm
        self.prompt_model = prompt_model or dspy.settings.lm
        self._prompt_model_given = prompt_model is not None
        if not self.task_model or not self.prompt_model:
            message = (
                "give prompt_model and task_model, or set a default with dspy.configure(lm=...)"
            )
            raise DeclarationError(message)
        self.teacher_settings = teacher_settings or {}
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.verbose = verbose
        self.track_stats = track_stats
        self.log_dir = log_dir
        self.options = Options.declare(
            auto=auto,
            num_candidates=num_candidates,
            max_bootstrapped_demos=max_bootstrapped_demos,
            max_labeled_demos=max_labeled_demos,
            seed=seed,
            init_temperature=float(init_temperature),
            metric_threshold=None if metric_threshold is None else float(metric_threshold),
        )
        self.usage = Usage()
        self.cut: Cut | None = None
        self.resumed = 0
        self.search: SearchLog | None = None
        self.held_out = held_out
        self.version = version
        self._store = store
        self._on_progress = on_progress or (lambda _: None)

    def prompt_model_with(self, teacher_settings: Mapping[str, Any]) -> dspy.BaseLM:
        """Return who writes instructions: who was named, or else the teacher's model."""
        if self._prompt_model_given:
            return self.prompt_model
        return teacher_settings.get("lm") or self.prompt_model

    @property
    def keeps_nothing(self) -> bool:
        """Whether finished work is forgotten after the compile."""
        return self._store is None

    def compile(  # type: ignore[override]  # the base class takes any keyword
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[dspy.Example],
        teacher: dspy.Module | None = None,
        valset: Sequence[dspy.Example] | None = None,
        num_trials: int | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        seed: int | None = None,
        minibatch: bool = True,
        minibatch_size: int = 35,
        minibatch_full_eval_steps: int = 5,  # ruff: ignore[unused-method-argument] - there are no such steps here
        program_aware_proposer: bool = True,
        data_aware_proposer: bool = True,
        view_data_batch_size: int = 10,
        tip_aware_proposer: bool = True,
        fewshot_aware_proposer: bool = True,
        requires_permission_to_run: bool | None = None,
        provide_traceback: bool | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
    ) -> dspy.Module:
        """
        Return an optimized copy of ``student``.

        Args:
            student: The program; it is not modified.
            trainset: Examples to bootstrap demos from and to show the prompt
                model.
            teacher: The program to bootstrap from; default the student.
            valset: Examples to measure on; default 80% of ``trainset``.
            num_trials: Candidates to try, with ``auto=None``.
            max_bootstrapped_demos: Overrides the constructor's.
            max_labeled_demos: Overrides the constructor's.
            seed: Overrides the constructor's.
            minibatch: Measure trials on part of the validation set.
            minibatch_size: How large a part at most.
            minibatch_full_eval_steps: Accepted for DSPy's sake. Full
                measurements are made once, among the finalists.
            program_aware_proposer: Show the program's code to the prompt model.
            data_aware_proposer: Show it a summary of ``trainset``.
            view_data_batch_size: Examples per call while summarizing.
            tip_aware_proposer: Give it a style tip per instruction.
            fewshot_aware_proposer: Show it demos.
            requires_permission_to_run: Gone from DSPy; False warns, True
                raises.
            provide_traceback: Log the tracebacks of failing rows.
            teacher_settings: Overrides the constructor's.

        Returns:
            The program, with ``score`` (0 to 100, on the validation set) and,
            with ``track_stats``, ``trial_logs``, ``candidate_programs`` and
            ``mb_candidate_programs``.

        Raises:
            DeclarationError: The arguments do not fit together.
            InfrastructureError: A language model could not be asked.
            MetricError: The metric gave no score.
            ProgramError: The program failed on more than ``max_errors`` rows.

        """
        _refuse_permission(requires_permission_to_run)
        _refuse_no_program("student", student)
        if teacher is not None:
            _refuse_no_program("teacher", teacher)
        given = {
            "num_trials": num_trials,
            "max_bootstrapped_demos": max_bootstrapped_demos,
            "max_labeled_demos": max_labeled_demos,
            "seed": seed,
        }
        options = Options.declare(
            **{
                **vars(self.options),
                **{name: value for name, value in given.items() if value is not None},
                "minibatch": minibatch,
                "minibatch_size": minibatch_size,
                "view_data_batch_size": view_data_batch_size,
                "program_aware_proposer": program_aware_proposer,
                "data_aware_proposer": data_aware_proposer,
                "tip_aware_proposer": tip_aware_proposer,
                "fewshot_aware_proposer": fewshot_aware_proposer,
            }
        )
        plan = Plan.make(options, len(student.predictors()), trainset, valset)
        store = self._store or Store.in_memory()
        try:
            compilation = _Compilation(
                optimizer=self,
                options=options,
                plan=plan,
                student=student,
                teacher=teacher,
                teacher_settings=dict(teacher_settings or self.teacher_settings),
                store=store,
                on_progress=self._on_progress,
                provide_traceback=bool(provide_traceback),
            )
            return self._complete(compilation)
        finally:
            if self.keeps_nothing:
                store.close()

    def _complete(self, compilation: _Compilation) -> dspy.Module:
        try:
            return run_to_completion(compilation.run(), compilation.workers)
        except InfrastructureError as error:
            if self.keeps_nothing:
                error.starts_over = (
                    "nothing is kept without a store=, so the next compile starts over"
                )
            raise
        finally:
            self.usage = compilation.workers.usage
            self.resumed = compilation.workers.resumed
            self.cut = compilation.cut
            self.search = compilation.log


class _Compilation:
    """One run of the pipeline: the phases in order, and what they share."""

    def __init__(
        self,
        *,
        optimizer: MIPROv2,
        options: Options,
        plan: Plan,
        student: dspy.Module,
        teacher: dspy.Module | None,
        teacher_settings: dict[str, Any],
        store: Store,
        on_progress: Callable[[Progress], None],
        provide_traceback: bool,
    ) -> None:
        self._optimizer = optimizer
        self._plan = plan
        self._student = student
        self._on_progress = on_progress
        threads = optimizer.num_threads or dspy.settings.num_threads
        self.workers = WorkerPool(ContextThreadPool(threads, thread_name_prefix="mipro"))
        self._store = store
        self._bench = bench = _bench(optimizer, student, {"lm": optimizer.task_model})
        teaching = {"lm": optimizer.task_model, **teacher_settings}
        is_taught = teacher is not None or bool(teacher_settings)
        teacher_bench = _bench(optimizer, teacher or student, teaching) if is_taught else bench
        rows = StoredRows(
            bench,
            store,
            self.workers,
            FailureLimit(optimizer.max_errors, provide_traceback=provide_traceback),
        )
        self._bootstrap = Bootstrap(
            bench=teacher_bench,
            student=student,
            teacher=teacher,
            trainset=plan.trainset,
            store=store,
            workers=self.workers,
        )
        self._propose = Propose(
            model=PromptModel(
                optimizer.prompt_model_with(teacher_settings),
                dspy.settings.adapter,
                options.init_temperature,
            ),
            student=student,
            trainset=plan.trainset,
            options=options,
            store=store,
            workers=self.workers,
        )
        self._purse = SearchBudget(current_account(), optimizer.held_out, len(student.predictors()))
        self._search = Search(rows, plan.valset, plan.effort, self._tell, self._purse)
        self.cut: Cut | None = None
        self.log: SearchLog | None = None
        self._zero_shot = options.zero_shot
        self._making: list[Making] = []
        self._told = Progress("bootstrap", 0, plan.demos.sets)
        self.workers.on_record = self._tell_again

    async def run(self) -> dspy.Module:
        """Bootstrap, propose, search, and return the winner with its statistics."""
        self._tell(self._told)
        plan, search = self._plan, self._search
        # Less than the purse keeps for the final: in its order, it is the first to end a search.
        self._purse.keep(len(plan.valset))
        # First, because every instruction waits for it, and nearly all of the search for those.
        briefing = asyncio.ensure_future(self._propose.brief(plan.instructions))
        making = self._making = self._bootstrap.start(plan.demos, plan.effort.seed)
        # What the search is certain to ask first is evaluated while the rest is prepared.
        wanted = making[: plan.effort.candidates + 1]
        early = [asyncio.ensure_future(self._prefetch(each)) for each in wanted]
        try:
            instructions, demo_sets = await gather_two(
                self._propose.instructions(
                    briefing, [each.draft for each in making], plan.instructions
                ),
                self._bootstrapped(making),
            )
            space = self._space(instructions, *demo_sets)
            self._prepare_purse()
            self._tell(Progress("search", 0))
            found = await search.run(space)
        finally:
            cancel_all([briefing, *early])
            cancel_all(chain.from_iterable((each.draft, each.made) for each in making))
        if found.cut:
            self.cut = self._purse.cut(found.cut)
        self._record(space, found)
        return self._result(space, found)

    def _prepare_purse(self) -> None:
        spent = self.workers.usage_of(Trace) + self.workers.usage_of(Proposal)
        self._purse.prepare(spent, self._bootstrap.usages)

    async def _bootstrapped(self, making: Sequence[Making]) -> list[list[dict[str, DemoSet]]]:
        """Return the demo sets that were there soon, and those that were not."""
        made = await gather([each.made for each in making])
        self._tell(Progress("propose", 0, self._plan.instructions))
        soon = [each.draft.result().suffices for each in making]
        return [list(compress(made, soon)), list(compress(made, map(not_, soon)))]

    async def _prefetch(self, making: Making) -> None:
        own = tuple((text,) for text in self._own_instructions())
        if (await making.draft).suffices:
            await self._search.prefetch(self._space(own, [await making.made]))

    def _record(self, space: Space, found: SearchResult) -> None:
        """Record the trials of the search in its log."""
        student = found.scores.get(space.baseline)
        self.log = SearchLog(
            rows=len(self._plan.valset),
            trials=found.trials,
            winner=found.winner,
            baseline=fmean(student) if student else None,
            score=fmean(found.scores[found.winner]),
        )

    def _own_instructions(self) -> list[str]:
        predictors = self._student.predictors()
        return [fingerprint.signature_of(predictor).instructions for predictor in predictors]

    def _space(
        self,
        instructions: tuple[tuple[str, ...], ...],
        early: Sequence[Mapping[str, DemoSet]],
        late: Sequence[Mapping[str, DemoSet]] = (),
    ) -> Space:
        if self._zero_shot:
            return Space(self._student, instructions, tuple(((),) for _ in instructions))
        return Space.made_of(self._student, instructions, [own_demos(self._student), *early], late)

    def _tell(self, progress: Progress) -> None:
        self._told = progress
        if self._optimizer.verbose:
            logger.info("%s", replace(progress, usage=self.workers.usage))
        self._tell_again()

    def _tell_again(self) -> None:
        """Say what has been asked since, while a phase goes on."""
        told = self._told
        if told.phase == "bootstrap":
            told = replace(told, done=sum(each.made.done() for each in self._making))
        workers = self.workers
        self._on_progress(replace(told, usage=workers.usage, provider_error=workers.provider_error))

    def _result(self, space: Space, found: SearchResult) -> dspy.Module:
        program = space.program(found.winner)
        attributes: dict[str, Any] = {"score": percent(found.scores[found.winner])}
        if self._optimizer.track_stats:
            attributes |= statistics(space, found, len(self._plan.valset))
            attributes["total_calls"] = self.workers.usage.calls
            attributes["prompt_model_total_calls"] = self.workers.usage_of(Proposal).calls
        vars(program).update(attributes)
        if self._optimizer.log_dir is not None:
            save_candidates(Path(self._optimizer.log_dir), space, found, len(self._plan.valset))
        return program


def _bench(optimizer: MIPROv2, program: dspy.Module, settings: dict[str, Any]) -> Evaluator:
    adapter = settings.setdefault("adapter", dspy.settings.adapter)
    try:
        key = fingerprint.of_evaluation(
            program, optimizer.metric, settings["lm"], adapter, optimizer.version
        )
        answers = fingerprint.of_answers(program, settings["lm"], adapter, optimizer.version)
    except FingerprintError:
        if not optimizer.keeps_nothing:
            raise
        key, answers = uuid.uuid4().hex, None  # Nothing outlives this compile: any name will do.
    return Evaluator(optimizer.metric, settings, key, answers)


def _refuse_no_program(name: str, value: object) -> None:
    if not isinstance(value, dspy.Module):
        message = f"{name}={value!r:.80} is not a dspy.Module; expected an instance of one"
        raise DeclarationError(message)


def _refuse_permission(asked: bool | None) -> None:
    if asked:
        message = (
            "requires_permission_to_run=True: there is no confirmation to ask for any more; "
            "leave the argument out"
        )
        raise DeclarationError(message)
    if asked is not None:
        logger.warning("requires_permission_to_run is deprecated and has no effect; leave it out")
