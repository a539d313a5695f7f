"""MIPROv2, the optimizer of Opsahl-Ong et al. (2024), as a DSPy teleprompter.

The pipeline is the paper's and DSPy's: bootstrap demos from traces that pass
the metric, propose grounded instructions, search instructions and demo sets of
all predictors together. Each phase has a module beside this one, which says
how it differs from the paper and why.

Reference: Krista Opsahl-Ong et al., "Optimizing Instructions and
Demonstrations for Multi-Stage Language Model Programs", EMNLP 2024,
arXiv:2406.11695.
"""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dspy
from dspy.teleprompt import Teleprompter

from pytest_mipro import fingerprint
from pytest_mipro.errors import DeclarationError, FingerprintError, InfrastructureError
from pytest_mipro.evaluate import (
    Evaluator,
    FailureLimit,
    StoredRows,
    WorkerPool,
    run_to_completion,
)
from pytest_mipro.optimize.mipro.arguments import (
    model_of,
    refuse_no_program,
    refuse_permission,
    settings_of_teacher,
)
from pytest_mipro.optimize.mipro.bootstrap import Bootstrap
from pytest_mipro.optimize.mipro.mistakes import TrainingRuns
from pytest_mipro.optimize.mipro.pipeline import Pipeline
from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.optimize.mipro.progress import ProgressReporter
from pytest_mipro.optimize.mipro.propose import GroundedProposer
from pytest_mipro.optimize.mipro.rounds import Rounds
from pytest_mipro.optimize.mipro.search import Search
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.optimize.mipro.statistics import percent, save_candidates, statistics
from pytest_mipro.records import Progress, Proposal, SearchLog, Usage
from pytest_mipro.spending import current_account
from pytest_mipro.store import Store
from pytest_mipro.task import ExecutorSource, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_mipro.optimize.mipro.pipeline import PipelineResult
    from pytest_mipro.records import BudgetCut
    from pytest_mipro.task import ExecutorSpec, Metric

logger = logging.getLogger(__name__)

_OPTIONS = (
    *("auto", "num_candidates", "max_bootstrapped_demos", "max_labeled_demos", "seed"),
    *("init_temperature", "metric_threshold", "rounds"),
)
"""The attributes that are options of the search."""
_PARAMETERS = (
    *("metric", "prompt_model", "task_model", "teacher_settings", "num_threads", "max_errors"),
    *("verbose", "track_stats", "log_dir", *_OPTIONS[:-1]),
)
"""The arguments of DSPy's constructor."""


