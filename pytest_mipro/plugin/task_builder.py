"""Build the task of a test from its declaration, its fixtures and the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy
import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.models import resolve_model
from pytest_mipro.optimize import optimizer_of
from pytest_mipro.plugin.declaration import METRICS
from pytest_mipro.plugin.node import node_id
from pytest_mipro.task import (
    DEFAULT_OPTIMIZER,
    OPTION_NAMES,
    OptimizerChoice,
    Task,
    build_program,
    check_adapter,
    check_inputs,
    check_metric,
    check_metrics,
    check_optimizer,
    hidden_output_warning,
    is_sampled,
    near_duplicate_warning,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_mipro.plugin.declaration import CheckedDeclaration
    from pytest_mipro.plugin.executors import Executors
    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.task import Metric

_DEFAULT_THREADS = 8
_NO_PARAMETER = "has no parameter defined"
"""Words of pytest's failure if a test does not request a fixture with params at collection."""


@dataclass(frozen=True)
class TaskModels:
    """The models of a task and its teacher.

    Attributes:
        lm: Answers for the program.
        adapter: The adapter that suits ``lm``; None leaves DSPy's default.
        max_threads: Most calls that ``lm`` takes at a time; None is no limit.
        prompt_lm: Writes instructions.
        teacher: The program that demos are bootstrapped from, if not the baseline.
        teacher_lm: Answers for the teacher, if not ``lm``.
    """

    lm: dspy.BaseLM
    adapter: dspy.Adapter | None
    max_threads: int | None
    prompt_lm: dspy.BaseLM
    teacher: dspy.Module | None
    teacher_lm: dspy.BaseLM | None

    @property
    def lms(self) -> list[dspy.BaseLM]:
        """All language models."""
        return [lm for lm in (self.lm, self.prompt_lm, self.teacher_lm) if lm is not None]


