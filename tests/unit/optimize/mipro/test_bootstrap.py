from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.signatures import make_signature
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.errors import DeclarationError, InfrastructureError, MetricError
from pytest_mipro.evaluate import ContextThreadPool, Evaluator, WorkerPool, gather
from pytest_mipro.optimize.mipro.bootstrap import Bootstrap, DemoPlan, Draft
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dspy import lm15

    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.task import Metric

pytestmark = pytest.mark.uses("dspy")


def sums(count: int) -> list[dspy.Example]:
    """Return ``count`` sums with their answers."""
    return [
        dspy.Example(question=f"{number} + 2", answer=f"{number + 2}").with_inputs("question")
        for number in range(count)
    ]


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Say whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


class Recording(ScriptedEngine):
    """Keeps what it is asked."""

    def __init__(self, base: int = 100) -> None:
        super().__init__(base=base)
        self.requests: list[lm15.Request] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        self.requests.append(request)
        return super().complete(request)


class Dead(ScriptedEngine):
    """Cannot be asked."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        message = "dead key"
        raise dspy.LMAuthError(message)


def lm_on(engine: ScriptedEngine) -> dspy.LM:
    """Return a model that answers from ``engine``."""
    return dspy.LM("scripted", engine=engine, cache=False, num_retries=0)


def student() -> dspy.Predict:
    """Return a program of one predictor, called ``self``."""
    return dspy.Predict("question -> answer")


def demo_sets(store: Store, lm: dspy.LM, **asked: Any) -> list[dict[str, DemoSet]]:
    """Return the demo sets for a student, made as ``drafted`` makes them."""
    return [made for made, _ in drafted(store, lm, **asked)]


def drafted(
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
) -> list[tuple[dict[str, DemoSet], Draft]]:
    """Return the demo sets for a student, from a teacher on ``train``, each with its draft."""
    workers = WorkerPool(ContextThreadPool(threads))
    bootstrap = Bootstrap(
        bench=Evaluator(metric, {"lm": lm}, "bench"),
        student=program or student(),
        teacher=teacher,
        trainset=sums(20) if train is None else train,
        store=store,
        workers=workers,
    )

    async def run() -> list[tuple[dict[str, DemoSet], Draft]]:
        making = bootstrap.start(plan or DemoPlan(6, 4, 4, None), seed)
        made = await gather([each.made for each in making])
        return [(each, part.draft.result()) for each, part in zip(made, making, strict=True)]

    made = asyncio.run(run())
    workers.stop()
    return made


def plain(sets: Sequence[dict[str, DemoSet]]) -> list[dict[str, list[dict[str, Any]]]]:
    """Return demo sets as data that can be compared."""
    return [
        {path: [demo.toDict() for demo in demos] for path, demos in each.items()} for each in sets
    ]


def augmented(sets: Sequence[dict[str, DemoSet]]) -> list[dspy.Example]:
    """Return the demos that come from traces."""
    return [
        demo for each in sets for demos in each.values() for demo in demos if demo.get("augmented")
    ]


class TestSets:
    def test_the_first_is_the_students_own(self, store: Store) -> None:
        """Set 0 is what the student came with, also if that is nothing."""
        program = student()
        assert demo_sets(store, scripted_lm(), program=program)[0] == {"self": ()}
        program.demos = [dspy.Example(question="1 + 1", answer="2")]
        first = demo_sets(store, scripted_lm(), program=program)[0]
        assert list(first["self"]) == program.demos

    def test_as_many_as_planned(self, store: Store) -> None:
        """There are as many sets as asked for, with no more demos than allowed."""
        sets = demo_sets(store, scripted_lm(base=60), plan=DemoPlan(8, 3, 5, None))
        assert len(sets) == 8
        for each in sets:
            assert len(each["self"]) <= 5
            assert len(augmented([each])) <= 3

    def test_the_second_is_labelled(self, store: Store) -> None:
        """Set 1 is training examples as they are."""
        second = demo_sets(store, scripted_lm(), plan=DemoPlan(4, 4, 3, None))[1]["self"]
        assert len(second) == 3
        assert all(demo in sums(20) for demo in second)

    def test_bootstrapped_demos_passed_the_metric(self, store: Store) -> None:
        """A call becomes a demo only if the run it was part of was right."""
        demos = augmented(demo_sets(store, scripted_lm(base=40)))
        right = {example.question: example.answer for example in sums(20)}
        assert demos
        assert all(right[demo.question] == demo.answer for demo in demos)

    def test_no_example_twice_in_a_set(self, store: Store) -> None:
        """A labelled example is not added to a set that has its trace."""
        for each in demo_sets(store, scripted_lm(base=60), plan=DemoPlan(8, 4, 8, None)):
            questions = [demo.question for demo in each["self"]]
            assert len(questions) == len(set(questions))

    def test_sets_differ(self, store: Store) -> None:
        """The search has something to choose from."""
        sets = plain(demo_sets(store, scripted_lm(base=100)))
        assert len({str(each) for each in sets}) >= 5

    def test_only_bootstrapped(self, store: Store) -> None:
        """Without labelled demos every demo is a trace."""
        sets = demo_sets(store, scripted_lm(base=100), plan=DemoPlan(6, 3, 0, None))
        demos = [demo for each in sets for demo in each["self"]]
        assert demos
        assert all(demo.augmented for demo in demos)

    def test_only_labelled(self, store: Store) -> None:
        """Without bootstrapped demos no model is asked, and every other set has demos."""
        lm = scripted_lm()
        sets = demo_sets(store, lm, plan=DemoPlan(6, 0, 4, None))
        assert lm._engine_spec.calls == 0
        assert [len(each["self"]) for each in sets] == [0, 4, 4, 4, 4, 4]
        assert not augmented(sets)

    def test_fewer_examples_than_demos(self, store: Store) -> None:
        """A training set that is smaller than a set of demos is used up, and no more."""
        sets = demo_sets(store, scripted_lm(base=100), train=sums(2), plan=DemoPlan(5, 4, 16, None))
        assert [len(each["self"]) for each in sets] == [0, 2, 2, 2, 2]

    def test_nothing_passes(self, store: Store) -> None:
        """Where the teacher is never right, sets are filled with labelled examples."""
        sets = demo_sets(store, scripted_lm(base=-1000))
        assert not augmented(sets)
        assert [len(each["self"]) for each in sets[1:]] == [4] * 5

    def test_every_predictor_has_its_demos(self, store: Store) -> None:
        """A set has demos for each predictor, with the fields of that predictor."""

        class TwoStep(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.think = dspy.Predict("question -> thought")
                self.reply = dspy.Predict("question, thought -> answer")

            def forward(self, question: str) -> object:
                thought = self.think(question=question).thought
                return self.reply(question=question, thought=thought)

        sets = demo_sets(
            store, scripted_lm(base=100), program=TwoStep(), plan=DemoPlan(4, 3, 0, None)
        )
        for each in sets[1:]:
            assert set(each) == {"think", "reply"}
            assert len(each["think"]) == len(each["reply"]) > 0
            for thought, reply in zip(each["think"], each["reply"], strict=True):
                assert {"question", "thought"} <= set(thought.keys())
                assert "answer" not in thought
                assert reply.thought == thought.thought

    def test_a_predictor_called_often(self, store: Store) -> None:
        """A run that calls a predictor several times adds one of these calls to a set."""

        class Twice(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            def forward(self, question: str) -> object:
                self.predict(question=f"{question} and nothing else")
                return self.predict(question=question)

        sets = demo_sets(
            store, scripted_lm(base=100), program=Twice(), plan=DemoPlan(4, 3, 0, None)
        )
        assert all(1 <= len(each["predict"]) <= 3 for each in sets[1:])


class TestDraft:
    def test_is_all_of_a_set_that_is_soon_made(self, store: Store) -> None:
        """Where the first attempts suffice, the draft has all of the set's traces."""
        for made, draft in drafted(store, scripted_lm(base=100)):
            assert draft.suffices
            assert list(draft.demos["self"]) == augmented([made])

    def test_is_less_than_a_set_that_takes_longer(self, store: Store) -> None:
        """Where they do not, it has what passed, and the set more."""
        plan = DemoPlan(4, 8, 0, None)
        made = drafted(store, scripted_lm(base=10), train=sums(200), plan=plan)
        late = [(each, draft) for each, draft in made if not draft.suffices]
        assert late
        for each, draft in late:
            assert len(draft.demos["self"]) < len(augmented([each]))

    def test_when_nothing_passes(self, store: Store) -> None:
        """A set that no attempt can help needs no more of them once all are made."""
        train = sums(3)
        for _, draft in drafted(store, scripted_lm(base=-1000), train=train):
            assert draft.suffices
            assert draft.demos == {"self": ()}


