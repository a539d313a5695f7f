from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy import lm15
from dspy.signatures import make_signature
from dspy.utils.exceptions import ContextWindowExceededError
from scripted import ScriptedEngine

from pytest_mipro.errors import InfrastructureError
from pytest_mipro.evaluate import ContextThreadPool, WorkerPool
from pytest_mipro.optimize.mipro.bootstrap import Draft
from pytest_mipro.optimize.mipro.propose import PromptModel, Propose, program_code
from pytest_mipro.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("dspy")

KINDS = (
    "proposed_instruction",
    "module_description",
    "program_description",
    "observations",
)


def train(count: int) -> list[dspy.Example]:
    """Return ``count`` training examples."""
    return [
        dspy.Example(question=f"train question {number}", answer=f"{number}").with_inputs(
            "question"
        )
        for number in range(count)
    ]


def wanted(request: lm15.Request) -> str:
    """Say what a request asks the prompt model for."""
    turn = request.messages[-1].text or ""
    return next(kind for kind in KINDS if f"`[[ ## {kind} ## ]]`" in turn)


class Author(ScriptedEngine):
    """Answers with what ``write`` returns for the kind and number of a request."""

    def __init__(self, write: Callable[[str, int], str] = lambda kind, n: f"{kind} {n}") -> None:
        super().__init__()
        self.requests: list[lm15.Request] = []
        self._write = write

    def complete(self, request: lm15.Request) -> lm15.Response:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        kind = wanted(request)
        text = f"[[ ## {kind} ## ]]\n{self._write(kind, number)}\n\n[[ ## completed ## ]]"
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )

    def asked(self, kind: str) -> list[str]:
        return [each.messages[-1].text or "" for each in self.requests if wanted(each) == kind]


