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
from pytest_mipro.evaluate import WorkerPool
from pytest_mipro.optimize.mipro.bootstrap import FirstDemos
from pytest_mipro.optimize.mipro.propose import GroundedProposer, most_requests, program_code
from pytest_mipro.store import Store
from pytest_mipro.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_mipro.optimize.mipro.space import DemoSet

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


def kind_of(request: lm15.Request) -> str:
    """Return the output field that a request asks for."""
    turn = request.messages[-1].text or ""
    return next(kind for kind in KINDS if f"`[[ ## {kind} ## ]]`" in turn)


class WritingEngine(ScriptedEngine):
    """Answers with the text that ``write`` returns for the kind and number of a request."""

    def __init__(self, write: Callable[[str, int], str] = lambda kind, n: f"{kind} {n}") -> None:
        super().__init__()
        self.requests: list[lm15.Request] = []
        self._write = write

    def complete(self, request: lm15.Request) -> lm15.Response:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        kind = kind_of(request)
        text = f"[[ ## {kind} ## ]]\n{self._write(kind, number)}\n\n[[ ## completed ## ]]"
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2),
        )

    def turns(self, kind: str) -> list[str]:
        requests = [request for request in self.requests if kind_of(request) == kind]
        return [request.messages[-1].text or "" for request in requests]


THINK = make_signature("question -> thought", "Own thinking.")
REPLY = make_signature("question, thought -> answer", "Own reply.")


class TwoStep(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.Predict(THINK)
        self.reply = dspy.Predict(REPLY)

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
    trainset: Sequence[dspy.Example] = (),
    **options: object,
) -> tuple[tuple[str, ...], ...]:
    """Return the instructions that the model on ``engine`` proposes for a student."""
    workers = WorkerPool(threads)
    declared = Options.checked(**options)
    lm = dspy.LM("scripted", engine=engine, cache=False, num_retries=0)
    proposer = GroundedProposer(
        prompt_model=lm,
        adapter=None,
        student=student or TwoStep(),
        trainset=trainset or train(rows),
        options=declared,
        store=store,
        workers=workers,
    )

    paths = [path for path, _ in (student or TwoStep()).named_predictors()]

    async def run() -> tuple[tuple[str, ...], ...]:
        demo_sets = demos or [dict.fromkeys(paths, ())]
        first_demos = [asyncio.get_running_loop().create_future() for _ in demo_sets]
        for future, demo_set in zip(first_demos, demo_sets, strict=True):
            future.set_result(FirstDemos(demo_set, suffice=True))
        grounding = asyncio.ensure_future(proposer.ground(count))
        return await proposer.propose(grounding, first_demos, count)

    try:
        return asyncio.run(run())
    finally:
        workers.stop()


class TestInstructions:
    def test_the_first_is_the_students_own(self, store: Store) -> None:
        """Index 0 of each predictor is its own instruction; the further ones are new."""
        thinking, reply = instructions(store, WritingEngine())
        assert (thinking[0], reply[0]) == ("Own thinking.", "Own reply.")
        assert len(thinking) == len(reply) == 3
        proposed = (*thinking[1:], *reply[1:])
        assert all(text.startswith("proposed_instruction") for text in proposed)

    def test_repeated_and_empty_answers_are_left_out(self, store: Store) -> None:
        """No instruction is empty or repeats another one."""
        answers = iter(["Same.", "", "Same.", "  ", "Own thinking.", "Other."] * 2)

        def write(kind: str, number: int) -> str:
            return next(answers) if kind == "proposed_instruction" else "text"

        (texts,) = instructions(
            store,
            WritingEngine(write),
            count=7,
            threads=1,
            student=dspy.Predict("question -> answer"),
        )
        assert set(texts[1:]) == {"Same.", "Other.", "Own thinking."}
        assert len(texts) == 4

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
    def test_labels_and_quotes_are_removed(self, store: Store, answer: str) -> None:
        """A label before an instruction and quotes around it are removed."""
        (texts,) = instructions(
            store,
            WritingEngine(lambda *_: answer),
            count=2,
            student=dspy.Predict("question -> answer"),
        )
        assert texts[1] == "Add them."

    def test_what_no_provider_takes_is_replaced(self, store: Store) -> None:
        """Half of an emoji, in an example or in an answer, stops no proposal."""
        engine = WritingEngine(lambda kind, number: f"Cut \ud83d {kind} {number}")
        broken = [dspy.Example(question="\ud83d?", answer="1").with_inputs("question")]
        student: Any = dspy.Predict("question -> answer")
        (texts,) = instructions(store, engine, student=student, trainset=broken)
        assert len(texts) == 3
        for text in texts[1:]:
            assert text.startswith("Cut ? proposed_instruction")
            assert make_signature("question -> answer", text).instructions == text
        assert '{"question": "??", "answer": "1"}' in engine.turns("observations")[0]

    def test_one_instruction_makes_no_call(self, store: Store) -> None:
        """If a predictor has only its own instruction, the prompt model is not asked."""
        engine = WritingEngine()
        assert [len(texts) for texts in instructions(store, engine, count=1)] == [1, 1]
        assert not engine.requests


