from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import dspy
import pytest
from dspy import lm15
from dspy.signatures import make_signature
from sums import Function, ReplyingEngine, engine_lm, evaluate, sums

from pytest_mipro.evaluate.cut_replies import CutAnswerError, CutReplies

if TYPE_CHECKING:
    from collections.abc import Callable

    from dspy.lm15 import FinishReason

    from pytest_mipro.store import Store

    Reply = tuple[str, FinishReason]

pytestmark = pytest.mark.uses("dspy")

CUT: Reply = ("[[ ## answer ## ]]\n1", "length")
THOUGHT: Reply = ("[[ ## reasoning ## ]]\nas\n\n[[ ## answer ## ]]\n1", "stop")
WORSE: Reply = ("[[ ## answer ## ]]\n0\n\n[[ ## completed ## ]]", "stop")
UNREADABLE: Reply = ("hm", "stop")
OBJECT: Reply = ('{"reason": "as", "answer": "1"}', "stop")
HALF_OBJECT: Reply = ('{"answer": "1', "length")
HALF_STEP: Reply = (
    '{"next_thought": "I know", "next_tool_name": "finish", "next_tool_args": {}',
    "content_filter",
)
"""A step of ``dspy.ReAct`` in which it decides to answer."""


def best_of_two(reward: Callable[[str], float]) -> dspy.Module:
    """Return a program that takes the better of two answers."""
    return dspy.BestOfN(
        module=dspy.Predict("question -> answer"),
        N=2,
        reward_fn=lambda _, prediction: reward(prediction.answer),
        threshold=2.0,
    )


def repair(question: str) -> dspy.Prediction:
    """Call the model without a predictor, take what there is, and then call it for another end."""
    (text,) = dspy.settings.lm(f"Answer as JSON: {question}")
    dspy.settings.lm("Say goodbye.")
    return dspy.Prediction(answer=next(filter(str.isdigit, text)))


def insist(question: str) -> dspy.Prediction:
    """Call the model without a predictor, and ask for all of it after half an object."""
    messages = [lm15.Message.user(question)]
    while True:
        reply = dspy.settings.lm(lm15.Request(model="scripted", messages=tuple(messages))).message
        if reply.text.endswith("}"):
            return dspy.Prediction(answer=next(filter(str.isdigit, reply.text)))
        messages += [reply, lm15.Message.user("All of it.")]


def hide(question: str) -> dspy.Prediction:
    """Have a predictor answer of whose call the trace has nothing, and call the model again."""
    with dspy.context(trace=[]):
        prediction = dspy.Predict("question -> answer")(question=question)
    dspy.settings.lm("Say goodbye.")
    return prediction


@pytest.mark.parametrize(
    "program, replies",
    [
        (
            dspy.ReAct(make_signature("question -> answer"), tools=[]),
            [UNREADABLE, HALF_STEP, THOUGHT],
        ),
        (best_of_two(float), [CUT, WORSE]),
        (best_of_two(float), [UNREADABLE, HALF_OBJECT, WORSE]),
        (Function(repair), [HALF_OBJECT]),
        (Function(hide), [CUT]),
    ],
    ids=["ReAct", "best", "best after a retry", "direct", "own trace"],
)
def test_a_program_that_got_a_part_of_an_answer_has_failed(
    store: Store, program: dspy.Module, replies: list[Reply]
) -> None:
    """The cut reply need not be the last, and there may be more replies than predictor calls."""
    (row,) = evaluate(program, sums(1), store, lm=engine_lm(ReplyingEngine(*replies)))

    assert not row.score
    assert row.failure is not None
    assert row.failure.type == "CutAnswerError"
    assert store.rows.count() == 0


@pytest.mark.parametrize(
    "program, replies",
    [
        (dspy.Predict("question -> reason, answer"), [CUT, OBJECT]),
        (best_of_two(lambda answer: -float(answer)), [CUT, WORSE]),
        (Function(insist), [HALF_OBJECT, OBJECT]),
    ],
    ids=["fallback", "dropped", "asked again"],
)
def test_a_cut_reply_that_nothing_came_of_is_no_part_of_an_answer(
    store: Store, program: dspy.Module, replies: list[Reply]
) -> None:
    """It was unreadable, was not the best, or was asked for again."""
    (row,) = evaluate(program, sums(1), store, lm=engine_lm(ReplyingEngine(*replies)))

    assert row.failure is None


@pytest.mark.parametrize(
    "arguments, is_failure", [('{"city": "Rom', True), ('{"city": "Rome"}', False)]
)
def test_half_a_call_of_a_tool_is_a_part_of_an_answer(arguments: str, *, is_failure: bool) -> None:
    """DSPy repairs the arguments of such a call."""
    cuts = CutReplies()
    call = {"function": {"name": "weather", "arguments": arguments}}
    cuts.add({"outputs": [{"text": None, "tool_calls": [call]}], "prompt": "?"}, is_cut=True)

    with pytest.raises(CutAnswerError, match="Rom") if is_failure else nullcontext():
        cuts.check([])


def test_a_cut_text_that_another_model_reads_is_a_part_of_an_answer(store: Store) -> None:
    """DSPy's adapter in two steps has the answer extracted, whatever there is of it."""
    adapter = dspy.TwoStepAdapter(engine_lm(ReplyingEngine(THOUGHT)))
    lm = engine_lm(ReplyingEngine(("It might be 1, if", "length")))
    (row,) = evaluate(dspy.Predict("question -> answer"), sums(1), store, lm=lm, adapter=adapter)

    assert row.failure is not None
    assert (row.failure.type, row.failure.reason) == ("CutAnswerError", "token limit")
