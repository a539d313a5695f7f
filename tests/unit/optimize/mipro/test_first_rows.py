from __future__ import annotations

import dataclasses
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from compiles import ANSWER, TRAIN, VAL, average_lm, calls_of, compiled, exact, small_optimizer
from scripted import ScriptedEngine

from pytest_mipro.errors import MetricError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dspy import lm15


class Program(dspy.Module):
    """A program that calls a predictor of its own, and then a function."""

    def __init__(self, function: Callable[[Any, dspy.Prediction], object]) -> None:
        super().__init__()
        self.solve = dspy.Predict(ANSWER)
        self.function = function

    def forward(self, question: str) -> object:
        """Answer ``question``."""
        return self.function(self, self.solve(question=question))


SHORT = {"num_candidates": 1, "max_bootstrapped_demos": 0, "max_labeled_demos": 0}
"""Options of a compile of little more than the first rows."""


def warnings_of(program: dspy.Module, **options: Any) -> list[str]:
    """Return the warnings of a short compile of ``program``."""
    warnings: list[str] = []
    optimizer = small_optimizer(average_lm(), on_warning=warnings.append, **SHORT, **options)
    compiled(optimizer, program, num_trials=1)
    return warnings


class TestBrokenBaselines:
    def test_a_broken_program_is_found_before_the_compile(self) -> None:
        """The error names the line, after the first rows and no other call."""
        lm = average_lm()
        with pytest.raises(ProgramError, match="5 of 5 first validation examples") as caught:
            compiled(small_optimizer(lm), Program(lambda _, prediction: prediction.anwser))
        assert "the baseline program failed on 5 of 5" in str(caught.value)
        assert "test_first_rows.py" in str(caught.value)
        assert calls_of(lm) == 5

    def test_a_broken_metric_is_found_before_the_compile(self) -> None:
        """The metric scores the first rows before a demo or an instruction is paid for."""
        lm = average_lm()
        optimizer = small_optimizer(lm, metric=lambda example, prediction, trace=None: None)
        with pytest.raises(MetricError, match="returned None"):
            compiled(optimizer, Program(lambda _, prediction: prediction))
        assert calls_of(lm) <= 5

    def test_different_failures_are_those_of_the_rows(self) -> None:
        """A program that fails on some of its first rows, or in two ways, is compiled."""
        numbers = count(1)

        def fail(_: Program, prediction: dspy.Prediction) -> object:
            number = next(numbers)
            if number % 5 == 1:
                return prediction
            raise (ValueError if number % 2 else TypeError)

        assert warnings_of(Program(fail), num_threads=1) == []

    def test_answers_without_the_right_form_are_no_fault_of_the_code(self) -> None:
        """Demos may teach a model the form that it does not know yet."""

        class Formless(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                has_demos = len(request.messages) > 1
                asks_for_answer = "## answer ##" in (request.messages[-1].text or "")
                if has_demos or not asks_for_answer:
                    return response
                return dataclasses.replace(response, message=type(response.message).assistant("?"))

        lm = dspy.LM("scripted", engine=Formless(base=100), cache=False)
        program = compiled(small_optimizer(lm), num_trials=3)
        assert program.score == 100

    def test_a_small_validation_set_proves_nothing(self) -> None:
        """Two rows may be difficult ones."""

        def fail(_: Program, prediction: dspy.Prediction) -> object:
            raise ValueError(prediction)

        optimizer = small_optimizer(average_lm())
        arguments = {"trainset": TRAIN, "valset": VAL[:2], "num_trials": 1, "minibatch": False}
        assert compiled(optimizer, Program(fail), **arguments).score == 0


@dataclasses.dataclass
class Tools:
    """A container in which DSPy finds no predictor."""

    check: dspy.Predict


def created(_: Program, prediction: dspy.Prediction) -> object:
    """Call a predictor that is made for the call."""
    dspy.ChainOfThought("answer -> remark")(answer=prediction.answer)
    return prediction


def hidden(program: Program, prediction: dspy.Prediction) -> object:
    """Call a predictor in a partial function, and one in an object without a class of its own."""
    check = vars(program).setdefault("check", partial(dspy.Predict("answer -> check")))
    holder = vars(program).setdefault(
        "holder", SimpleNamespace(mark=dspy.Predict("answer -> mark"))
    )
    check(answer=prediction.answer)
    holder.mark(answer=prediction.answer)
    return prediction


def contained(program: Program, prediction: dspy.Prediction) -> object:
    """Call a predictor in a dataclass, and one in a dictionary of dictionaries."""
    tools = vars(program).setdefault("tools", Tools(dspy.Predict("answer -> check")))
    nested = vars(program).setdefault("nested", {"a": {"b": dspy.Predict("answer -> mark")}})
    tools.check(answer=prediction.answer)
    nested["a"]["b"](answer=prediction.answer)
    return prediction


def alike(_: Program, prediction: dspy.Prediction) -> object:
    """Call a predictor with the signature of an own one, which it is no copy of."""
    dspy.Predict("question -> answer")(question=prediction.answer)
    return prediction


def repeated(program: Program, _: dspy.Prediction) -> object:
    """Call copies of an own predictor."""
    best_of_two = dspy.BestOfN(program.solve, N=2, reward_fn=lambda *_: 0.0, threshold=1.0)
    return best_of_two(question="1 + 1")


def judged(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Score with a predictor of the metric's own."""
    dspy.Predict("answer -> verdict")(answer=prediction.answer)
    return exact(example, prediction, trace)


class Frozen(dspy.Module):
    """A module that its author excluded from optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("answer -> remark")
        self._compiled = True

    def forward(self, answer: str) -> object:
        """Remark on an answer."""
        return self.predict(answer=answer)


class WithFrozen(dspy.Module):
    """A program that calls a module that is not to be optimized."""

    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.Predict(ANSWER)
        self.remark = Frozen()

    def forward(self, question: str) -> object:
        """Answer ``question``, and remark on the answer."""
        prediction = self.solve(question=question)
        self.remark(answer=prediction.answer)
        return prediction


class TestForeignPredictors:
    @pytest.mark.parametrize(
        "function, names",
        [
            (created, ["'answer -> reasoning, remark' (called 5 times)"]),
            (alike, ["'question -> answer' (called 5 times)"]),
            (hidden, ["'answer -> check' (called 5 times)", "'answer -> mark' (called 5 times)"]),
            (
                contained,
                ["'answer -> check' (called 5 times)", "'answer -> mark' (called 5 times)"],
            ),
        ],
    )
    def test_calls_of_foreign_predictors_are_named(
        self, function: Callable[[Any, dspy.Prediction], object], names: list[str]
    ) -> None:
        """One warning names each predictor that no search can improve, and where DSPy looks."""
        (warning,) = warnings_of(Program(function))
        assert warning.startswith(
            "calls of the program came from predictors that are not part of it"
        )
        assert all(name in warning for name in names)
        assert "make each an attribute" in warning

    def test_own_predictors_copies_and_judges_are_not_foreign(self) -> None:
        """Copies of an own predictor, a frozen module and the metric's judge cause no warning."""
        assert warnings_of(Program(repeated), metric=judged) == []
        assert warnings_of(WithFrozen()) == []

    def test_a_warning_is_logged_by_default(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without a callback the warning goes to the log."""
        compiled(small_optimizer(average_lm(), **SHORT), Program(created), num_trials=1)
        assert "predictors that are not part of it" in caplog.text