class TestCalls:
    def test_program_and_predictors_are_described_once(self, store: Store) -> None:
        """Program, data and each predictor take a call each, and each new instruction."""
        engine = WritingEngine()
        instructions(store, engine, rows=8, count=6)
        counts = {kind: len(engine.turns(kind)) for kind in KINDS}
        assert counts.pop("observations") == 1
        assert counts == {
            "proposed_instruction": 2 * 5,
            "module_description": 2,
            "program_description": 1,
        }

    def test_batches_of_examples(self, store: Store) -> None:
        """Each batch of examples is summarized once, and every instruction request has them all."""
        engine = WritingEngine()
        instructions(store, engine, rows=25, view_data_batch_size=10)
        summaries = engine.turns("observations")
        assert len(summaries) == 3
        requests = engine.turns("proposed_instruction")
        assert all(sum(f"observations {n}" in turn for n in range(20)) == 3 for turn in requests)
        for number in range(25):
            assert sum(f'train question {number}"' in turn for turn in summaries) == 1

    @pytest.mark.parametrize("count", [1, 2, 4])
    @pytest.mark.parametrize("option", ["data_aware_proposer", "program_aware_proposer", None])
    def test_the_bound_counts_all_requests(
        self, store: Store, count: int, option: str | None
    ) -> None:
        """A proposal without stored answers makes as many requests as its bound says."""
        engine = WritingEngine()
        options: dict[str, Any] = {option: False} if option else {}
        instructions(store, engine, rows=25, count=count, **options)
        bound = most_requests(TwoStep(), Options.checked(**options), 25, count)
        assert len(engine.requests) == bound

    def test_a_large_trainset_takes_ten_calls(self, store: Store) -> None:
        """The summary of a large training set takes at most 10 calls."""
        engine = WritingEngine()
        instructions(store, engine, rows=1000, view_data_batch_size=1)
        assert len(engine.turns("observations")) <= 10

    def test_a_second_proposal_makes_no_call(self, store: Store) -> None:
        """A second proposal on the same store makes no call and has the same instructions."""
        engine = WritingEngine()
        first = instructions(store, engine, rows=25, threads=1)
        second_engine = WritingEngine()
        assert instructions(store, second_engine, rows=25) == first
        assert not second_engine.requests

    def test_instructions_are_written_side_by_side(self, store: Store) -> None:
        """All instructions are written at the same time."""
        meeting = threading.Barrier(10, timeout=10)

        def write(kind: str, number: int) -> str:
            if kind == "proposed_instruction":
                meeting.wait()
            return f"{kind} {number}"

        instructions(store, WritingEngine(write), count=6, threads=10)
        assert not meeting.broken


DEMO = dspy.Example(augmented=True, question="demo question", thought="t", answer="a")
DEMOS: list[dict[str, DemoSet]] = [{"think": (DEMO,), "reply": (DEMO,)}]


@pytest.fixture(scope="module")
def complete() -> WritingEngine:
    """Return the engine that wrote instructions from all sources."""
    engine, store = WritingEngine(), Store.in_memory()
    instructions(store, engine, demos=DEMOS, count=6)
    store.close()
    return engine


