from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import random
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from compiles import (
    ANSWER,
    MORE,
    TRAIN,
    Compiled,
    RecordingEngine,
    TwoStep,
    average_lm,
    calls_of,
    compiled,
    dumped,
    engine_without_credit,
    exact,
    lm_on,
    measured_candidates,
    optimizer_on,
    small_optimizer,
    sums,
)
from dspy import lm15
from dspy.signatures import make_signature
from dspy.teleprompt import Teleprompter
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro import MIPROv2
from pytest_mipro.errors import (
    DeclarationError,
    FingerprintError,
    InfrastructureError,
    ProgramError,
)
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestSignature:
    @pytest.mark.parametrize("name", ["__init__", "compile"])
    def test_is_dspys(self, name: str) -> None:
        """Names, order, kinds and defaults are DSPy's; further parameters are keyword-only."""
        theirs = inspect.signature(getattr(dspy.MIPROv2, name)).parameters
        ours = inspect.signature(getattr(MIPROv2, name)).parameters
        extras = [parameter for parameter in ours.values() if parameter.name not in theirs]
        shared = [parameter for parameter in ours.values() if parameter not in extras]
        assert [(parameter.name, parameter.kind, parameter.default) for parameter in shared] == [
            (parameter.name, parameter.kind, parameter.default) for parameter in theirs.values()
        ]
        assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in extras)
        assert all(parameter.default is not inspect.Parameter.empty for parameter in extras)
        assert [*ours][len(theirs) :] == [parameter.name for parameter in extras]

    def test_compile_takes_teacher_settings(self) -> None:
        """As in DSPy's tutorials, compile accepts teacher_settings."""
        weak, strong = scripted_lm(base=0), scripted_lm(base=100)
        compiled(small_optimizer(weak), teacher_settings={"lm": strong})
        assert calls_of(strong) > 0

    def test_is_a_teleprompter(self) -> None:
        """The optimizer is an instance of DSPy's Teleprompter."""
        assert isinstance(optimizer_on(scripted_lm()), Teleprompter)

    def test_models_default_to_the_configured_one(self) -> None:
        """The default of both models is the one of dspy.configure or dspy.context."""
        lm = scripted_lm()
        with dspy.context(lm=lm):
            optimizer = MIPROv2(metric=exact, auto=None, num_candidates=3)
        assert optimizer.task_model is optimizer.prompt_model is lm
        compiled(optimizer)
        assert calls_of(lm) > 0

    def test_a_model_may_be_named(self) -> None:
        """As in DSPy, a string stands for the model of that name."""
        optimizer = MIPROv2(
            metric=exact,
            prompt_model="openai/writer",
            task_model="openai/answerer",
            teacher_settings={"lm": "openai/teacher"},
        )
        models = optimizer.prompt_model, optimizer.task_model, optimizer.teacher_settings["lm"]
        assert [model.model for model in models] == [
            "openai/writer",
            "openai/answerer",
            "openai/teacher",
        ]
        assert all(isinstance(model, dspy.LM) for model in models)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"prompt_model": 5},
            {"task_model": "gpt-4o-mini"},
            {"teacher_settings": {"lm": object()}},
        ],
    )
    def test_no_model_of_that_name(self, arguments: dict[str, Any]) -> None:
        """What is no model is an error that says what is expected, before any call."""
        with pytest.raises(DeclarationError, match=r"expected (PROVIDER/MODEL|a dspy\.LM)"):
            optimizer_on(scripted_lm(), **arguments)

    def test_attributes_and_parameters_are_those_of_dspy(self) -> None:
        """Every argument of DSPy's constructor is a public attribute, and in get_params()."""
        with dspy.context(lm=scripted_lm()):
            ours = MIPROv2(metric=exact, seed=3, max_errors=4, num_threads=2)
            theirs = dspy.MIPROv2(metric=exact, seed=3, max_errors=4, num_threads=2)
        names = set(inspect.signature(dspy.MIPROv2).parameters)
        assert ours.get_params().keys() == names
        for name in names:
            assert getattr(ours, name) == getattr(theirs, name) == ours.get_params()[name]

    def test_attributes_count_until_the_compile(self) -> None:
        """As in DSPy, an attribute may be set after the constructor."""
        optimizer = small_optimizer(scripted_lm())
        optimizer.seed = 4
        assert optimizer.get_params()["seed"] == 4
        result = compiled(optimizer)
        expected = compiled(small_optimizer(scripted_lm(), seed=4))
        assert result.dump_state() == expected.dump_state()
        assert optimizer.total_calls == vars(result)["total_calls"] == optimizer.usage.calls > 0


