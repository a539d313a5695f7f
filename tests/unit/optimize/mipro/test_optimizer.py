from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import json
import logging
import random
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy
import pytest
from dspy import lm15
from dspy.signatures import make_signature
from dspy.teleprompt import Teleprompter
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro import MIPROv2
from pytest_mipro.errors import (
    DeclarationError,
    FingerprintError,
    InfrastructureError,
    MetricError,
    ProgramError,
)
from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.store import Store
from pytest_mipro.task import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.records import Progress


def sums(count: int, first: int = 0) -> list[dspy.Example]:
    """Return ``count`` sums with their answers."""
    return [
        dspy.Example(
            question=f"{number} + {number * 7 % 13}", answer=f"{number + number * 7 % 13}"
        ).with_inputs("question")
        for number in range(first, first + count)
    ]


TRAIN, VAL = sums(8), sums(10, 100)


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Say whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def optimizer(lm: dspy.LM, **options: Any) -> MIPROv2:
    """Return an optimizer whose models are ``lm``."""
    return MIPROv2(**{"metric": exact, "prompt_model": lm, "task_model": lm, **options})


def small(lm: dspy.LM, **options: Any) -> MIPROv2:
    """Return an optimizer for a search that takes about 70 calls, twice as many in two steps."""
    return optimizer(lm, **{"auto": None, "num_candidates": 4, "num_threads": 4, **options})


def compiled(made: MIPROv2, student: dspy.Module | None = None, **arguments: Any) -> dspy.Module:
    """Return what ``made`` makes of the student."""
    given = {
        "trainset": TRAIN,
        "valset": VAL,
        **({"num_trials": 5, "minibatch_size": 6} if made.options.auto is None else {}),
        **arguments,
    }
    program = dspy.Predict("question -> answer") if student is None else student
    return made.compile(program, **given)


def dumped(program: dspy.Module) -> str:
    """Return a program's state as the bytes that would be saved."""
    return json.dumps(program.dump_state(), sort_keys=True)


def calls(lm: dspy.LM) -> int:
    """Return how often ``lm`` was asked."""
    count: int = lm._engine_spec.calls
    return count


def lm_on(engine: ScriptedEngine) -> dspy.LM:
    """Return a model that answers from ``engine``."""
    return dspy.LM("scripted", engine=engine, cache=False, num_retries=0)


class Recording(ScriptedEngine):
    """Keeps what it is asked."""

    def __init__(self, base: int = 30) -> None:
        super().__init__(base=base)
        self.requests: list[lm15.Request] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        self.requests.append(request)
        return super().complete(request)

    def asks_for(self, name: str) -> int:
        return sum(
            f"`[[ ## {name} ## ]]`" in (each.messages[-1].text or "") for each in self.requests
        )


def average_lm(**options: Any) -> dspy.LM:
    """Return a model that is right more often than not."""
    return scripted_lm(base=60, **options)


def dies(after: int) -> ScriptedEngine:
    """Return an engine that can be asked so often and then no more, and is like ``average_lm``."""
    engine = ScriptedEngine(base=60)
    answer = engine.complete

    def complete(request: lm15.Request) -> lm15.Response:
        response = answer(request)
        if engine.calls > after:
            message = "no credit left"
            raise dspy.LMBillingError(message)
        return response

    vars(engine)["complete"] = complete
    return engine