class TestTeacher:
    def test_the_student_is_not_modified(self, store: Store) -> None:
        """Bootstrapping leaves student and teacher as they were."""
        program, teacher = student(), student()
        teacher.demos = [dspy.Example(question="1 + 1", answer="2")]
        before = program.dump_state(), teacher.dump_state()
        demo_sets(store, scripted_lm(), program=program, teacher=teacher)
        assert (program.dump_state(), teacher.dump_state()) == before

    def test_a_teacher_program_is_asked(self, store: Store) -> None:
        """With a teacher it is the teacher's prompt that the model gets."""
        engine = Recording()
        teacher = dspy.Predict(make_signature("question -> answer", "You are the teacher."))
        demo_sets(store, lm_on(engine), teacher=teacher)
        assert engine.requests
        assert all("You are the teacher." in (each.system or "") for each in engine.requests)

    def test_a_teacher_of_another_shape(self, store: Store) -> None:
        """A teacher whose predictors are not the student's is refused, with both named."""
        teacher = dspy.ChainOfThought("question -> answer")
        with pytest.raises(DeclarationError, match=r"predict.*self"):
            demo_sets(store, scripted_lm(), teacher=teacher)

    def test_an_example_is_not_shown_its_own_answer(self, store: Store) -> None:
        """The teacher never has the example it works on among its demos."""
        engine = Recording()
        demo_sets(store, lm_on(engine), train=sums(5), plan=DemoPlan(6, 4, 4, None))
        for request in engine.requests:
            asked, shown = request.messages[-1].text or "", request.messages[:-1]
            question = asked.split("]]")[1].split("\n")[1]
            assert all(question not in (message.text or "") for message in shown)
        assert any(len(request.messages) > 1 for request in engine.requests)

    def test_demos_survive_a_failing_example(self, store: Store) -> None:
        """After the program raised on one example, the teacher still has its demos for the next."""
        engine = Recording()

        class Fragile(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            def forward(self, question: str) -> object:
                answer = self.predict(question=question)
                if question in {"0 + 2", "1 + 2", "2 + 2"}:
                    raise ValueError(question)
                return answer

        sets = demo_sets(store, lm_on(engine), program=Fragile(), threads=1)
        assert all(len(request.messages) > 1 for request in engine.requests)
        shown = {demo.question for demo in augmented(sets)}
        assert shown
        assert not shown & {"0 + 2", "1 + 2", "2 + 2"}


class TestMetric:
    def test_sees_the_trace(self, store: Store) -> None:
        """While bootstrapping, the metric gets the calls of the run, as DSPy's users expect."""
        seen: list[object] = []

        def strict(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
            seen.append(trace)
            return exact(example, prediction)

        demo_sets(store, scripted_lm(base=100), metric=strict)
        assert seen
        for trace in seen:
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
        """A threshold is one also if it is 0; without one anything but 0 passes."""
        plan = DemoPlan(4, 3, 0, threshold)
        made = demo_sets(store, scripted_lm(), metric=lambda *_: score, plan=plan)
        assert bool(augmented(made)) == passes

    def test_that_gives_no_score(self, store: Store) -> None:
        """A broken metric stops the bootstrap."""
        with pytest.raises(MetricError, match="None"):
            demo_sets(store, scripted_lm(), metric=lambda *_: None)


class TestErrors:
    def test_lm_error(self, store: Store) -> None:
        """A model that cannot be asked stops the bootstrap, and leaves no trace."""
        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, lm_on(Dead()))
        with store.connection() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM traces").scalar_one()
        assert count == 0

    def test_errors_after_the_first(self, store: Store, caplog: pytest.LogCaptureFixture) -> None:
        """What else goes wrong meanwhile is not logged as if nobody had cared."""
        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, lm_on(Dead()))
        gc.collect()
        assert caplog.messages == []

    @pytest.mark.parametrize("outputs", [{"answer": "2"}, {}], ids=["answers", "trips the metric"])
    def test_swallowed_lm_error(self, store: Store, outputs: dict[str, str]) -> None:
        """It makes no trace, and a metric is not to blame for what a dead model left it with."""

        class Swallows(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            def forward(self, question: str) -> object:
                try:
                    return self.predict(question=question)
                except dspy.LMError:
                    return dspy.Prediction(**outputs)

        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, lm_on(Dead()), program=Swallows())

    def test_judge_model_that_cannot_be_asked(self, store: Store) -> None:
        """A metric whose own model fails stops the bootstrap as the infrastructure error it is."""
        judge = lm_on(Dead())

        def judged(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with dspy.context(lm=judge):
                return bool(dspy.Predict("question -> good: bool")(question="?").good)

        with pytest.raises(InfrastructureError, match="dead key"):
            demo_sets(store, scripted_lm(), metric=judged)

    def test_a_program_that_always_raises(self, store: Store) -> None:
        """The program's own errors make no demos and no error: its rows will tell."""

        class Broken(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            def forward(self, question: str) -> object:
                raise ValueError(question)

        assert not augmented(demo_sets(store, scripted_lm(), program=Broken()))


class TestRepeatable:
    def test_at_any_number_of_threads(self) -> None:
        """The same seed gives the same sets, whatever the number of threads and the latency."""
        made = []
        for threads in (1, 4, 16):
            store = Store.in_memory()
            lm = scripted_lm(base=60, latency=0.01)
            made.append(plain(demo_sets(store, lm, threads=threads)))
            store.close()
        assert made[0] == made[1] == made[2]

    def test_another_seed(self, store: Store) -> None:
        """Another seed draws other sets; 0 is a seed."""
        lm = scripted_lm(base=60)
        assert plain(demo_sets(store, lm, seed=0)) != plain(demo_sets(store, lm, seed=9))

    def test_a_second_time_costs_nothing(self, store: Store) -> None:
        """Traces are found in the store."""
        lm = scripted_lm(base=60)
        first = plain(demo_sets(store, lm))
        calls = lm._engine_spec.calls
        assert calls > 0
        assert plain(demo_sets(store, lm)) == first
        assert lm._engine_spec.calls == calls

    def test_no_example_is_run_twice(self, store: Store) -> None:
        """However many sets are made, the teacher runs once per example at most."""
        lm = scripted_lm(base=40)
        demo_sets(store, lm, plan=DemoPlan(18, 4, 4, None))
        assert lm._engine_spec.calls <= 20

    def test_runs_side_by_side(self, store: Store) -> None:
        """The teacher works on several examples at once."""
        meeting = threading.Barrier(4, timeout=10)

        class Meeting(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls <= 4:
                    meeting.wait()
                return response

        assert augmented(demo_sets(store, lm_on(Meeting(base=100)), threads=4))