class TwoStep(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.Predict(make_signature("question -> thought", "Own thinking."))
        self.reply = dspy.Predict(make_signature("question, thought -> answer", "Own reply."))

    def forward(self, question: str) -> object:
        return self.reply(question=question, thought=self.think(question=question).thought)


def instructions(
    store: Store,
    engine: ScriptedEngine,
    *,
    student: dspy.Module | None = None,
    rows: int = 8,
    count: int = 3,
    demos: Sequence[dict[str, DemoSet]] = (),
    threads: int = 4,
    **options: object,
) -> tuple[tuple[str, ...], ...]:
    """Return what the model on ``engine`` proposes for a student."""
    workers = WorkerPool(ContextThreadPool(threads))
    declared = Options.declare(**options)
    lm = dspy.LM("scripted", engine=engine, cache=False, num_retries=0)
    propose = Propose(
        model=PromptModel(lm, None, declared.init_temperature),
        student=student or TwoStep(),
        trainset=train(rows),
        options=declared,
        store=store,
        workers=workers,
    )

    paths = [path for path, _ in (student or TwoStep()).named_predictors()]

    async def run() -> tuple[tuple[str, ...], ...]:
        known = demos or [dict.fromkeys(paths, ())]
        making = [asyncio.get_running_loop().create_future() for _ in known]
        for each, demo_set in zip(making, known, strict=True):
            each.set_result(Draft(demo_set, suffices=True))
        briefing = asyncio.ensure_future(propose.brief(count))
        return await propose.instructions(briefing, making, count)

    try:
        return asyncio.run(run())
    finally:
        workers.stop()


class TestInstructions:
    def test_the_first_is_the_students_own(self, store: Store) -> None:
        """Index 0 of each predictor is its own instruction; the others are new."""
        made = instructions(store, Author())
        assert [each[0] for each in made] == ["Own thinking.", "Own reply."]
        assert [len(each) for each in made] == [3, 3]
        assert all(text.startswith("proposed_instruction") for each in made for text in each[1:])

    def test_repeated_and_empty_answers_are_left_out(self, store: Store) -> None:
        """There is no second candidate of the same text, and none without."""
        answers = iter(["Same.", "", "Same.", "  ", "Own thinking.", "Other."] * 2)

        def write(kind: str, number: int) -> str:
            return next(answers) if kind == "proposed_instruction" else "text"

        made = instructions(
            store, Author(write), count=7, threads=1, student=dspy.Predict("question -> answer")
        )
        assert set(made[0][1:]) == {"Same.", "Other.", "Own thinking."}
        assert len(made[0]) == 4

    @pytest.mark.parametrize(
        "answer",
        [
            "Add them.",
            '"Add them."',
            "Instruction: Add them.",
            "**Proposed Instruction:** Add them.",
            "  New instructions:\n\nAdd them.\n",
        ],
    )
    def test_wrapping_is_taken_off(self, store: Store, answer: str) -> None:
        """Labels and quotes around the instruction are not part of it."""
        made = instructions(
            store, Author(lambda *_: answer), count=2, student=dspy.Predict("question -> answer")
        )
        assert made[0][1] == "Add them."

    def test_one_candidate_asks_nothing_for_it(self, store: Store) -> None:
        """Where only the student's own instruction is wanted no instruction is written."""
        engine = Author()
        assert [len(each) for each in instructions(store, engine, count=1)] == [1, 1]
        assert not engine.requests


class TestCalls:
    def test_program_and_predictors_are_described_once(self, store: Store) -> None:
        """A call for the program, one per predictor, one per new instruction, and the data."""
        engine = Author()
        instructions(store, engine, rows=8, count=6)
        counts = {kind: len(engine.asked(kind)) for kind in KINDS}
        assert counts.pop("observations") == 1
        assert counts == {
            "proposed_instruction": 2 * 5,
            "module_description": 2,
            "program_description": 1,
        }

    def test_batches_of_rows(self, store: Store) -> None:
        """Batches of rows are looked at once each, and every instruction is told of all."""
        engine = Author()
        instructions(store, engine, rows=25, view_data_batch_size=10)
        observed = engine.asked("observations")
        assert len(observed) == 3
        asked = engine.asked("proposed_instruction")
        assert all(sum(f"observations {n}" in each for n in range(20)) == 3 for each in asked)
        for number in range(25):
            assert sum(f'train question {number}"' in each for each in observed) == 1

    def test_a_large_trainset_is_not_all_shown(self, store: Store) -> None:
        """What is said of the data costs a bounded number of calls."""
        engine = Author()
        instructions(store, engine, rows=1000, view_data_batch_size=1)
        assert len(engine.asked("observations")) <= 10

    def test_a_second_time_costs_nothing(self, store: Store) -> None:
        """Answers are found in the store, and give the same instructions."""
        engine = Author()
        first = instructions(store, engine, rows=25, threads=1)
        again = Author()
        assert instructions(store, again, rows=25) == first
        assert not again.requests

    def test_instructions_are_written_side_by_side(self, store: Store) -> None:
        """All instructions are under way at once."""
        meeting = threading.Barrier(10, timeout=10)

        def write(kind: str, number: int) -> str:
            if kind == "proposed_instruction":
                meeting.wait()
            return f"{kind} {number}"

        instructions(store, Author(write), count=6, threads=10)
        assert not meeting.broken


class TestGrounding:
    def test_everything(self, store: Store) -> None:
        """Data, program, module, demos, the present instruction and a tip are all shown."""
        engine = Author()
        demo = dspy.Example(augmented=True, question="demo question", thought="t", answer="a")
        instructions(store, engine, demos=[{"think": (demo,), "reply": (demo,)}], count=6)
        for request in engine.asked("proposed_instruction"):
            for shown in (
                "[[ ## dataset_description ## ]]\nobservations",
                "class TwoStep",
                "program_description",
                "module_description",
                "demo question",
            ):
                assert shown in request
            assert "Own thinking." in request or "Own reply." in request
        assert any("[[ ## tip ## ]]" in each for each in engine.asked("proposed_instruction"))

    @pytest.mark.parametrize(
        "option, gone",
        [
            ("program_aware_proposer", "[[ ## program_code ## ]]"),
            ("program_aware_proposer", "class TwoStep"),
            ("data_aware_proposer", "[[ ## dataset_description ## ]]"),
            ("data_aware_proposer", "train question"),
            ("tip_aware_proposer", "[[ ## tip ## ]]"),
            ("fewshot_aware_proposer", "demo question"),
        ],
    )
    def test_can_be_turned_off(self, store: Store, option: str, gone: str) -> None:
        """What a proposer must not be aware of is in no instruction request."""
        demo = dspy.Example(augmented=True, question="demo question", thought="t", answer="a")
        sets: list[dict[str, DemoSet]] = [{"think": (demo,), "reply": (demo,)}]
        with_it, without = Author(), Author()
        instructions(store, with_it, demos=sets, count=6)
        turned_off: dict[str, Any] = {option: False}
        instructions(store, without, demos=sets, count=6, **turned_off)
        if gone != "train question":
            assert any(gone in each for each in with_it.asked("proposed_instruction"))
        else:
            assert any(gone in each for each in with_it.asked("observations"))
            assert not without.asked("observations")
        assert without.asked("proposed_instruction")
        assert not any(gone in each for each in without.asked("proposed_instruction"))

    def test_tips_differ(self, store: Store) -> None:
        """No tip is given a second time before all have been; one of them is none."""
        engine = Author()
        instructions(store, engine, student=dspy.Predict("question -> answer"), count=13)
        requests = engine.asked("proposed_instruction")
        tips = [each.partition("[[ ## tip ## ]]")[2].partition("\n\n")[0] for each in requests]
        assert len(set(tips)) == 6
        assert {tips.count(tip) for tip in tips} == {2}

    @pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
    def test_temperature(self, store: Store, temperature: float) -> None:
        """Instructions are written at the temperature that was asked for, 0 included."""
        engine = Author()
        instructions(store, engine, init_temperature=temperature)
        used = {
            each.config.temperature
            for each in engine.requests
            if wanted(each) == "proposed_instruction"
        }
        assert used == {temperature}

    def test_the_student_is_not_modified(self, store: Store) -> None:
        """Proposing only reads the student."""
        student = TwoStep()
        before = student.dump_state()
        instructions(store, Author(), student=student)
        assert student.dump_state() == before


class TestErrors:
    @pytest.mark.parametrize("kind", KINDS)
    def test_an_lm_error_in_any_call(self, store: Store, kind: str) -> None:
        """A model that fails at any kind of request is not quietly done without."""

        def write(asked: str, number: int) -> str:
            if asked == kind:
                message = "dead key"
                raise dspy.LMAuthError(message)
            return f"{asked} {number}"

        with pytest.raises(InfrastructureError, match="dead key"):
            instructions(store, Author(write), rows=25)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_request_too_long_is_done_without(self, store: Store, kind: str) -> None:
        """A request that does not fit the prompt model costs that answer only."""

        def write(asked: str, number: int) -> str:
            if asked == kind:
                raise ContextWindowExceededError(message="too long")
            return f"{asked} {number}"

        made = instructions(store, Author(write), rows=25)
        assert [each[0] for each in made] == ["Own thinking.", "Own reply."]
        assert [len(each) for each in made] == (
            [1, 1] if kind == "proposed_instruction" else [3, 3]
        )

    def test_an_unreadable_answer_is_done_without(self, store: Store) -> None:
        """Answers that are in no readable form leave the student's own instruction."""

        class Mumbles(Author):
            def complete(self, request: lm15.Request) -> lm15.Response:
                return lm15.Response(
                    id=None,
                    model=request.model,
                    message=lm15.Message.assistant("hm"),
                    finish_reason="stop",
                    usage=lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2),
                )

        assert instructions(store, Mumbles()) == (("Own thinking.",), ("Own reply.",))


class TestProgramCode:
    def test_shows_the_source_and_the_signatures(self) -> None:
        """The prompt model sees the user's class and what each predictor takes and gives."""
        code = program_code(TwoStep())
        assert "def forward(self, question: str)" in code
        assert "question, thought -> answer" in code

    def test_a_bare_predictor(self) -> None:
        """DSPy's own source is not shown; the signature is."""
        code = program_code(dspy.Predict("question -> answer"))
        assert "question -> answer" in code
        assert "def " not in code

    def test_a_class_without_source(self) -> None:
        """A class that was typed at a prompt is described by its signatures."""
        scope: dict[str, object] = {"dspy": dspy}
        source = (
            "class Typed(dspy.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.predict = dspy.Predict('question -> answer')\n"
        )
        exec(source, scope)
        typed = scope["Typed"]
        assert isinstance(typed, type)
        assert "question -> answer" in program_code(typed())
