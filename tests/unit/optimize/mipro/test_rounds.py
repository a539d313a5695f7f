from __future__ import annotations

import json
import re
from typing import Any

import dspy
import pytest
from compiles import (
    ANSWER,
    MORE,
    TRAIN,
    RecordingEngine,
    TwoStep,
    average_lm,
    calls_of,
    compiled,
    dumped,
    lm_on,
    measured_candidates,
    small_optimizer,
    sums,
)
from dspy import lm15
from hostile import TEXTS
from scripted import ScriptedEngine

from pytest_mipro.canonical import canonical_json, digest
from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.records import Candidate, SearchLog
from pytest_mipro.spending import Account, Limit
from pytest_mipro.store import Store

FIELDS = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
SECRET = sums(30, 771_000)
"""Validation examples, all of whose numbers begin with the same digits."""
LONG: dict[str, Any] = {
    "trainset": sums(8),
    "valset": sums(12, 20),
    "num_trials": 20,
    "minibatch_size": 12,
}
"""Arguments of a compile with more trials than are worth their rows."""
HOSTILE = ("nul", "lone surrogate", "blank", "long line", "many lines", "template", "next line")
"""Texts that a request, a class or a file may not take as they are."""


def texts_of(request: lm15.Request) -> str:
    """Return all that a model is shown."""
    return "\n".join([str(request.system), *(message.text or "" for message in request.messages)])


def account(calls: int) -> Account:
    """Return an account for so many calls."""
    return Account([Limit("calls", calls, "--mipro-max-calls")])


@pytest.fixture(scope="module")
def recorded() -> tuple[dspy.Module, RecordingEngine]:
    """Return a program of two predictors compiled with two rounds, and the requests it took."""
    engine = RecordingEngine()
    optimizer = small_optimizer(lm_on(engine), num_candidates=3, rounds=2)
    return compiled(optimizer, TwoStep(), valset=SECRET), engine


def test_no_writer_sees_a_validation_row(recorded: tuple[dspy.Module, RecordingEngine]) -> None:
    """No request to the prompt model has an input, a label or an answer of a validation row."""
    _, engine = recorded
    texts = [texts_of(request) for request in engine.requests]
    writers = [
        text for text in texts if not {"answer", "thought"} & set(FIELDS.findall(text[-500:]))
    ]
    rows = [text for text in texts if text not in writers]
    assert any("771" in text for text in rows)
    assert any("[[ ## mistakes ## ]]" in text for text in writers)
    assert not any("771" in text for text in writers)


def test_writers_see_different_mistakes(recorded: tuple[dspy.Module, RecordingEngine]) -> None:
    """Requests of a round show training examples with their labels, not all the same ones."""
    _, engine = recorded
    shown = {
        turn.partition("[[ ## mistakes ## ]]\n")[2].partition("\n\n")[0]
        for turn in (request.messages[-1].text or "" for request in engine.requests)
        if "[[ ## mistakes ## ]]" in turn
    }
    assert len(shown) > 1
    questions = {example.question for example in TRAIN}
    for mistakes in shown:
        lines = mistakes.splitlines()
        assert 1 <= len(lines) <= 4
        assert all('"wanted"' in line and '"result"' in line for line in lines)
        assert all(any(question in line for question in questions) for line in lines)


def test_the_log_says_what_was_written_from_what() -> None:
    """The search log has the round, parent, examples and gain of each written instruction."""
    optimizer = small_optimizer(average_lm(per_demo=2), num_candidates=4, rounds=2)
    compiled(optimizer, **MORE)
    search = optimizer.search
    assert search is not None
    assert search.written
    for instruction in search.written:
        assert instruction.round in {1, 2}
        assert instruction.parent < instruction.index
        assert set(instruction.examples) <= set(range(len(MORE["trainset"])))
        assert instruction.text.startswith("text")
        assert -1 <= instruction.gain <= 1


def test_threads_and_a_second_compile_change_nothing() -> None:
    """The program is the same at any number of threads, and a second compile asks nothing."""
    programs = []
    for threads in (1, 16):
        store, lm = Store.in_memory(), average_lm(per_demo=2)
        sizes = {"num_candidates": 4, "rounds": 2, "store": store}
        optimizer = small_optimizer(lm, num_threads=threads, **sizes)
        programs.append(dumped(compiled(optimizer, **MORE)))
        calls = calls_of(lm)
        again = dumped(compiled(small_optimizer(lm, **sizes), **MORE))
        assert (again, calls_of(lm)) == (programs[0], calls)
        store.close()
    assert programs[0] == programs[1]