class TestErrors:
    def test_no_model(self) -> None:
        """Without any model there is a ValueError that says how to set one."""
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
        """A value that an option does not allow is a ValueError that names both."""
        *_, name = sorted(options, key=lambda option: options[option] is None, reverse=True)
        with pytest.raises(ValueError, match=name) as error:
            optimizer_on(scripted_lm(), **options)
        assert isinstance(error.value, DeclarationError)
        assert str(options[name]) in str(error.value)

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
            ({"auto": None, "num_candidates": 3}, {"minibatch_size": 17}, "17.*6"),
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
            compiled(optimizer_on(lm, **options), **arguments)
        assert calls_of(lm) == 0

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
        """If num_trials is missing, the message has DSPy's number for it."""
        program = dspy.Predict(ANSWER) if student == "one" else TwoStep()
        optimizer = optimizer_on(
            scripted_lm(),
            auto=None,
            num_candidates=candidates,
            max_bootstrapped_demos=demos,
            max_labeled_demos=demos,
        )
        with pytest.raises(ValueError, match=rf"num_trials.*\b{number}\b"):
            compiled(optimizer, program, num_trials=None)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"student": TwoStep}, r"student=<class .*TwoStep.* is not a dspy\.Module"),
            ({"teacher": "gpt"}, r"teacher='gpt' is not a dspy\.Module"),
            ({"trainset": [{"question": "1 + 1"}]}, r"trainset\[0\] is .*: expected a dspy\.Ex"),
            ({"trainset": [dspy.Example(question="1")]}, r"trainset\[0\] declares no inputs"),
            ({"valset": [None]}, r"valset\[0\] is None: expected a dspy\.Example"),
        ],
    )
    def test_a_program_or_an_example_of_another_type(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        """The error for a value of another type names the value and its place, before any call."""
        lm = scripted_lm()
        defaults = {"student": TwoStep(), "trainset": sums(9), "valset": sums(9, 9)}
        with pytest.raises(DeclarationError, match=message):
            small_optimizer(lm).compile(**{**defaults, **arguments})
        assert calls_of(lm) == 0

    def test_permission_that_is_not_needed_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        """False, as in old tutorials, is accepted with a warning."""
        compiled(small_optimizer(scripted_lm()), requires_permission_to_run=False)
        assert "requires_permission_to_run" in caplog.text

    def test_a_small_validation_set_needs_no_minibatch_size(self) -> None:
        """With auto, the default minibatch size is no error on a set of 16."""
        assert compiled(optimizer_on(scripted_lm(), num_threads=4)).score >= 0

    def test_a_large_minibatch_that_is_not_used(self) -> None:
        """With minibatch=False any minibatch size is accepted."""
        result = compiled(small_optimizer(scripted_lm()), minibatch=False, minibatch_size=1000)
        assert not result.mb_candidate_programs or result.score >= 0

    def test_compiles_without_a_valset(self) -> None:
        """A compile needs no validation set beside a training set."""
        result = compiled(small_optimizer(scripted_lm()), trainset=sums(30), valset=None)
        assert 0 <= result.score <= 100


def statistics_of(program: dspy.Module) -> str:
    """Return what a compile tried and how it scored, as text."""
    logs = [
        {name: value for name, value in log.items() if not name.endswith("program")}
        for log in program.trial_logs.values()
    ]
    demos = [dumped(entry["program"]) for entry in program.candidate_programs]
    return json.dumps([logs, demos])


class TestSeeds:
    def statistics(self, seed: int, override: int | None = None) -> str:
        return statistics_of(compiled(small_optimizer(average_lm(), seed=seed), seed=override))

    def test_0_is_a_seed(self, one_step: Compiled) -> None:
        """Seed 0, in the constructor or in compile, is a seed of its own and repeats a search."""
        zero, nine = self.statistics(0), statistics_of(one_step.program)  # 9 is the default.
        assert zero != nine
        assert self.statistics(9, override=0) == zero
        assert self.statistics(9) == nine

    def test_global_randomness_is_not_used(self, one_step: Compiled) -> None:
        """The result does not depend on Python's global random state, which DSPy advances."""
        random.seed(1)
        assert dumped(compiled(small_optimizer(average_lm()))) == dumped(one_step.program)


class TestDemos:
    def test_zero_shot(self) -> None:
        """Without demos only instructions are searched, and no candidate has a demo."""
        optimizer = small_optimizer(scripted_lm(), max_bootstrapped_demos=0, max_labeled_demos=0)
        student = TwoStep()
        result = compiled(optimizer, student)
        programs = [result, *(log["program"] for log in measured_candidates(result))]
        assert all(not p.demos for program in programs for p in program.predictors())
        assert len({dumped(program) for program in programs}) > 1

    def test_zero_shot_drops_the_students_demos(self) -> None:
        """The result of a zero-shot search has no demos, even if the student has some."""
        student = dspy.Predict(ANSWER)
        student.demos = [dspy.Example(question="1 + 1", answer="2")]
        optimizer = small_optimizer(scripted_lm(), max_bootstrapped_demos=0, max_labeled_demos=0)
        assert compiled(optimizer, student).demos == []

    def test_only_labelled(self) -> None:
        """With labelled demos only, demos are training examples and the teacher is not run."""
        optimizer = small_optimizer(scripted_lm(), max_bootstrapped_demos=0, max_labeled_demos=3)
        result = compiled(optimizer)
        demos = all_demos(result)
        answers = {example.question: example.answer for example in TRAIN}
        assert demos
        assert all(answers[demo["question"]] == demo["answer"] for demo in demos)
        assert not any(demo.get("augmented") for demo in demos)

    def test_only_bootstrapped(self) -> None:
        """With bootstrapped demos only, every demo is a trace."""
        optimizer = small_optimizer(
            scripted_lm(base=80), max_bootstrapped_demos=3, max_labeled_demos=0
        )
        demos = all_demos(compiled(optimizer))
        assert demos
        assert all(demo.get("augmented") for demo in demos)

    def test_arguments_of_compile(self) -> None:
        """The numbers of demos in compile override the constructor's, also if they are 0."""
        optimizer = small_optimizer(scripted_lm(base=80))
        result = compiled(optimizer, max_bootstrapped_demos=0, max_labeled_demos=0)
        assert not all_demos(result)
        assert all_demos(compiled(optimizer))

    @pytest.mark.parametrize(
        "score, threshold, bootstrapped", [(0.0, 0.0, True), (0.5, 0.6, False)]
    )
    def test_metric_threshold(self, score: float, threshold: float, bootstrapped: bool) -> None:
        """A trace below the threshold makes no demo, and 0.0 is a threshold."""
        optimizer = small_optimizer(
            scripted_lm(),
            metric=lambda *_: score,
            metric_threshold=threshold,
            max_labeled_demos=0,
        )
        assert bool(all_demos(compiled(optimizer))) == bootstrapped

    def test_a_student_with_demos_keeps_them_as_candidate_0(self) -> None:
        """The student's own demos are the demo set with index 0."""
        student = dspy.Predict(ANSWER)
        student.demos = [dspy.Example(question="1 + 1", answer="2")]
        result = compiled(small_optimizer(scripted_lm()), student)
        (own,) = [entry["program"] for entry in measured_candidates(result) if entry["baseline"]]
        assert dumped(own) == dumped(student)


def all_demos(result: dspy.Module) -> list[dict[str, Any]]:
    """Return the demos of all measured candidates."""
    return [
        dict(demo)
        for entry in measured_candidates(result)
        for predictor in entry["program"].predictors()
        for demo in predictor.demos
    ]


class TestPrograms:
    def test_several_predictors_are_searched_together(self) -> None:
        """Instructions and demos of all predictors, nested ones included, are tried."""
        result = compiled(small_optimizer(scripted_lm(base=80)), TwoStep(), num_trials=12)
        names = ["think", "inner.solve.predict"]
        assert [name for name, _ in result.named_predictors()] == names
        for index in range(2):
            for part in ("instruction", "demos"):
                key = f"{index}_predictor_{part}"
                assert len({log[key] for log in result.trial_logs.values()}) > 1

    def test_chain_of_thought(self) -> None:
        """A chain of thought keeps its reasoning field, also in its demos."""
        result = compiled(
            small_optimizer(scripted_lm(base=90)), dspy.ChainOfThought("question -> answer")
        )
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
        result = compiled(small_optimizer(lm), agent)
        assert isinstance(result, dspy.ReAct)
        assert [str(name) for name in result.tools] == ["add", "finish"]
        assert result.score > 0
        assert len(result.named_predictors()) == 2
        with dspy.context(lm=lm):
            assert result(question="1 + 1").answer

    def test_frozen_parts_are_left_alone(self) -> None:
        """A frozen submodule is neither searched nor changed."""
        student = TwoStep()
        student.inner._compiled = True
        student.inner.solve.predict.demos = [
            dspy.Example(question="0 + 0", thought="", reasoning="", answer="0")
        ]
        frozen = dumped(student.inner)
        result = compiled(small_optimizer(scripted_lm()), student)
        assert dumped(result.inner) == dumped(student.inner) == frozen
        assert result.inner._compiled
        assert not any("1_predictor" in name for log in result.trial_logs.values() for name in log)

    def test_the_student_is_never_modified(self) -> None:
        """A compile does not change the student, and shares no object between it and the result."""
        student = TwoStep()
        student.think.demos = [dspy.Example(question="1 + 1", thought="easy")]
        state, attributes = dumped(student), set(vars(student))
        result = compiled(small_optimizer(scripted_lm()), student)
        assert (dumped(student), set(vars(student))) == (state, attributes)
        for predictor in result.predictors():
            predictor.demos.append(dspy.Example(question="?"))
            predictor.signature = predictor.signature.with_instructions("Changed.")
        assert dumped(student) == state

    def test_the_examples_are_never_modified(self) -> None:
        """A compile does not change training and validation examples."""
        train, val = sums(6), sums(8, 100)
        compiled(small_optimizer(scripted_lm(base=80)), trainset=train, valset=val)
        assert train == sums(6)
        assert val == sums(8, 100)
        assert all(set(example.inputs().keys()) == {"question"} for example in (*train, *val))

    def test_the_result_saves_and_loads(self, two_step: Compiled, tmp_path: Path) -> None:
        """The JSON of the result loads into a new student."""
        two_step.program.save(tmp_path / "program.json")
        loaded = TwoStep()
        loaded.load(tmp_path / "program.json")
        assert dumped(loaded) == dumped(two_step.program)

    def test_the_result_has_no_model_pinned(self, one_step: Compiled) -> None:
        """The result asks the model that is configured at the time of the call."""
        assert one_step.program.lm is None
        lm = scripted_lm()
        with dspy.context(lm=lm):
            one_step.program(question="1 + 1")
        assert calls_of(lm) == 1

    def test_improves(self) -> None:
        """On a model that learns from demos the result is better than the student."""
        lm = scripted_lm(base=10, per_demo=18)
        result = compiled(optimizer_on(lm, num_threads=8), valset=sums(30, 100))
        assert any(entry["baseline"] for entry in measured_candidates(result))
        assert result.score > 40
        assert result.demos

    def test_works_inside_a_running_loop(self) -> None:
        """A compile works inside a running event loop, as in a notebook."""

        async def notebook() -> dspy.Module:
            await asyncio.sleep(0)
            return compiled(small_optimizer(scripted_lm()))

        assert asyncio.run(notebook()).score >= 0


class TestTeachers:
    def test_settings_with_a_stronger_model(self) -> None:
        """The model in teacher_settings answers for the teacher only."""
        weak, strong = RecordingEngine(base=-1000), RecordingEngine(base=100)
        optimizer = small_optimizer(
            lm_on(weak), teacher_settings={"lm": lm_on(strong)}, max_labeled_demos=0
        )
        result = compiled(optimizer)
        demos = all_demos(result)
        assert demos
        assert all(demo["augmented"] for demo in demos)
        assert 0 < strong.calls <= len(TRAIN)
        assert weak.count("answer") > 0

    def test_a_teacher_program(self) -> None:
        """A teacher's prompt is used for bootstrapping, and no candidate has it."""
        engine = RecordingEngine(base=80)
        teacher = dspy.Predict(make_signature("question -> answer", "You are the teacher."))
        result = compiled(small_optimizer(lm_on(engine)), teacher=teacher, trainset=sums(8))
        systems = [request.system or "" for request in engine.requests]
        assert 0 < sum("the teacher" in system for system in systems) <= 8
        assert all(
            "the teacher" not in dumped(entry["program"]) for entry in measured_candidates(result)
        )

    def test_a_teacher_of_another_shape(self) -> None:
        """A teacher with other predictors is a ValueError before any call is made."""
        lm = scripted_lm()
        with pytest.raises(ValueError, match="teacher"):
            compiled(small_optimizer(lm), teacher=dspy.ChainOfThought("question -> answer"))
        assert calls_of(lm) == 0

    def test_the_prompt_model_only_writes(self) -> None:
        """The prompt model writes descriptions and instructions, the task model answers only."""
        task, prompt = RecordingEngine(), RecordingEngine()
        optimizer = small_optimizer(lm_on(task), prompt_model=lm_on(prompt))
        compiled(optimizer)
        assert prompt.count("proposed_instruction") == prompt.count("answer") + 2
        assert task.count("proposed_instruction") == 0
        assert task.count("answer") == task.calls


SCRIPT = """
import sys
from pathlib import Path

import dspy
from compiles import MORE, compiled, dumped, small_optimizer
from scripted import scripted_lm

optimizer = small_optimizer(scripted_lm(), num_candidates=4, num_threads=8)
result = compiled(optimizer, dspy.ChainOfThought("question -> answer"), **MORE)
Path(sys.argv[1]).write_text(dumped(result))
"""


class TestRepeatable:
    @pytest.mark.parametrize(
        "make, seed, numbers",
        [(lambda: dspy.Predict(ANSWER), 9, (1, 4, 16)), (TwoStep, 0, (1, 16))],
    )
    def test_at_any_number_of_threads(self, make: Any, seed: int, numbers: tuple[int, ...]) -> None:
        """The artifact is the same, byte for byte, at 1, 4 and 16 threads with random latency."""
        results = []
        for threads in numbers:
            lm = scripted_lm(base=50, latency=0.002)
            optimizer = small_optimizer(lm, num_candidates=4, num_threads=threads, seed=seed)
            results.append(compiled(optimizer, make(), **MORE))
        assert len({dumped(result) for result in results}) == 1
        assert len({result.score for result in results}) == 1
        candidates = [
            [dumped(entry["program"]) for entry in result.candidate_programs] for result in results
        ]
        assert candidates[1:] == candidates[:1] * (len(numbers) - 1)

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
        """A compile prints nothing and logs no warning."""
        with caplog.at_level(logging.INFO):
            compiled(small_optimizer(scripted_lm()))
        assert capfd.readouterr() == ("", "")
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class TestUsage:
    def test_usage_counts_every_call(self) -> None:
        """The usage of the optimizer has all calls, those of prompt model and teacher included."""
        task, prompt, teacher = scripted_lm(), scripted_lm(), scripted_lm(base=100)
        optimizer = small_optimizer(task, prompt_model=prompt, teacher_settings={"lm": teacher})
        compiled(optimizer)
        assert optimizer.usage.calls == calls_of(task) + calls_of(prompt) + calls_of(teacher)
        assert optimizer.usage.prompt_tokens == 10 * optimizer.usage.calls


class TestStore:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        opened = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
        yield opened
        opened.close()

    def test_a_second_compile_makes_no_call(self, store: Store) -> None:
        """On the same store the same compile is free and gives the same artifact."""
        first_lm, second_lm = scripted_lm(), scripted_lm()
        first = compiled(small_optimizer(first_lm, store=store), TwoStep())
        second = compiled(small_optimizer(second_lm, store=store), TwoStep())
        assert calls_of(first_lm) > 0
        assert calls_of(second_lm) == 0
        assert dumped(second) == dumped(first)
        assert second.score == first.score

    def test_another_model_shares_nothing(self, store: Store) -> None:
        """A compile does not use the rows of another model."""
        compiled(small_optimizer(scripted_lm(base=30), store=store))
        lm = scripted_lm(base=31)
        compiled(small_optimizer(lm, store=store))
        assert calls_of(lm) > 30

    def test_another_metric_shares_no_score(self, store: Store) -> None:
        """A compile does not use the scores of another metric."""
        assert compiled(small_optimizer(scripted_lm(base=60), store=store)).score > 0
        result = compiled(small_optimizer(scripted_lm(base=60), store=store, metric=lambda *_: 0.0))
        assert result.score == 0

    def test_a_metric_without_a_fingerprint_compiles_in_memory(self) -> None:
        """Without a store, a metric that has no fingerprint compiles."""
        handle = hashlib.sha256()

        def unidentifiable(example: dspy.Example, prediction: dspy.Prediction) -> bool:
            handle.update(b"x")
            return exact(example, prediction)

        optimizer = small_optimizer(
            scripted_lm(), metric=lambda e, p, trace=None: unidentifiable(e, p)
        )
        assert compiled(optimizer).score >= 0

    def test_a_metric_without_a_fingerprint_is_refused_with_a_store(self, store: Store) -> None:
        """With a store, a metric that has no fingerprint is an error before any call."""
        handle = hashlib.sha256()

        def unidentifiable(
            example: dspy.Example, prediction: dspy.Prediction, trace: object = None
        ) -> bool:
            handle.update(b"x")
            return exact(example, prediction)

        lm = scripted_lm()
        with pytest.raises(FingerprintError, match="handle"):
            compiled(small_optimizer(lm, metric=unidentifiable, store=store))
        assert calls_of(lm) == 0

    @pytest.mark.parametrize("paid", [3, 15, 60])
    def test_goes_on_after_an_lm_error(self, two_step: Compiled, store: Store, paid: int) -> None:
        """After any call that fails, the next compile pays only for the rest and ends the same."""
        engine = engine_without_credit(paid)
        with pytest.raises(InfrastructureError, match="no credit left"):
            compiled(small_optimizer(lm_on(engine), store=store), TwoStep())
        rest = average_lm()
        resumed = compiled(small_optimizer(rest, store=store), TwoStep())
        assert dumped(resumed) == dumped(two_step.program)
        # Calls under way at the error, and first steps of rows whose second step failed, are lost.
        assert calls_of(rest) <= two_step.calls - paid + 8


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
        """A search of fewer candidates than trials ends with the best of them."""
        result = compiled(
            small_optimizer(scripted_lm(), **options), num_trials=30, minibatch=minibatch
        )
        assert 0 <= result.score <= 100
        assert result.candidate_programs

    def test_tiny_data(self) -> None:
        """Two training examples and no validation set suffice."""
        result = compiled(
            small_optimizer(scripted_lm()), trainset=sums(2), valset=None, minibatch=False
        )
        assert 0 <= result.score <= 100

    def test_one_example_per_split(self) -> None:
        """One training example and one validation example suffice."""
        result = compiled(
            small_optimizer(scripted_lm()), trainset=sums(1), valset=sums(1, 100), minibatch_size=1
        )
        assert 0 <= result.score <= 100

    def test_demos_with_nothing_that_passes(self) -> None:
        """Without a trace that passes and without labelled demos, the search ends."""
        optimizer = small_optimizer(scripted_lm(base=-1000), max_labeled_demos=0)
        assert compiled(optimizer).score == 0


class Fragile(dspy.Module):
    """Fails on every third question."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(ANSWER)

    def forward(self, question: str) -> object:
        answer = self.predict(question=question)
        if int(question.split(" + ", maxsplit=1)[0]) % 3 == 0:
            raise ValueError(question)
        return answer


class TestMaxErrors:
    def test_none_sets_no_limit(self) -> None:
        """Without max_errors, failed rows have the score 0 and the compile continues."""
        result = compiled(small_optimizer(scripted_lm(base=100)), Fragile(), valset=sums(8, 100))
        assert result.score == 75

    def test_none_allows_the_teacher_what_dspy_does(self) -> None:
        """Without max_errors, dspy.settings.max_errors limits the failures of bootstrapping."""
        with dspy.context(max_errors=1), pytest.raises(ProgramError, match="max_errors=1"):
            compiled(small_optimizer(scripted_lm(base=100)), Fragile())

    def test_too_many_stop_the_compile(self) -> None:
        """With max_errors, one more failed row stops the compile, and the error names it."""
        with pytest.raises(ProgramError, match=r"max_errors=3.*ValueError"):
            compiled(small_optimizer(scripted_lm(base=100), max_errors=3), Fragile())

    def test_zero_allows_none(self) -> None:
        """With max_errors=0 the first failed row stops the compile."""
        with pytest.raises(ProgramError, match="max_errors=0"):
            compiled(small_optimizer(scripted_lm(base=100), max_errors=0), Fragile())

    def test_a_sound_program_is_not_affected(self) -> None:
        """With max_errors=0 a program without failures compiles."""
        assert compiled(small_optimizer(scripted_lm(), max_errors=0)).score >= 0

    def test_provide_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        """With provide_traceback, failed rows are logged with their traceback."""
        compiled(small_optimizer(scripted_lm(base=100)), Fragile(), provide_traceback=True)
        assert "in forward" in caplog.text


def test_without_a_store_an_lm_error_says_that_nothing_is_kept() -> None:
    """Without a store, the message says that the next compile starts over."""

    class Dead(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            raise lm15.AuthError("key revoked")

    with pytest.raises(InfrastructureError, match="key revoked") as error:
        compiled(small_optimizer(lm_on(Dead())))
    assert "starts over" in str(error.value)
    assert "stored" not in str(error.value)