class TaskBuilder:
    """Builds the task of one test; an argument that is not declared comes from its fixture."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        declared: CheckedDeclaration,
        settings: Settings,
        executors: Executors,
    ) -> None:
        """Build from what the requesting test declared."""
        self._executors = executors
        self._request = request
        self._declared = declared
        self._settings = settings

    def models(self) -> TaskModels:
        """Return the models of the task.

        Raises:
            ModelError: There is no model, or one that cannot be called.
        """
        timeout = self._settings.timeout
        model = resolve_model(self._settings.lm or self._value("lm"), timeout)
        teacher = self._value("teacher")
        is_program = isinstance(teacher, dspy.Module)
        teacher_lm = None
        if teacher is not None and not is_program:
            teacher_lm = resolve_model(teacher, timeout).lm
        prompt_lm = self._value("prompt_lm")
        return TaskModels(
            lm=model.lm,
            adapter=model.adapter,
            max_threads=model.threads,
            prompt_lm=(
                teacher_lm or model.lm
                if prompt_lm is None
                else resolve_model(prompt_lm, timeout).lm
            ),
            teacher=teacher if is_program else None,
            teacher_lm=teacher_lm,
        )

    def task(self, name: str, models: TaskModels, warn: Callable[[str], None]) -> Task:
        """Return the task.

        Args:
            name: Its name.
            models: Its models.
            warn: Warns the user about the test.

        Raises:
            DeclarationError: An argument is missing or cannot be used.
        """
        program = build_program(self._required("program"))
        (metric_name, metric), *further = self._metrics().items()
        dataset = self._declared.dataset or self._declared.load(self._required("dataset"))
        check_inputs(program, dataset.splits)
        if models.teacher is not None:
            check_inputs(models.teacher, {"train": dataset.train}, "teacher")
        executor = self._executors.source_of(self._fixture("mipro_executor"))
        warnings = near_duplicate_warning(dataset.splits), hidden_output_warning(program)
        for warning in filter(None, warnings):
            warn(f"{name}: {warning}")
        return Task(
            name=name,
            test=node_id(self._request.node),
            program=program,
            metric=metric,
            metric_name=metric_name,
            further_metrics=dict(further),
            dataset=dataset,
            lm=models.lm,
            prompt_lm=models.prompt_lm,
            teacher=models.teacher,
            teacher_lm=models.teacher_lm,
            adapter=self._adapter() or models.adapter,
            optimizer=self._optimizer(),
            options=self._declared.options,
            threads=self._threads(None if executor else models.max_threads),
            executor=executor,
            repeat=self._repeat(name, warn, sampled=is_sampled(program, models.lm)),
            alpha_spending=self._declared.values.get(
                "alpha_spending", self._settings.alpha_spending
            ),
            sequential=self._declared.values.get("sequential", self._settings.sequential),
            **self._declared.task_attributes,
        )

    def _value(self, name: str) -> Any:
        if name in self._declared.values:
            return self._declared.values[name]
        return self._fixture(f"mipro_{name}")

    def _fixture(self, fixture: str) -> Any:
        try:
            return self._request.getfixturevalue(fixture)
        except pytest.fail.Exception as error:
            # pytest gives a parameter to the fixtures that it sees a test request at collection.
            if fixture in self._request.fixturenames or _NO_PARAMETER not in str(error):
                raise
            message = (
                f"the fixture {fixture}, or a fixture that it requests, has params, which pytest "
                f"gives only to a test that requests the fixture itself: take {fixture} as an "
                f"argument of the test, or mark it with @pytest.mark.usefixtures({fixture!r})"
            )
            raise DeclarationError(message) from error

    def _required(self, name: str) -> Any:
        value = self._value(name)
        if value is None:
            message = (
                f"no {name} is declared; give {name}=... to @mipro_optimize, "
                f"or override the mipro_{name} fixture"
            )
            raise DeclarationError(message)
        return value

    def _metrics(self) -> Mapping[str, Metric]:
        """Return the metrics by name, the optimized one first; one alone has the empty name."""
        declared = METRICS.intersection(self._declared.values)
        metrics = self._value("metrics") if declared != {"metric"} else None
        if metrics is None:
            metric = self._required("metric")
            check_metric(metric)
            return {"": metric}
        if not declared and self._value("metric") is not None:
            message = (
                "the fixtures mipro_metric and mipro_metrics both give a metric; let one of them "
                "return None, or declare metric=... or metrics={...}"
            )
            raise DeclarationError(message)
        check_metrics(metrics)
        checked: Mapping[str, Metric] = metrics
        return checked

    def _adapter(self) -> Any:
        adapter = self._value("adapter")
        check_adapter(adapter)
        return adapter

    def _optimizer(self) -> OptimizerChoice:
        """Return the optimizer: of the flag, the test's parameter, the marker or the fixture."""
        declared = self._value("optimizer")
        spec = (
            self._settings.optimizer
            or self._parameter("optimizer")
            or declared
            or DEFAULT_OPTIMIZER
        )
        check_optimizer(spec)
        # Options are those of the declared optimizer, not of one that replaces it.
        is_replaced = declared is not None and spec != declared
        hook = self._request.config.hook.pytest_mipro_optimize
        functions = tuple(implementation.function for implementation in hook.get_hookimpls())
        choice = OptimizerChoice(
            spec=spec,
            options={} if is_replaced else self._declared.values.get("optimizer_options", {}),
            hook=(lambda task: hook(task=task)) if functions else None,
            hook_functions=functions,
        )
        optimizer_of(choice)
        if declared is not None and not is_replaced:
            self._refuse_mipro_options(choice)
        return choice

    def _parameter(self, name: str) -> Any:
        callspec = getattr(self._request.node, "callspec", None)
        return None if callspec is None else callspec.params.get(name)

    def _refuse_mipro_options(self, choice: OptimizerChoice) -> None:
        """Refuse options of MIPROv2 beside another optimizer that the test declares."""
        declared = self._declared.values
        names = [name for name in OPTION_NAMES if name != "seed" and name in declared]
        if names and choice.spec != DEFAULT_OPTIMIZER:
            message = (
                f"{names[0]}={declared[names[0]]!r:.80} is an option of MIPROv2 and "
                f"does nothing for optimizer={choice.name!r}; leave it out, or give the "
                "optimizer's own options in optimizer_options={...}"
            )
            raise DeclarationError(message)

    def _threads(self, most: int | None) -> int:
        threads = self._settings.threads or _DEFAULT_THREADS
        return threads if most is None else min(threads, most)

    def _repeat(self, name: str, warn: Callable[[str], None], *, sampled: bool) -> int:
        settings, values = self._settings, self._declared.values
        repeat = settings.repeat or values.get("repeat", settings.default_repeat)
        if repeat == 1 or sampled:
            return int(repeat)
        warn(
            f"{name}: repeat={repeat} is of no use at temperature 0, where every answer would be "
            "the same, so each held-out example is answered once; give the model a temperature "
            "above 0, or leave repeat out"
        )
        return 1