class TestGrounding:
    def test_sources_of_an_instruction(self, complete: WritingEngine) -> None:
        """An instruction request has data, program, module, demos, present instruction and tip."""
        for request in complete.turns("proposed_instruction"):
            for source in (
                "[[ ## dataset_description ## ]]\nobservations",
                "class TwoStep",
                "program_description",
                "module_description",
                "demo question",
            ):
                assert source in request
            assert "Own thinking." in request or "Own reply." in request
        assert any("[[ ## tip ## ]]" in turn for turn in complete.turns("proposed_instruction"))

    @pytest.mark.parametrize(
        "option, text",
        [
            ("program_aware_proposer", "[[ ## program_code ## ]]"),
            ("program_aware_proposer", "class TwoStep"),
            ("data_aware_proposer", "[[ ## dataset_description ## ]]"),
            ("data_aware_proposer", "train question"),
            ("tip_aware_proposer", "[[ ## tip ## ]]"),
            ("fewshot_aware_proposer", "demo question"),
        ],
    )
    def test_sources_can_be_turned_off(
        self, complete: WritingEngine, store: Store, option: str, text: str
    ) -> None:
        """A source that is turned off is in no instruction request."""
        without = WritingEngine()
        turned_off: dict[str, Any] = {option: False}
        instructions(store, without, demos=DEMOS, count=3, **turned_off)
        if text != "train question":
            assert any(text in turn for turn in complete.turns("proposed_instruction"))
        else:
            assert any(text in turn for turn in complete.turns("observations"))
            assert not without.turns("observations")
        assert without.turns("proposed_instruction")
        assert not any(text in turn for turn in without.turns("proposed_instruction"))

    def test_tips_differ(self, store: Store) -> None:
        """Each tip, one of which is empty, is given once before any is given again."""
        engine = WritingEngine()
        instructions(store, engine, student=dspy.Predict("question -> answer"), count=13)
        requests = engine.turns("proposed_instruction")
        tips = [turn.partition("[[ ## tip ## ]]")[2].partition("\n\n")[0] for turn in requests]
        assert len(set(tips)) == 6
        assert {tips.count(tip) for tip in tips} == {2}

    @pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
    def test_temperature(self, store: Store, temperature: float) -> None:
        """Instructions are written at ``init_temperature``, also if it is 0."""
        engine = WritingEngine()
        instructions(store, engine, init_temperature=temperature)
        used = {
            request.config.temperature
            for request in engine.requests
            if kind_of(request) == "proposed_instruction"
        }
        assert used == {temperature}

    def test_the_student_is_not_modified(self, store: Store) -> None:
        """Proposing does not change the student."""
        student = TwoStep()
        state = student.dump_state()
        instructions(store, WritingEngine(), student=student)
        assert student.dump_state() == state


class TestErrors:
    @pytest.mark.parametrize("kind", KINDS)
    def test_an_lm_error_in_any_call(self, store: Store, kind: str) -> None:
        """An LM error in any kind of request stops the proposal."""

        def write(request_kind: str, number: int) -> str:
            if request_kind == kind:
                message = "dead key"
                raise dspy.LMAuthError(message)
            return f"{request_kind} {number}"

        with pytest.raises(InfrastructureError, match="dead key"):
            instructions(store, WritingEngine(write), rows=25)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_request_that_is_too_long(self, store: Store, kind: str) -> None:
        """A request that exceeds the context window has an empty answer; the others are used."""

        def write(request_kind: str, number: int) -> str:
            if request_kind == kind:
                raise ContextWindowExceededError(message="too long")
            return f"{request_kind} {number}"

        thinking, reply = instructions(store, WritingEngine(write), rows=25)
        assert (thinking[0], reply[0]) == ("Own thinking.", "Own reply.")
        assert len(thinking) == len(reply) == (1 if kind == "proposed_instruction" else 3)

    def test_an_unreadable_answer(self, store: Store) -> None:
        """If all answers are unreadable, only the student's own instructions remain."""

        class UnreadableEngine(WritingEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                return lm15.Response(
                    id=None,
                    model=request.model,
                    message=lm15.Message.assistant("hm"),
                    finish_reason="stop",
                    usage=lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2),
                )

        assert instructions(store, UnreadableEngine()) == (("Own thinking.",), ("Own reply.",))


class TestProgramCode:
    def test_shows_the_source_and_the_signatures(self) -> None:
        """The code has the source of the user's class and the signatures of its predictors."""
        code = program_code(TwoStep())
        assert "def forward(self, question: str)" in code
        assert "question, thought -> answer" in code

    def test_a_bare_predictor(self) -> None:
        """The code of a DSPy class is its signature, without DSPy's source."""
        code = program_code(dspy.Predict("question -> answer"))
        assert "question -> answer" in code
        assert "def " not in code

    def test_a_class_without_source(self) -> None:
        """The code of a class without source is its signatures."""
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
