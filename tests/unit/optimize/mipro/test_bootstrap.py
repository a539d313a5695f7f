from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from compiles import ANSWER, RecordingEngine, calls_of, exact, lm_on, sums
from dspy.signatures import make_signature
from scripted import ScriptedEngine, scripted_lm
from sums import TwoSteps

from pytest_mipro.errors import DeclarationError, InfrastructureError, MetricError, ProgramError
from pytest_mipro.evaluate import (
    Evaluator,
    FailureLimit,
    WorkerPool,
    gather,
)
from pytest_mipro.optimize.mipro.bootstrap import Bootstrap, DemoPlan, FirstDemos
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dspy import lm15

    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.task import Metric

pytestmark = pytest.mark.uses("dspy")


class FailingEngine(ScriptedEngine):
    """Fails on every request."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        message = "dead key"
        raise dspy.LMAuthError(message)


def student() -> dspy.Predict:
    """Return a program of one predictor, whose path is ``self``."""
    return dspy.Predict(ANSWER)


def demo_sets(store: Store, lm: dspy.LM, **options: Any) -> list[dict[str, DemoSet]]:
    """Return the demo sets that ``bootstrap`` makes."""
    return [demo_set for demo_set, _ in bootstrap(store, lm, **options)]


def bootstrap(
    store: Store,
    lm: dspy.LM,
    *,
    program: dspy.Module | None = None,
    teacher: dspy.Module | None = None,
    metric: Metric = exact,
    train: Sequence[dspy.Example] | None = None,
    plan: DemoPlan | None = None,
    seed: int = 9,
    threads: int = 4,
    failure_limit: FailureLimit | None = None,
) -> list[tuple[dict[str, DemoSet], FirstDemos]]:
    """Return the demo sets for a student, from a teacher on ``train``, and their first demos."""
    workers = WorkerPool(threads)
    phase = Bootstrap(
        evaluator=Evaluator(metric, {"lm": lm}, "evaluation"),
        student=program or student(),
        teacher=teacher,
        trainset=sums(12) if train is None else train,
        store=store,
        workers=workers,
        failure_limit=failure_limit,
    )

    async def run() -> list[tuple[dict[str, DemoSet], FirstDemos]]:
        pending = phase.start(plan or DemoPlan(6, 4, 4, None), seed)
        await gather([demo_set.demos for demo_set in pending])
        return [(demo_set.demos.result(), demo_set.first.result()) for demo_set in pending]

    try:
        return asyncio.run(run())
    finally:
        workers.stop()


def plain(sets: Sequence[dict[str, DemoSet]]) -> list[dict[str, list[dict[str, Any]]]]:
    """Return demo sets as data that compare by value."""
    return [
        {path: [demo.toDict() for demo in demos] for path, demos in demo_set.items()}
        for demo_set in sets
    ]


def augmented(sets: Sequence[dict[str, DemoSet]]) -> list[dspy.Example]:
    """Return the demos that come from traces."""
    return [
        demo
        for demo_set in sets
        for demos in demo_set.values()
        for demo in demos
        if demo.get("augmented")
    ]


class TestSets:
    def test_the_first_is_the_students_own(self, store: Store) -> None:
        """Set 0 has the demos of the student, also if it has none."""
        program = student()
        assert demo_sets(store, scripted_lm(), program=program)[0] == {"self": ()}
        program.demos = [dspy.Example(question="1 + 1", answer="2")]
        first = demo_sets(store, scripted_lm(), program=program)[0]
        assert list(first["self"]) == program.demos

    def test_as_many_as_planned(self, store: Store) -> None:
        """There are as many sets as the plan says, with at most as many demos."""
        sets = demo_sets(store, scripted_lm(base=60), plan=DemoPlan(8, 3, 5, None))
        assert len(sets) == 8
        for demo_set in sets:
            assert len(demo_set["self"]) <= 5
            assert len(augmented([demo_set])) <= 3

    def test_the_second_is_labelled(self, store: Store) -> None:
        """Set 1 has unchanged training examples."""
        second = demo_sets(store, scripted_lm(), plan=DemoPlan(4, 4, 3, None))[1]["self"]
        assert len(second) == 3
        assert all(demo in sums(12) for demo in second)

    def test_bootstrapped_demos_passed_the_metric(self, store: Store) -> None:
        """A call becomes a demo only if its run passes the metric."""
        demos = augmented(demo_sets(store, scripted_lm(base=40)))
        answers = {example.question: example.answer for example in sums(12)}
        assert demos
        assert all(answers[demo.question] == demo.answer for demo in demos)

    def test_no_example_twice_in_a_set(self, store: Store) -> None:
        """A labelled example is not added to a set that has its trace."""
        for demo_set in demo_sets(store, scripted_lm(base=60), plan=DemoPlan(8, 4, 8, None)):
            questions = [demo.question for demo in demo_set["self"]]
            assert len(questions) == len(set(questions))

    def test_sets_differ(self, store: Store) -> None:
        """At least 5 of 6 demo sets have a content of their own."""
        sets = plain(demo_sets(store, scripted_lm(base=100)))
        assert len({str(demo_set) for demo_set in sets}) >= 5

    def test_only_bootstrapped(self, store: Store) -> None:
        """Without labelled demos every demo is a trace."""
        sets = demo_sets(store, scripted_lm(base=100), plan=DemoPlan(6, 3, 0, None))
        demos = [demo for demo_set in sets for demo in demo_set["self"]]
        assert demos
        assert all(demo.augmented for demo in demos)

    def test_only_labelled(self, store: Store) -> None:
        """Without bootstrapped demos no model is asked, and all sets but the first have demos."""
        lm = scripted_lm()
        sets = demo_sets(store, lm, plan=DemoPlan(6, 0, 4, None))
        assert calls_of(lm) == 0
        assert [len(demo_set["self"]) for demo_set in sets] == [0, 4, 4, 4, 4, 4]
        assert not augmented(sets)

    def test_fewer_examples_than_demos(self, store: Store) -> None:
        """A demo set has each example once if the training set is smaller than the set."""
        sets = demo_sets(store, scripted_lm(base=100), train=sums(2), plan=DemoPlan(5, 4, 16, None))
        assert [len(demo_set["self"]) for demo_set in sets] == [0, 2, 2, 2, 2]

    def test_nothing_passes(self, store: Store) -> None:
        """If no run of the teacher passes, the sets have labelled examples."""
        sets = demo_sets(store, scripted_lm(base=-1000))
        assert not augmented(sets)
        assert [len(demo_set["self"]) for demo_set in sets[1:]] == [4] * 5

    def test_every_predictor_has_its_demos(self, store: Store) -> None:
        """A set has demos of each predictor, with the fields of that predictor."""
        sets = demo_sets(
            store, scripted_lm(base=100), program=TwoSteps(), plan=DemoPlan(4, 3, 0, None)
        )
        for demo_set in sets[1:]:
            assert set(demo_set) == {"think", "reply"}
            assert len(demo_set["think"]) == len(demo_set["reply"]) > 0
            for thought, reply in zip(demo_set["think"], demo_set["reply"], strict=True):
                assert {"question", "thought"} <= set(thought.keys())
                assert "answer" not in thought
                assert reply.thought == thought.thought

    def test_a_call_that_no_model_can_be_shown_is_no_demo(self, store: Store) -> None:
        """A model may write half of a character, and none can be sent it."""

        class Halving(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if "1 + 1" not in str(request.messages[-1].text):
                    return response
                text = str(response.message.text).replace(" ## ]]\n", " ## ]]\n\ud83d", 1)
                return replace(response, message=type(response.message).assistant(text))

        train = [sums(20)[0], dspy.Example(question="1 + 1", answer="2").with_inputs("question")]
        sets = demo_sets(
            store,
            dspy.LM("scripted", engine=Halving(base=100), cache=False),
            metric=lambda *_: True,
            train=train,
            plan=DemoPlan(4, 2, 0, None),
        )
        assert {demo.question for demo in augmented(sets)} == {train[0].question}

    def test_a_predictor_called_often(self, store: Store) -> None:
        """A run that calls a predictor several times adds one of these calls to a set."""

        class Twice(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict(ANSWER)

            def forward(self, question: str) -> object:
                self.predict(question=f"{question} and nothing else")
                return self.predict(question=question)

        sets = demo_sets(
            store, scripted_lm(base=100), program=Twice(), plan=DemoPlan(4, 3, 0, None)
        )
        assert all(1 <= len(demo_set["predict"]) <= 3 for demo_set in sets[1:])


class TestFirstDemos:
    def test_are_all_traces_of_a_set_if_they_suffice(self, store: Store) -> None:
        """If the first attempts suffice, the first demos are all bootstrapped demos of the set."""
        for demo_set, first in bootstrap(store, scripted_lm(base=100)):
            assert first.suffice
            assert list(first.demos["self"]) == augmented([demo_set])

    def test_are_fewer_than_those_of_the_set_if_they_do_not_suffice(self, store: Store) -> None:
        """If the first attempts do not suffice, the demo set has more bootstrapped demos."""
        plan = DemoPlan(4, 8, 0, None)
        results = bootstrap(store, scripted_lm(base=10), train=sums(100), plan=plan)
        late = [(demo_set, first) for demo_set, first in results if not first.suffice]
        assert late
        for demo_set, first in late:
            assert len(first.demos["self"]) < len(augmented([demo_set]))

    def test_suffice_when_nothing_passes(self, store: Store) -> None:
        """A demo set needs no more attempts after all of them have failed."""
        train = sums(3)
        for _, first in bootstrap(store, scripted_lm(base=-1000), train=train):
            assert first.suffice
            assert first.demos == {"self": ()}


class TestTeacher:
    def test_the_student_is_not_modified(self, store: Store) -> None:
        """Bootstrapping changes neither the student nor the teacher."""
        program, teacher = student(), student()
        teacher.demos = [dspy.Example(question="1 + 1", answer="2")]
        states = program.dump_state(), teacher.dump_state()
        demo_sets(store, scripted_lm(), program=program, teacher=teacher)
        assert (program.dump_state(), teacher.dump_state()) == states

    def test_a_teacher_program_is_run(self, store: Store) -> None:
        """With a teacher, all requests have the teacher's prompt."""
        engine = RecordingEngine(base=100)
        teacher = dspy.Predict(make_signature("question -> answer", "You are the teacher."))
        demo_sets(store, lm_on(engine), teacher=teacher)
        assert engine.requests
        assert all("You are the teacher." in (request.system or "") for request in engine.requests)

    def test_a_teacher_of_another_shape(self, store: Store) -> None:
        """The error for a teacher with other predictors than the student's names both."""
        teacher = dspy.ChainOfThought("question -> answer")
        with pytest.raises(DeclarationError, match=r"predict.*self"):
            demo_sets(store, scripted_lm(), teacher=teacher)

    def test_an_example_is_not_shown_its_own_answer(self, store: Store) -> None:
        """The example of a run is not among the teacher's demos."""
        engine = RecordingEngine(base=100)
        demo_sets(store, lm_on(engine), train=sums(5), plan=DemoPlan(6, 4, 4, None))
        for request in engine.requests:
            *demos, turn = [message.text or "" for message in request.messages]
            question = turn.split("]]")[1].split("\n")[1]
            assert all(question not in demo for demo in demos)
        assert any(len(request.messages) > 1 for request in engine.requests)

    def test_demos_survive_a_failing_example(self, store: Store) -> None:
        """After an error in the program, the teacher has its demos for the next example."""
        engine = RecordingEngine(base=100)
        failing = {example.question for example in sums(3)}

        class Fragile(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict(ANSWER)

            def forward(self, question: str) -> object:
                answer = self.predict(question=question)
                if question in failing:
                    raise ValueError(question)
                return answer

        sets = demo_sets(store, lm_on(engine), program=Fragile(), threads=1)
        assert all(len(request.messages) > 1 for request in engine.requests)
        questions = {demo.question for demo in augmented(sets)}
        assert questions
        assert not questions & failing


class TestMetric:
    def test_sees_the_trace(self, store: Store) -> None:
        """While bootstrapping, the metric gets the trace, as in DSPy."""
        traces: list[object] = []

        def strict(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
            traces.append(trace)
            return exact(example, prediction)

        demo_sets(store, scripted_lm(base=100), metric=strict)
        assert traces
        for trace in traces:
            assert isinstance(trace, list)
            ((predictor, inputs, prediction),) = trace
            assert isinstance(predictor, dspy.Predict)
            assert set(inputs) == {"question"}
            assert "answer" in prediction

    @pytest.mark.parametrize(
        "score, threshold, passes",
        [
            (0.0, None, False),
            (0.0, 0.0, True),
            (-0.5, 0.0, False),
            (0.5, None, True),
            (0.5, 0.5, True),
            (0.5, 0.51, False),
            (True, 1.0, True),
            (False, None, False),
        ],
    )
    def test_threshold(
        self, store: Store, score: float, threshold: float | None, passes: bool
    ) -> None:
        """0 is a threshold; without a threshold any score but 0 passes."""
        plan = DemoPlan(4, 3, 0, threshold)
        sets = demo_sets(store, scripted_lm(), metric=lambda *_: score, train=sums(5), plan=plan)
        assert bool(augmented(sets)) == passes

    def test_without_a_score(self, store: Store) -> None:
        """A metric that returns no score stops the bootstrap."""
        with pytest.raises(MetricError, match="None"):
            demo_sets(store, scripted_lm(), metric=lambda *_: None)


class TestErrors:
    def test_lm_error(self, store: Store) -> None:
        """An LM error stops the bootstrap, and no trace is stored."""
        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, lm_on(FailingEngine()))
        with store.connection() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM traces").scalar_one()
        assert count == 0

    def test_errors_after_the_first(self, store: Store, caplog: pytest.LogCaptureFixture) -> None:
        """Errors after the first are not logged as never retrieved."""
        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, lm_on(FailingEngine()))
        gc.collect()
        assert caplog.messages == []

    @pytest.mark.parametrize("outputs", [{"answer": "2"}, {}], ids=["answers", "trips the metric"])
    def test_swallowed_lm_error(self, store: Store, outputs: dict[str, str]) -> None:
        """An LM error that the program catches stops the bootstrap all the same."""

        class Swallows(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict(ANSWER)

            def forward(self, question: str) -> object:
                try:
                    return self.predict(question=question)
                except dspy.LMError:
                    return dspy.Prediction(**outputs)

        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, lm_on(FailingEngine()), program=Swallows())

    def test_lm_error_in_the_metric(self, store: Store) -> None:
        """An LM error in the metric is an infrastructure error."""
        judge = lm_on(FailingEngine())

        def judged(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with dspy.context(lm=judge):
                return bool(dspy.Predict("question -> good: bool")(question="?").good)

        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, scripted_lm(), metric=judged)

    def test_a_program_that_always_raises(self, store: Store) -> None:
        """A program that always raises makes no bootstrapped demos, no error and no trace."""
        assert not augmented(demo_sets(store, scripted_lm(), program=Broken()))
        assert store.traces.count() == 0

    def test_a_program_that_raises_too_often(self, store: Store) -> None:
        """With a limit, one more failed attempt is an error."""
        with pytest.raises(ProgramError, match=r"max_errors=2.*ValueError"):
            demo_sets(store, scripted_lm(), program=Broken(), failure_limit=FailureLimit(2))