class Inner(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.ChainOfThought("question, thought -> answer")

    def forward(self, question: str, thought: str) -> object:
        return self.solve(question=question, thought=thought)


class TwoStep(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.Predict("question -> thought")
        self.inner = Inner()

    def forward(self, question: str) -> object:
        return self.inner(question=question, thought=self.think(question=question).thought)


class Compiled(NamedTuple):
    """What compiling came to: the program, and how often the model was asked for it."""

    program: dspy.Module
    calls: int


def usual(student: dspy.Module) -> Compiled:
    """Return what an average model makes of a student with 4 threads, all else left as it is."""
    lm = average_lm()
    return Compiled(compiled(small(lm), student), calls(lm))


@pytest.fixture(scope="module")
def one_step() -> Compiled:
    """Return what usually comes of one predictor; no test changes it."""
    return usual(dspy.Predict("question -> answer"))


@pytest.fixture(scope="module")
def two_step() -> Compiled:
    """Return what usually comes of two predictors; no test changes it."""
    return usual(TwoStep())


class TestSignature:
    @pytest.mark.parametrize("name", ["__init__", "compile"])
    def test_is_dspys(self, name: str) -> None:
        """Names, order, kinds and defaults are DSPy's; ours come after, by keyword only."""
        theirs = inspect.signature(getattr(dspy.MIPROv2, name)).parameters
        ours = inspect.signature(getattr(MIPROv2, name)).parameters
        extras = [each for each in ours.values() if each.name not in theirs]
        described = [
            (each.name, each.kind, each.default) for each in ours.values() if each not in extras
        ]
        assert described == [(each.name, each.kind, each.default) for each in theirs.values()]
        assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in extras)
        assert all(each.default is not inspect.Parameter.empty for each in extras)
        assert [*ours][len(theirs) :] == [each.name for each in extras]

    def test_compile_takes_teacher_settings(self) -> None:
        """Tutorials pass teacher_settings to compile; it is accepted there too."""
        weak, strong = scripted_lm(base=0), scripted_lm(base=100)
        compiled(small(weak), teacher_settings={"lm": strong})
        assert calls(strong) > 0

    def test_is_a_teleprompter(self) -> None:
        """Code that asks for a teleprompter gets one."""
        assert isinstance(optimizer(scripted_lm()), Teleprompter)

    def test_models_default_to_the_configured_one(self) -> None:
        """Without models the one of dspy.configure or dspy.context is used."""
        lm = scripted_lm()
        with dspy.context(lm=lm):
            made = MIPROv2(metric=exact, auto=None, num_candidates=3)
        assert made.task_model is made.prompt_model is lm
        compiled(made)
        assert calls(lm) > 0


class TestErrors:
    def test_no_model(self) -> None:
        """Without any model there is a ValueError that says how to give one."""
        with dspy.context(lm=None), pytest.raises(ValueError, match=r"dspy\.configure"):
            MIPROv2(metric=exact)

    @pytest.mark.parametrize(
        "options",
        [
            {"auto": "tiny"},
            {"num_candidates": 0, "auto": None},
            {"max_bootstrapped_demos": -1},
            {"max_labeled_demos": -1},
            {"init_temperature": float("nan")},
            {"metric_threshold": float("nan")},
            {"seed": "nine"},
        ],
    )
    def test_a_wrong_option(self, options: dict[str, Any]) -> None:
        """A value an option does not take is a ValueError that names both."""
        *_, name = sorted(options, key=lambda each: options[each] is None, reverse=True)
        with pytest.raises(ValueError, match=name) as caught:
            optimizer(scripted_lm(), **options)
        assert isinstance(caught.value, DeclarationError)
        assert str(options[name]) in str(caught.value)

    @pytest.mark.parametrize(
        "options, arguments, message",
        [
            ({"auto": None}, {"num_trials": 5}, "num_candidates"),
            ({"auto": None}, {"num_trials": None}, "num_candidates"),
            ({"auto": "light", "num_candidates": 5}, {}, "auto"),
            ({"auto": "light"}, {"num_trials": 5}, "auto"),
            ({"auto": "heavy", "num_candidates": 5}, {"num_trials": 5}, "auto"),
            ({}, {"trainset": []}, "trainset"),
            ({}, {"trainset": sums(1), "valset": None}, "valset"),
            ({}, {"valset": []}, "valset"),
            ({}, {"requires_permission_to_run": True}, "requires_permission_to_run"),
            ({"auto": None, "num_candidates": 3}, {"minibatch_size": 17}, "17.*10"),
            ({"auto": None, "num_candidates": 3}, {"minibatch_size": 0}, "minibatch_size"),
            ({"auto": None, "num_candidates": 3}, {"num_trials": 0}, "num_trials"),
            ({}, {"max_bootstrapped_demos": -1}, "max_bootstrapped_demos"),
        ],
    )
    def test_arguments_that_do_not_fit(
        self, options: dict[str, Any], arguments: dict[str, Any], message: str
    ) -> None:
        """Arguments that contradict each other are a ValueError before any call is made."""
        lm = scripted_lm()
        with pytest.raises(ValueError, match=message):
            compiled(optimizer(lm, **options), **arguments)
        assert calls(lm) == 0

    @pytest.mark.parametrize(
        "candidates, student, demos, number",
        [
            (6, "one", 4, 10),
            (6, "two", 4, 20),
            (6, "two", 0, 10),
            (16, "one", 4, 24),
        ],
    )
    def test_recommends_a_number_of_trials(
        self, candidates: int, student: str, demos: int, number: int
    ) -> None:
        """Where num_trials is missing, the message has DSPy's number for it."""
        program = dspy.Predict("question -> answer") if student == "one" else TwoStep()
        made = optimizer(
            scripted_lm(),
            auto=None,
            num_candidates=candidates,
            max_bootstrapped_demos=demos,
            max_labeled_demos=demos,
        )
        with pytest.raises(ValueError, match=rf"num_trials.*\b{number}\b"):
            compiled(made, program, num_trials=None)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"student": TwoStep}, r"student=<class .*TwoStep.* is not a dspy\.Module"),
            ({"teacher": "gpt"}, r"teacher='gpt' is not a dspy\.Module"),
            ({"trainset": [{"question": "1 + 1"}]}, r"trainset\[0\] is .*: expected a dspy\.Ex"),
            ({"trainset": [dspy.Example(question="1")]}, r"trainset\[0\] does not say .* inputs"),
            ({"valset": [None]}, r"valset\[0\] is None: expected a dspy\.Example"),
        ],
    )
    def test_what_is_no_program_and_no_example(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        """A script that passes something else is told what and where, before any call."""
        lm = scripted_lm()
        given = {"student": TwoStep(), "trainset": sums(9), "valset": sums(9, 9), **arguments}
        with pytest.raises(DeclarationError, match=message):
            small(lm).compile(**given)
        assert calls(lm) == 0

    def test_permission_that_is_not_needed_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        """False, as old tutorials write it, is taken with a warning."""
        compiled(small(scripted_lm()), requires_permission_to_run=False)
        assert "requires_permission_to_run" in caplog.text

    def test_a_small_validation_set_needs_no_minibatch_size(self) -> None:
        """With auto, the default minibatch size is no error on a set of 16."""
        assert compiled(optimizer(scripted_lm(), num_threads=4)).score >= 0

    def test_a_large_minibatch_that_is_not_used(self) -> None:
        """With minibatch=False the size of minibatches does not matter."""
        result = compiled(small(scripted_lm()), minibatch=False, minibatch_size=1000)
        assert not result.mb_candidate_programs or result.score >= 0


class TestSizes:
    @pytest.mark.parametrize(
        "auto, candidates, most", [("light", 6, 100), ("medium", 12, 300), ("heavy", 18, 1000)]
    )
    def test_of_auto(self, auto: str, candidates: int, most: int) -> None:
        """Light, medium and heavy have DSPy's candidate counts and validation sizes."""
        options = Options.declare(auto=auto)
        plan = Plan.make(options, 1, sums(10), sums(1200, 100))
        assert plan.demos.sets == candidates
        assert plan.instructions == candidates // 2
        assert len(plan.valset) == most
        assert len({each.question for each in plan.valset}) == most
        assert plan.effort.rows == 35

    @pytest.mark.parametrize(
        "auto, predictors, trials",
        [
            ("light", 1, 10),
            ("light", 2, 20),
            ("medium", 1, 18),
            ("medium", 2, 28),
            ("heavy", 1, 27),
        ],
    )
    def test_trials_of_auto(self, auto: str, predictors: int, trials: int) -> None:
        """The number of trials is DSPy's, by candidates and predictors."""
        plan = Plan.make(Options.declare(auto=auto), predictors, sums(10), sums(60, 100))
        assert plan.effort.trials == trials

    def test_of_auto_without_demos(self) -> None:
        """Zero-shot spends everything on instructions."""
        options = Options.declare(max_bootstrapped_demos=0, max_labeled_demos=0)
        assert Plan.make(options, 1, sums(10), sums(60, 100)).instructions == 6

    @pytest.mark.parametrize("size, rows", [(50, 50), (51, 35), (100, 35), (20, 20)])
    def test_minibatches_of_auto(self, size: int, rows: int) -> None:
        """There are minibatches only above 50 validation examples."""
        plan = Plan.make(Options.declare(), 1, sums(10), sums(size, 100))
        assert plan.effort.rows == rows

    @pytest.mark.parametrize(
        "count, train, val", [(10, 2, 8), (2, 1, 1), (100, 20, 80), (2000, 1000, 1000)]
    )
    def test_without_a_valset(self, count: int, train: int, val: int) -> None:
        """80% of the trainset, at most 1000, become the validation set; nothing is in both."""
        rows = sums(count)
        plan = Plan.make(Options.declare(auto="heavy"), 1, rows, None)
        assert (len(plan.trainset), len(plan.valset)) == (train, val)
        assert {each.question for each in plan.trainset} == {each.question for each in rows[:train]}
        assert {each.question for each in plan.valset} == {each.question for each in rows[train:]}

    def test_compiles_without_a_valset(self) -> None:
        """A trainset alone is enough."""
        result = compiled(small(scripted_lm()), trainset=sums(30), valset=None)
        assert 0 <= result.score <= 100


class TestSeeds:
    def statistics(self, seed: int | None, override: int | None = None) -> str:
        lm = scripted_lm()
        made = small(lm) if seed is None else small(lm, seed=seed)
        result = compiled(made, seed=override)
        logs = [
            {name: value for name, value in log.items() if not name.endswith("program")}
            for log in result.trial_logs.values()
        ]
        demos = [dumped(each["program"]) for each in result.candidate_programs]
        return json.dumps([logs, demos])

    def test_0_is_a_seed(self) -> None:
        """The same seed repeats the search, and 0 is one, in the constructor and in compile."""
        zero, nine = self.statistics(0), self.statistics(9)
        assert zero != nine
        assert self.statistics(9, override=0) == zero
        assert self.statistics(None) == nine

    def test_global_randomness_is_not_used(self, one_step: Compiled) -> None:
        """Python's global random state, which DSPy advances, decides nothing."""
        random.seed(1)
        assert dumped(compiled(small(average_lm()))) == dumped(one_step.program)


class TestDemos:
    def test_zero_shot(self) -> None:
        """Without demos only instructions are searched, and no candidate carries a demo."""
        made = small(scripted_lm(), max_bootstrapped_demos=0, max_labeled_demos=0)
        student = TwoStep()
        result = compiled(made, student)
        programs = [result, *(log["program"] for log in every_candidate(result))]
        assert all(not p.demos for program in programs for p in program.predictors())
        assert len({dumped(program) for program in programs}) > 1

    def test_zero_shot_drops_the_students_demos(self) -> None:
        """The result of a zero-shot search carries no demos, whatever the student came with."""
        student = dspy.Predict("question -> answer")
        student.demos = [dspy.Example(question="1 + 1", answer="2")]
        made = small(scripted_lm(), max_bootstrapped_demos=0, max_labeled_demos=0)
        assert compiled(made, student).demos == []

    def test_only_labelled(self) -> None:
        """With labelled demos only, demos are training examples and the teacher is not asked."""
        made = small(scripted_lm(), max_bootstrapped_demos=0, max_labeled_demos=3)
        result = compiled(made)
        demos = all_demos(result)
        known = {example.question: example.answer for example in TRAIN}
        assert demos
        assert all(known[demo["question"]] == demo["answer"] for demo in demos)
        assert not any(demo.get("augmented") for demo in demos)

    def test_only_bootstrapped(self) -> None:
        """With bootstrapped demos only, every demo is a trace."""
        made = small(scripted_lm(base=80), max_bootstrapped_demos=3, max_labeled_demos=0)
        demos = all_demos(compiled(made))
        assert demos
        assert all(demo.get("augmented") for demo in demos)

    def test_compiles_overrides(self) -> None:
        """Numbers of demos given to compile replace the constructor's, 0 included."""
        made = small(scripted_lm(base=80))
        result = compiled(made, max_bootstrapped_demos=0, max_labeled_demos=0)
        assert not all_demos(result)
        assert all_demos(compiled(made))

    @pytest.mark.parametrize(
        "score, threshold, bootstrapped",
        [(0.0, None, False), (0.0, 0.0, True), (0.5, 0.6, False), (0.5, 0.5, True)],
    )
    def test_metric_threshold(
        self, score: float, threshold: float | None, bootstrapped: bool
    ) -> None:
        """A threshold decides what becomes a demo, and 0.0 is a threshold."""
        made = small(
            scripted_lm(),
            metric=lambda *_: score,
            metric_threshold=threshold,
            max_labeled_demos=0,
        )
        assert bool(all_demos(compiled(made))) == bootstrapped

    def test_a_student_with_demos_keeps_them_as_candidate_0(self) -> None:
        """The student's own demos are one of the choices, and the first."""
        student = dspy.Predict("question -> answer")
        student.demos = [dspy.Example(question="1 + 1", answer="2")]
        result = compiled(small(scripted_lm()), student)
        (own,) = [log["program"] for log in every_candidate(result) if log["baseline"]]
        assert dumped(own) == dumped(student)


def every_candidate(result: dspy.Module) -> list[dict[str, Any]]:
    """Return each measured candidate's program, and whether it is candidate 0."""
    return [
        {
            "program": next(value for name, value in log.items() if name.endswith("_program")),
            "baseline": not any(
                value for name, value in log.items() if name[0].isdigit() and "predictor" in name
            ),
        }
        for log in result.trial_logs.values()
    ]


def all_demos(result: dspy.Module) -> list[dict[str, Any]]:
    """Return the demos of all measured candidates."""
    return [
        dict(demo)
        for each in every_candidate(result)
        for predictor in each["program"].predictors()
        for demo in predictor.demos
    ]


class TestPrograms:
    def test_several_predictors_are_searched_together(self) -> None:
        """Instructions and demos of all predictors, nested ones included, are tried."""
        result = compiled(small(scripted_lm(base=80)), TwoStep(), num_trials=12)
        names = ["think", "inner.solve.predict"]
        assert [name for name, _ in result.named_predictors()] == names
        for index in range(2):
            for part in ("instruction", "demos"):
                key = f"{index}_predictor_{part}"
                assert len({log[key] for log in result.trial_logs.values()}) > 1

    def test_chain_of_thought(self) -> None:
        """A chain of thought keeps its reasoning field, also in its demos."""
        result = compiled(small(scripted_lm(base=90)), dspy.ChainOfThought("question -> answer"))
        signature = result.predict.signature
        assert list(signature.output_fields) == ["reasoning", "answer"]
        bootstrapped = [demo for demo in all_demos(result) if demo.get("augmented")]
        assert bootstrapped
        assert all("reasoning" in demo for demo in bootstrapped)

    def test_react(self) -> None:
        """An agent with tools compiles; both of its predictors are optimized."""

        def add(left: int, right: int) -> int:
            """Add two numbers."""
            return left + right

        agent = dspy.ReAct(make_signature("question -> answer", "Add."), tools=[add], max_iters=2)
        lm = scripted_lm(base=90)
        result = compiled(small(lm), agent)
        assert isinstance(result, dspy.ReAct)
        assert [str(name) for name in result.tools] == ["add", "finish"]
        assert result.score > 0
        assert len(result.named_predictors()) == 2
        with dspy.context(lm=lm):
            assert result(question="1 + 1").answer

    def test_frozen_parts_are_left_alone(self) -> None:
        """A compiled submodule that was frozen is neither searched nor changed."""
        student = TwoStep()
        student.inner._compiled = True
        student.inner.solve.predict.demos = [
            dspy.Example(question="0 + 0", thought="", reasoning="", answer="0")
        ]
        before = dumped(student.inner)
        result = compiled(small(scripted_lm()), student)
        assert dumped(result.inner) == dumped(student.inner) == before
        assert result.inner._compiled
        assert not any("1_predictor" in name for log in result.trial_logs.values() for name in log)

    def test_the_student_is_never_modified(self) -> None:
        """The student is the same before and after, and shares nothing with the result."""
        student = TwoStep()
        student.think.demos = [dspy.Example(question="1 + 1", thought="easy")]
        before, attributes = dumped(student), set(vars(student))
        result = compiled(small(scripted_lm()), student)
        assert (dumped(student), set(vars(student))) == (before, attributes)
        for predictor in result.predictors():
            predictor.demos.append(dspy.Example(question="?"))
            predictor.signature = predictor.signature.with_instructions("Changed.")
        assert dumped(student) == before

    def test_the_examples_are_never_modified(self) -> None:
        """Training and validation examples are the same before and after."""
        train, val = sums(12), sums(24, 100)
        compiled(small(scripted_lm(base=80)), trainset=train, valset=val)
        assert train == sums(12)
        assert val == sums(24, 100)
        assert all(set(example.inputs().keys()) == {"question"} for example in (*train, *val))

    def test_the_result_saves_and_loads(self, two_step: Compiled, tmp_path: Path) -> None:
        """The result is a program like any other: its JSON loads into a new student."""
        two_step.program.save(tmp_path / "program.json")
        loaded = TwoStep()
        loaded.load(tmp_path / "program.json")
        assert dumped(loaded) == dumped(two_step.program)

    def test_the_result_has_no_model_pinned(self, one_step: Compiled) -> None:
        """The result asks whichever model is configured where it is used."""
        assert one_step.program.lm is None
        other = scripted_lm()
        with dspy.context(lm=other):
            one_step.program(question="1 + 1")
        assert calls(other) == 1

    def test_improves(self) -> None:
        """On a model that learns from demos the result is better than the student."""
        lm = scripted_lm(base=10, per_demo=18)
        result = compiled(optimizer(lm, num_threads=8), valset=sums(60, 100))
        own = [log for log in every_candidate(result) if log["baseline"]]
        assert own
        assert result.score > 40
        assert result.demos

    def test_works_inside_a_running_loop(self) -> None:
        """In a notebook, where a loop is running, it compiles all the same."""

        async def notebook() -> dspy.Module:
            await asyncio.sleep(0)
            return compiled(small(scripted_lm()))

        assert asyncio.run(notebook()).score >= 0


class TestTeachers:
    def test_settings_with_a_stronger_model(self) -> None:
        """The model in teacher_settings answers while bootstrapping; the task model elsewhere."""
        weak, strong = Recording(base=-1000), Recording(base=100)
        made = small(lm_on(weak), teacher_settings={"lm": lm_on(strong)}, max_labeled_demos=0)
        result = compiled(made)
        demos = all_demos(result)
        assert demos
        assert all(demo["augmented"] for demo in demos)
        assert 0 < strong.calls <= len(TRAIN)
        assert weak.asks_for("answer") > 0

    def test_a_teacher_program(self) -> None:
        """A teacher's prompt is used for bootstrapping and never for candidates."""
        engine = Recording(base=80)
        teacher = dspy.Predict(make_signature("question -> answer", "You are the teacher."))
        result = compiled(small(lm_on(engine)), teacher=teacher, trainset=sums(8))
        asked = [each for each in engine.requests if "the teacher" in (each.system or "")]
        assert 0 < len(asked) <= 8
        assert all("the teacher" not in dumped(log["program"]) for log in every_candidate(result))

    def test_a_teacher_of_another_shape(self) -> None:
        """A teacher with other predictors is a ValueError before any call is made."""
        lm = scripted_lm()
        with pytest.raises(ValueError, match="teacher"):
            compiled(small(lm), teacher=dspy.ChainOfThought("question -> answer"))
        assert calls(lm) == 0

    def test_the_prompt_model_only_writes(self) -> None:
        """Task model and prompt model are asked for their own things only."""
        task, prompt = Recording(), Recording()
        made = small(lm_on(task), prompt_model=lm_on(prompt))
        compiled(made)
        assert prompt.asks_for("proposed_instruction") == prompt.asks_for("answer") + 3
        assert task.asks_for("proposed_instruction") == 0
        assert task.asks_for("answer") == task.calls


class TestStatistics:
    def test_names_and_shapes(self, one_step: Compiled) -> None:
        """The result has DSPy's statistics under DSPy's names."""
        result = one_step.program
        assert isinstance(result.score, float)
        assert result.candidate_programs
        for entries, full in (
            (result.candidate_programs, True),
            (result.mb_candidate_programs, False),
        ):
            scores = [entry["score"] for entry in entries]
            assert scores == sorted(scores, reverse=True)
            assert all(0 <= score <= 100 for score in scores)
            assert all(entry["full_eval"] is full for entry in entries)
            assert all(isinstance(entry["program"], dspy.Predict) for entry in entries)
        for log in result.trial_logs.values():
            kind = "full_eval" if "full_eval_score" in log else "mb"
            assert 0 <= log[f"{kind}_score"] <= 100
            assert isinstance(log[f"{kind}_program"], dspy.Module)
            assert {"0_predictor_instruction", "0_predictor_demos"} <= set(log)
        assert all(isinstance(number, int) for number in result.trial_logs)

    @pytest.mark.parametrize("name", ["total_calls", "prompt_model_total_calls"])
    def test_call_counters(self, one_step: Compiled, name: str) -> None:
        """DSPy's call counters exist, and unlike DSPy's they count."""
        assert getattr(one_step.program, name) > 0

    def test_the_score_is_the_winners_on_the_validation_set(self, one_step: Compiled) -> None:
        """The score is the percentage of the validation set the result gets right."""
        result = one_step.program
        evaluate = dspy.Evaluate(devset=VAL, metric=exact, display_progress=False, num_threads=1)
        with dspy.context(lm=average_lm()):
            assert evaluate(result).score == result.score

    def test_the_winner_is_among_the_fully_measured(self, one_step: Compiled) -> None:
        """The result is one of the candidates measured in full, and none of them is better."""
        result = one_step.program
        entries = {dumped(entry["program"]): entry["score"] for entry in result.candidate_programs}
        assert entries[dumped(result)] == result.score == max(entries.values())

    def test_can_be_turned_off(self) -> None:
        """Without track_stats no programs are attached, only the score."""
        result = compiled(small(scripted_lm(), track_stats=False))
        for name in ("trial_logs", "candidate_programs", "mb_candidate_programs"):
            assert not hasattr(result, name)
        assert result.score >= 0

    def test_log_dir(self, tmp_path: Path) -> None:
        """The folder gets the programs measured in full, each loadable into a student."""
        result = compiled(small(scripted_lm(base=80), log_dir=str(tmp_path / "logs")), TwoStep())
        files = sorted((tmp_path / "logs" / "evaluated_programs").glob("*.json"))
        states = []
        for file in files:
            loaded = TwoStep()
            loaded.load(file)
            states.append(dumped(loaded))
        assert sorted(states) == sorted(
            dumped(entry["program"]) for entry in result.candidate_programs
        )

    def test_usage_counts_every_call(self) -> None:
        """The optimizer knows how many calls it made, prompt model and teacher included."""
        task, prompt, teacher = scripted_lm(), scripted_lm(), scripted_lm(base=100)
        made = small(task, prompt_model=prompt, teacher_settings={"lm": teacher})
        compiled(made)
        assert made.usage.calls == calls(task) + calls(prompt) + calls(teacher)
        assert made.usage.prompt_tokens == 10 * made.usage.calls

    @pytest.mark.parametrize("verbose", [False, True])
    def test_verbose_logs_each_step(self, verbose: bool, caplog: pytest.LogCaptureFixture) -> None:
        """With ``verbose`` the progress goes to the log, without it nothing does."""
        with caplog.at_level("INFO", logger="pytest_mipro"):
            compiled(small(scripted_lm(), verbose=verbose))
        assert any("search" in record.getMessage() for record in caplog.records) is verbose

    def test_progress(self) -> None:
        """A stream of records tells the phase, the trial, the best score and the calls."""
        told: list[Progress] = []
        lm = scripted_lm()
        compiled(small(lm, on_progress=told.append))
        phases = list(dict.fromkeys(each.phase for each in told))
        assert phases == ["bootstrap", "propose", "search"]
        counts = [each.usage.calls for each in told]
        assert counts == sorted(counts)
        assert 0 < counts[-1] <= calls(lm)
        steps = [each.done for each in told if each.phase == "search"]
        assert steps == sorted(steps)
        assert steps[0] == 0
        assert told[-1].done == told[-1].total
        assert told[-1].best is not None


SCRIPT = """
import json, sys
from pathlib import Path
import dspy
from scripted import scripted_lm
from pytest_mipro import MIPROv2

def exact(example, prediction, trace=None):
    return example.answer == prediction.answer

def sums(count, first=0):
    return [
        dspy.Example(question=f"{n} + {n * 7 % 13}", answer=f"{n + n * 7 % 13}")
        .with_inputs("question")
        for n in range(first, first + count)
    ]

lm = scripted_lm()
optimizer = MIPROv2(metric=exact, prompt_model=lm, task_model=lm, num_threads=8)
result = optimizer.compile(
    dspy.ChainOfThought("question -> answer"), trainset=sums(12), valset=sums(30, 100)
)
Path(sys.argv[1]).write_text(json.dumps(result.dump_state(), sort_keys=True))
"""


class TestRepeatable:
    @pytest.mark.parametrize(
        "make, seed", [(lambda: dspy.Predict("question -> answer"), 9), (TwoStep, 0)]
    )
    def test_at_any_number_of_threads(self, make: Any, seed: int) -> None:
        """The artifact is the same, byte for byte, at 1, 4 and 16 threads with random latency."""
        results = []
        for threads in (1, 4, 16):
            lm = scripted_lm(base=50, latency=0.002)
            results.append(compiled(small(lm, num_threads=threads, seed=seed), make()))
        assert len({dumped(result) for result in results}) == 1
        assert len({result.score for result in results}) == 1
        candidates = [
            [dumped(each["program"]) for each in result.candidate_programs] for result in results
        ]
        assert candidates[0] == candidates[1] == candidates[2]

    def test_in_any_process_and_in_silence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process with another hash seed compiles the same artifact and prints nothing."""
        support = Path(inspect.getsourcefile(ScriptedEngine) or "").parent
        script, here, there = (tmp_path / name for name in ("compile.py", "here", "there"))
        script.write_text(SCRIPT, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", script, there],
            env={"PYTHONPATH": str(support), "PYTHONHASHSEED": "4242", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        monkeypatch.setattr(sys, "argv", [str(script), str(here)])
        runpy.run_path(str(script))
        assert here.read_text(encoding="utf-8") == there.read_text(encoding="utf-8")

    def test_nothing_is_printed_or_logged(
        self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """In this process, too, a compile is silent."""
        with caplog.at_level(logging.INFO):
            compiled(small(scripted_lm()))
        assert capfd.readouterr() == ("", "")
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class TestEffort:
    @pytest.mark.parametrize("trials", [1, 3])
    def test_few_trials_cost_few_rows(self, trials: int) -> None:
        """What is evaluated ahead of the search is part of it: no row is spent on anything else."""
        lm = scripted_lm()
        made = compiled(small(lm), num_trials=trials)
        measured = {number: log["rows"] for number, log in made.trial_logs.items()}
        assert len(measured) <= trials + 1
        rows = sum(measured.values())
        assert rows < calls(lm) <= rows + len(TRAIN) + 20

    @pytest.mark.parametrize("threads", [1, 16, 64])
    def test_the_number_of_calls_does_not_depend_on_the_threads(
        self, one_step: Compiled, threads: int
    ) -> None:
        """More threads ask the same questions, only earlier."""
        lm = average_lm(latency=0.004)
        compiled(small(lm, num_threads=threads))
        assert calls(lm) == one_step.calls


class TestStore:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        opened = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
        yield opened
        opened.close()

    def test_a_second_compile_makes_no_call(self, store: Store) -> None:
        """On the same store the same compile is free and gives the same artifact."""
        first_lm, second_lm = scripted_lm(), scripted_lm()
        first = compiled(small(first_lm, store=store), TwoStep())
        second = compiled(small(second_lm, store=store), TwoStep())
        assert calls(first_lm) > 0
        assert calls(second_lm) == 0
        assert dumped(second) == dumped(first)
        assert second.score == first.score

    def test_another_model_shares_nothing(self, store: Store) -> None:
        """Rows of another model are not taken for this one's."""
        compiled(small(scripted_lm(base=30), store=store))
        other = scripted_lm(base=31)
        compiled(small(other, store=store))
        assert calls(other) > 50

    def test_another_metric_shares_no_score(self, store: Store) -> None:
        """Scores of another metric are not taken for this one's."""
        assert compiled(small(scripted_lm(base=60), store=store)).score > 0
        result = compiled(small(scripted_lm(base=60), store=store, metric=lambda *_: 0.0))
        assert result.score == 0

    def test_without_a_store_anything_goes(self) -> None:
        """A metric that cannot be identified compiles in memory, and is refused with a store."""
        handle = hashlib.sha256()

        def unidentifiable(example: dspy.Example, prediction: dspy.Prediction) -> bool:
            handle.update(b"x")
            return exact(example, prediction)

        made = small(scripted_lm(), metric=lambda e, p, trace=None: unidentifiable(e, p))
        assert compiled(made).score >= 0

    def test_with_a_store_content_must_be_known(self, store: Store) -> None:
        """What would go unnoticed when it changes is refused where rows are kept."""
        handle = hashlib.sha256()

        def unidentifiable(
            example: dspy.Example, prediction: dspy.Prediction, trace: object = None
        ) -> bool:
            handle.update(b"x")
            return exact(example, prediction)

        lm = scripted_lm()
        with pytest.raises(FingerprintError, match="handle"):
            compiled(small(lm, metric=unidentifiable, store=store))
        assert calls(lm) == 0

    @pytest.mark.parametrize("after", [0, 3, 15, 60])
    def test_goes_on_after_an_lm_error(self, two_step: Compiled, store: Store, after: int) -> None:
        """Wherever the model fails, the next run pays only for the rest, with the same result."""
        dying = dies(after)
        with pytest.raises(InfrastructureError, match="no credit left"):
            compiled(small(lm_on(dying), store=store), TwoStep())
        rest = average_lm()
        resumed = compiled(small(rest, store=store), TwoStep())
        assert dumped(resumed) == dumped(two_step.program)
        # What was in flight when it died, and the first step of rows whose second failed.
        assert calls(rest) <= two_step.calls - after + 8


class TestSmallSpaces:
    @pytest.mark.parametrize(
        "options",
        [
            {"num_candidates": 1},
            {"num_candidates": 1, "max_bootstrapped_demos": 0, "max_labeled_demos": 0},
            {"num_candidates": 2, "max_bootstrapped_demos": 0, "max_labeled_demos": 0},
            {"num_candidates": 2, "max_bootstrapped_demos": 0},
            {"num_candidates": 3, "max_labeled_demos": 0},
        ],
    )
    @pytest.mark.parametrize("minibatch", [True, False])
    def test_terminate(self, options: dict[str, Any], minibatch: bool) -> None:
        """A search that runs out of candidates ends with the best of them."""
        result = compiled(small(scripted_lm(), **options), num_trials=30, minibatch=minibatch)
        assert 0 <= result.score <= 100
        assert result.candidate_programs

    def test_tiny_data(self) -> None:
        """Two training examples and no validation set are enough to run."""
        result = compiled(small(scripted_lm()), trainset=sums(2), valset=None, minibatch=False)
        assert 0 <= result.score <= 100

    def test_one_of_each(self) -> None:
        """One example to learn from and one to measure on are enough to run."""
        result = compiled(
            small(scripted_lm()), trainset=sums(1), valset=sums(1, 100), minibatch_size=1
        )
        assert 0 <= result.score <= 100

    def test_demos_with_nothing_that_passes(self) -> None:
        """Where no trace is right, and no labelled demo wanted, the search still ends."""
        made = small(scripted_lm(base=-1000), max_labeled_demos=0)
        assert compiled(made).score == 0


class TestHonesty:
    @pytest.mark.parametrize(
        "phase",
        [
            "observations",
            "program_description",
            "module_description",
            "proposed_instruction",
            "answer",
        ],
    )
    def test_an_lm_error_in_each_phase_surfaces(self, phase: str) -> None:
        """A model that fails in any phase stops the compile with an error that says so."""

        class Refuses(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                if f"`[[ ## {phase} ## ]]`" in (request.messages[-1].text or ""):
                    message = "dead key"
                    raise dspy.LMAuthError(message)
                return super().complete(request)

        with pytest.raises(InfrastructureError, match="dead key"):
            compiled(small(lm_on(Refuses())))

    @pytest.mark.parametrize("after", [0, 1, 5, 20, 60, 90])
    def test_an_lm_error_in_any_call_surfaces(self, after: int) -> None:
        """Whichever call it is from which the model fails, no score is made of it."""
        with pytest.raises(InfrastructureError, match="no credit left"):
            compiled(small(lm_on(dies(after))), TwoStep())

    def test_a_single_lm_error_surfaces(self) -> None:
        """One failed call among many, in the search, is not averaged away."""

        class Hiccup(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls == 40:
                    message = "dead key"
                    raise dspy.LMAuthError(message)
                return response

        with pytest.raises(InfrastructureError, match="dead key"):
            compiled(small(lm_on(Hiccup())))

    def test_a_broken_metric_surfaces(self) -> None:
        """A metric without a score stops the compile."""
        with pytest.raises(MetricError, match="None"):
            compiled(small(scripted_lm(), metric=lambda *_: None))

    def test_an_error_is_raised_once_and_quietly(
        self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """When many calls fail together, one error is raised and nothing is printed or logged."""
        gc.freeze()  # What other tests have left is not looked at.
        try:
            for _ in range(5):
                with pytest.raises(InfrastructureError):
                    compiled(small(lm_on(dies(0)), num_threads=16))
            gc.collect()  # asyncio complains when it drops an error that nobody looked at.
        finally:
            gc.unfreeze()
        assert capfd.readouterr() == ("", "")
        assert not [record.getMessage() for record in caplog.records]


class Fragile(dspy.Module):
    """Fails on every third question."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> object:
        answer = self.predict(question=question)
        if int(question.split(" + ", maxsplit=1)[0]) % 3 == 0:
            raise ValueError(question)
        return answer


class TestMaxErrors:
    def test_none_sets_no_limit(self) -> None:
        """Without max_errors, rows the program fails on score 0 and the compile goes on."""
        result = compiled(small(scripted_lm(base=100)), Fragile())
        assert result.score == 70

    def test_too_many_stop_the_compile(self) -> None:
        """With max_errors, one more failed row stops the compile and names the last failure."""
        with pytest.raises(ProgramError, match=r"max_errors=3.*ValueError"):
            compiled(small(scripted_lm(base=100), max_errors=3), Fragile())

    def test_zero_allows_none(self) -> None:
        """0 is a number: the first failed row stops the compile."""
        with pytest.raises(ProgramError, match="max_errors=0"):
            compiled(small(scripted_lm(base=100), max_errors=0), Fragile())

    def test_a_sound_program_is_not_affected(self) -> None:
        """With max_errors=0 a program that never fails compiles."""
        assert compiled(small(scripted_lm(), max_errors=0)).score >= 0

    def test_provide_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        """On demand, failing rows are logged with their traceback."""
        compiled(small(scripted_lm(base=100)), Fragile(), provide_traceback=True)
        assert "in forward" in caplog.text


def test_without_a_store_an_lm_error_promises_nothing() -> None:
    """Where nothing is kept, the message does not say that anything is stored."""

    class Dead(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            raise lm15.AuthError("key revoked")

    with pytest.raises(InfrastructureError, match="key revoked") as caught:
        compiled(small(lm_on(Dead())))
    assert "starts over" in str(caught.value)
    assert "stored" not in str(caught.value)