class MIPROv2(Teleprompter):
    """Optimizes instructions and demos of all predictors of a program together.

    A drop-in for ``dspy.MIPROv2``, with the same constructor and the same
    ``compile``. Unlike DSPy's, the same seed gives the same program at any
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
        prompt_model: dspy.BaseLM | str | None = None,
        task_model: dspy.BaseLM | str | None = None,
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
        on_warning: Callable[[str], None] = logger.warning,
        held_out: int = 0,
        rounds: int | None = None,
        executor: ExecutorSpec | ExecutorSource | None = None,
    ) -> None:
        """Configure the optimizer.

        Args:
            metric: ``metric(example, prediction, trace=None)``; returns a
                bool, a number or ``Prediction(score=…)``.
            prompt_model: Writes instructions; default the ``lm`` of
                ``teacher_settings``, then ``dspy.settings.lm``. A model may be
                named, as in ``"openai/gpt-4o-mini"``, here and below.
            task_model: Answers for the program; default ``dspy.settings.lm``.
            teacher_settings: DSPy settings the teacher runs under, such as ``{"lm": stronger}``.
            max_bootstrapped_demos: Most demos per set that come from traces.
            max_labeled_demos: Most demos per set when it is filled up with labelled examples.
            auto: Size of the search; with None, ``num_candidates`` and
                ``num_trials`` decide it.
            num_candidates: Instructions and demo sets per predictor.
            num_threads: Rows evaluated at a time; default ``dspy.settings.num_threads``.
            max_errors: Rows the program may fail on before the compile stops.
                None allows the teacher ``dspy.settings.max_errors`` and
                candidates any number, as a failed row has the score 0.
            seed: Decides every draw; 0 is a seed like any other.
            init_temperature: Temperature of the prompt model for instructions.
            verbose: Log each step of the progress.
            track_stats: Attach ``trial_logs``, ``candidate_programs`` and
                ``mb_candidate_programs`` to the result.
            log_dir: Folder that gets every candidate measured in full, as JSON.
            metric_threshold: What a trace must score to become a demo.
            store: Keeps finished work for later compiles; default is memory, for one compile.
            version: With a ``store``, stands for the parts of the metric or the
                program that cannot be hashed by content; change it with them.
            on_progress: Called with the progress of the compile.
            on_warning: Called with a warning, before most is paid for; default logs it.
            held_out: Rows to evaluate after the compile, for which a budget reserves enough.
            rounds: Most rounds of instructions that are written from mistakes
                on training examples; default 4 for light, 6 for medium, 8 for
                heavy, and none with ``auto=None``.
            executor: Where rows run: an executor, which you shut down, or a
                function that makes one; default is threads of this process.

        Raises:
            DeclarationError: An option is wrong, or there is no model. It is a
                ``ValueError`` too.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy has no types for it
        Options.checked(
            auto=auto,
            num_candidates=num_candidates,
            max_bootstrapped_demos=max_bootstrapped_demos,
            max_labeled_demos=max_labeled_demos,
            seed=seed,
            init_temperature=float(init_temperature),
            metric_threshold=None if metric_threshold is None else float(metric_threshold),
            rounds=rounds,
        )
        self.metric = metric
        self.task_model = model_of("task_model", task_model) or dspy.settings.lm
        self.prompt_model = model_of("prompt_model", prompt_model) or dspy.settings.lm
        self._has_prompt_model = prompt_model is not None
        if not self.task_model or not self.prompt_model:
            message = (
                "give prompt_model and task_model, or set a default with dspy.configure(lm=...)"
            )
            raise DeclarationError(message)
        self.teacher_settings = settings_of_teacher(teacher_settings)
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.auto = auto
        self.num_candidates = num_candidates
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.seed = seed
        self.init_temperature = float(init_temperature)
        self.verbose = verbose
        self.track_stats = track_stats
        self.log_dir = log_dir
        self.metric_threshold = None if metric_threshold is None else float(metric_threshold)
        self.usage = Usage()
        self.total_calls = 0
        self.prompt_model_total_calls = 0
        self.cut: BudgetCut | None = None
        self.resumed = 0
        self.search: SearchLog | None = None
        self.result: PipelineResult | None = None
        self.held_out = held_out
        self.rounds = rounds
        self.version = version
        self._store = store
        self._on_progress = on_progress or (lambda _: None)
        self._on_warning = on_warning
        self._executor = executor

    def get_params(self) -> dict[str, Any]:
        """Return the arguments of the constructor that ``dspy.MIPROv2`` has, by name."""
        return {name: getattr(self, name) for name in _PARAMETERS}

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
        """Return an optimized copy of ``student``.

        Args:
            student: The program; it is not modified.
            trainset: Examples to bootstrap demos from and to show the prompt
                model.
            teacher: The program to bootstrap from; default the student.
            valset: Examples that candidates are measured on; default 80% of
                ``trainset``.
            num_trials: Candidates to try, with ``auto=None``.
            max_bootstrapped_demos: Overrides the constructor's.
            max_labeled_demos: Overrides the constructor's.
            seed: Overrides the constructor's.
            minibatch: Measure trials on part of the validation set.
            minibatch_size: Most rows of that part.
            minibatch_full_eval_steps: Accepted as in DSPy, without effect: only
                the finalists are measured in full, once.
            program_aware_proposer: Show the program's code to the prompt model.
            data_aware_proposer: Show it a summary of ``trainset``.
            view_data_batch_size: Examples per call while summarizing.
            tip_aware_proposer: Give it a style tip per instruction.
            fewshot_aware_proposer: Show it demos.
            requires_permission_to_run: Removed from DSPy; False warns, True
                raises.
            provide_traceback: Log the tracebacks of failing rows.
            teacher_settings: Overrides the constructor's.

        Returns:
            The program, with ``score`` (0 to 100, on the validation set) and,
            with ``track_stats``, ``trial_logs``, ``candidate_programs`` and
            ``mb_candidate_programs``.

        Raises:
            DeclarationError: The arguments contradict each other.
            InfrastructureError: A language model could not be asked.
            MetricError: The metric returned no score.
            ProgramError: The program failed on more than ``max_errors`` rows.
        """
        refuse_permission(requires_permission=requires_permission_to_run)
        refuse_no_program("student", student)
        if teacher is not None:
            refuse_no_program("teacher", teacher)
        overrides = {
            "num_trials": num_trials,
            "max_bootstrapped_demos": max_bootstrapped_demos,
            "max_labeled_demos": max_labeled_demos,
            "seed": seed,
        }
        options = Options.checked(
            **{
                **{name: getattr(self, name) for name in _OPTIONS},
                **{name: value for name, value in overrides.items() if value is not None},
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
        threads = self.num_threads or dspy.settings.num_threads
        executor = ExecutorSource.of(self._executor)
        workers = WorkerPool(threads, executor=executor)
        store = self._store or Store.in_memory()
        try:
            pipeline = self._pipeline(
                student=student,
                teacher=teacher,
                teacher_settings=settings_of_teacher(teacher_settings or self.teacher_settings),
                options=options,
                plan=plan,
                store=store,
                workers=workers,
                provide_traceback=bool(provide_traceback),
            )
            return self._program(self._run(pipeline, workers))
        finally:
            if self._store is None:
                store.close()
            if executor is not None and executor is not self._executor:
                executor.close()

    def _pipeline(
        self,
        *,
        student: dspy.Module,
        teacher: dspy.Module | None,
        teacher_settings: dict[str, Any],
        options: Options,
        plan: Plan,
        store: Store,
        workers: WorkerPool,
        provide_traceback: bool,
    ) -> Pipeline:
        most = dspy.settings.max_errors if self.max_errors is None else self.max_errors
        evaluator = teacher_evaluator = self._evaluator(student, {"lm": self.task_model})
        if teacher is not None or teacher_settings:
            settings = {"lm": self.task_model, **teacher_settings}
            teacher_evaluator = self._evaluator(teacher or student, settings)
        bootstrap = Bootstrap(
            evaluator=teacher_evaluator,
            student=student,
            teacher=teacher,
            trainset=plan.trainset,
            store=store,
            workers=workers,
            failure_limit=FailureLimit(most, provide_traceback=provide_traceback),
        )
        proposer = GroundedProposer(
            prompt_model=self._prompt_model_for(teacher_settings),
            adapter=dspy.settings.adapter,
            student=student,
            trainset=plan.trainset,
            options=options,
            store=store,
            workers=workers,
        )
        budget = SearchBudget(current_account(), self.held_out, len(student.predictors()))
        reporter = ProgressReporter(workers, self._on_progress, verbose=self.verbose)
        failure_limit = FailureLimit(self.max_errors, provide_traceback=provide_traceback)
        rows = StoredRows(evaluator, store, workers, failure_limit)
        runs = TrainingRuns(evaluator, plan.trainset, store, workers, failure_limit)
        return Pipeline(
            student=student,
            plan=plan,
            zero_shot=options.zero_shot,
            bootstrap=bootstrap,
            proposer=proposer,
            search=Search(rows, plan.valset, plan.limits, reporter.report, budget),
            rounds=Rounds(runs, proposer, workers, plan.limits),
            budget=budget,
            workers=workers,
            reporter=reporter,
            warn=self._on_warning,
        )

    def _prompt_model_for(self, teacher_settings: Mapping[str, Any]) -> dspy.BaseLM:
        """Return the declared prompt model, or else the teacher's model."""
        if self._has_prompt_model:
            return self.prompt_model
        return teacher_settings.get("lm") or self.prompt_model

    def _evaluator(self, program: dspy.Module, settings: dict[str, Any]) -> Evaluator:
        lm, adapter = settings["lm"], settings.setdefault("adapter", dspy.settings.adapter)
        try:
            with fingerprint.described_once():
                key = fingerprint.evaluation_key(program, self.metric, lm, adapter, self.version)
                answers = fingerprint.predictions_key(program, lm, adapter, self.version)
        except FingerprintError:
            if self._store is not None:
                raise
            # No row outlives this compile, so any unique key will do.
            key, answers = uuid.uuid4().hex, None
        return Evaluator(self.metric, settings, key, answers)

    def _run(self, pipeline: Pipeline, workers: WorkerPool) -> PipelineResult:
        self.cut = self.search = self.result = None
        try:
            result = run_to_completion(pipeline.run(), workers)
        except InfrastructureError as error:
            if self._store is None:
                error.starts_over = (
                    "nothing is kept without a store=, so the next compile starts over"
                )
            raise
        finally:
            self.usage = workers.usage
            self.total_calls = workers.usage.calls
            self.prompt_model_total_calls = workers.usage_of(Proposal).calls
            self.resumed = workers.resumed
        self.cut, self.search, self.result = result.cut, result.log, result
        return result

    def _program(self, result: PipelineResult) -> dspy.Module:
        """Return the winner with its score and statistics, and log the candidates."""
        search, space = result.search, result.search.space
        program = space.program(search.winner)
        attributes: dict[str, Any] = {"score": percent(search.scores[search.winner])}
        if self.track_stats:
            attributes |= statistics(space, search, result.full)
            attributes["total_calls"] = self.total_calls
            attributes["prompt_model_total_calls"] = self.prompt_model_total_calls
        vars(program).update(attributes)
        if self.log_dir is not None:
            save_candidates(Path(self.log_dir), space, search, result.full)
        return program