class Broken(dspy.Module):
    """Always raises."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(ANSWER)

    def forward(self, question: str) -> object:
        raise ValueError(question)


class TestRepeatable:
    def test_at_any_number_of_threads(self) -> None:
        """Demo sets are the same at 1, 4 and 16 threads with random latency."""
        results = []
        for threads in (1, 4, 16):
            store = Store.in_memory()
            lm = scripted_lm(base=60, latency=0.01)
            results.append(plain(demo_sets(store, lm, threads=threads)))
            store.close()
        assert results[0] == results[1] == results[2]

    def test_another_seed(self, store: Store) -> None:
        """Another seed draws other sets, and 0 is a seed of its own."""
        lm = scripted_lm(base=60)
        assert plain(demo_sets(store, lm, seed=0)) != plain(demo_sets(store, lm, seed=9))

    def test_a_second_bootstrap_makes_no_call(self, store: Store) -> None:
        """A second bootstrap on the same store makes no call and has the same sets."""
        lm = scripted_lm(base=60)
        first = plain(demo_sets(store, lm))
        calls = calls_of(lm)
        assert calls > 0
        assert plain(demo_sets(store, lm)) == first
        assert calls_of(lm) == calls

    def test_no_example_is_run_twice(self, store: Store) -> None:
        """The teacher runs at most once per example, for any number of sets."""
        lm = scripted_lm(base=40)
        plan = DemoPlan(18, 4, 4, None)
        demo_sets(store, lm, plan=plan)
        assert 0 < calls_of(lm) <= plan.most_attempts(12) == 12

    def test_attempts_run_side_by_side(self, store: Store) -> None:
        """The teacher runs on several examples at the same time."""
        meeting = threading.Barrier(4, timeout=10)

        class Meeting(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls <= 4:
                    meeting.wait()
                return response

        assert augmented(demo_sets(store, lm_on(Meeting(base=100)), threads=4))