class HostileWriter(ScriptedEngine):
    """Writes a hostile instruction, always the same for the same request."""

    def __init__(self) -> None:
        super().__init__(base=30)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        if "`[[ ## proposed_instruction ## ]]`" not in (request.messages[-1].text or ""):
            return super().complete(request)
        number = digest(texts_of(request))
        text = TEXTS[HOSTILE[int(number, 16) % len(HOSTILE)]]
        text += number if text.strip() else ""  # Else few are new.
        answer = f"[[ ## proposed_instruction ## ]]\n{text}\n\n[[ ## completed ## ]]"
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(answer),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=1, output_tokens=1),
        )


def test_hostile_instructions_stop_no_compile() -> None:
    """Whatever the prompt model writes is measured, rewritten, kept and loaded again."""
    optimizer = small_optimizer(lm_on(HostileWriter()), num_candidates=len(HOSTILE), rounds=1)
    program = compiled(optimizer, trainset=sums(5), valset=sums(8, 100), num_trials=12)
    search = optimizer.search
    assert search is not None
    assert search.written
    assert SearchLog.from_dict(json.loads(canonical_json(search.to_dict()))) == search
    candidates = [entry["program"] for entry in measured_candidates(program)]
    instructions = {candidate.signature.instructions for candidate in candidates}
    assert len(instructions) > 3
    for candidate in candidates:
        loaded: Any = dspy.Predict(ANSWER)
        loaded.load_state(json.loads(dumped(candidate).encode()))
        assert loaded.signature.instructions == candidate.signature.instructions


def test_without_rounds_nothing_is_written() -> None:
    """With explicit sizes there are no rounds unless they are asked for."""
    programs = []
    for options in ({}, {"rounds": 0}):
        optimizer = small_optimizer(average_lm(per_demo=2), **options)
        programs.append(dumped(compiled(optimizer)))
        assert optimizer.search is not None
        assert optimizer.search.written == ()
    assert programs[0] == programs[1]


@pytest.fixture(scope="module")
def calls_without_rounds() -> int:
    """Return how many calls a ``LONG`` compile makes without rounds and without a budget."""
    lm = average_lm(per_demo=2)
    compiled(small_optimizer(lm), **LONG)
    return calls_of(lm)


def test_a_budget_leaves_something_for_rounds(calls_without_rounds: int) -> None:
    """Where a search without rounds would spend all of it, instructions are written."""
    limit, outcomes = calls_without_rounds - 10, []
    for threads in (1, 16):
        cut_lm = average_lm(per_demo=2)
        optimizer = small_optimizer(cut_lm, num_threads=threads, rounds=5)
        with account(limit).current():
            program = dumped(compiled(optimizer, **LONG))
        assert optimizer.cut is not None
        assert optimizer.search is not None
        assert optimizer.search.written
        outcomes.append((program, calls_of(cut_lm)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] <= limit


def test_what_rounds_leave_of_a_budget_is_explored(calls_without_rounds: int) -> None:
    """Rounds may end early, and the search then spends the part that was left for them."""
    cut_lm = average_lm(per_demo=2)
    optimizer = small_optimizer(cut_lm, rounds=5)
    with account(calls_without_rounds).current():
        compiled(optimizer, **LONG)
    assert 0.85 * calls_without_rounds < calls_of(cut_lm) <= calls_without_rounds


def test_a_budget_ends_the_rounds() -> None:
    """A little more than a search without rounds needs ends the rounds, and there is a winner."""
    lm = average_lm(per_demo=2)
    compiled(small_optimizer(lm))
    limit = calls_of(lm) + 15
    cut_lm = average_lm(per_demo=2)
    optimizer = small_optimizer(cut_lm, rounds=5)
    with account(limit).current():
        compiled(optimizer)
    assert optimizer.cut is not None
    assert calls_of(cut_lm) <= limit
    assert optimizer.search is not None
    assert isinstance(optimizer.search.winner, Candidate)
    with pytest.raises(BudgetExceeded), account(12).current():
        compiled(small_optimizer(average_lm(per_demo=2), rounds=5))
