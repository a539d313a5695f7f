"""The order of things, what is taken from where, and what happens when something fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import (
    HELD_OUT,
    ROWS,
    TRAIN,
    VAL,
    Adder,
    Checkout,
    adding,
    held_out,
    sums,
    with_demos,
)

from pytest_mipro.errors import FingerprintError, ProgramError
from pytest_mipro.records import Usage
from pytest_mipro.store import Store
from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from sessions import FirstRun

COMPILING = "mipro: test_adder: compiling: "


class Subtracter(Adder):
    """Has code of its own."""


class Plain(dspy.ChatAdapter):
    """Renders prompts as DSPy does by default."""


def reasons(checkout: Checkout) -> list[str]:
    """Return why tasks were compiled, in their order."""
    lines = checkout.recorder.lines
    return [line.removeprefix(COMPILING) for line in lines if line.startswith(COMPILING)]


def swapped(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return what ``right`` does."""
    return bool(prediction.answer == example.answer)


# --- The order -------------------------------------------------------------------------------


def test_a_task_is_compiled_before_it_is_judged(first_run: FirstRun) -> None:
    """The session takes the fingerprint, looks it up, compiles and then scores."""
    assert first_run.checkout.recorder.events == [
        "fingerprint",
        f"{COMPILING}no artifact in the store yet",
        "optimize",
        "bootstrap",
        "propose",
        "search",
        "evaluate",
    ]
    report = first_run.outcome.report()
    assert (report.origin, report.reasons) == ("compiled", ("no artifact in the store yet",))


def test_no_model_sees_a_held_out_example_before_the_search_is_over(first_run: FirstRun) -> None:
    """The last calls of a run are those for the held-out examples."""
    model, writer = first_run.checkout.model, first_run.checkout.writer
    is_held_out = [
        any(example.question in question for example in HELD_OUT) for question in model.questions
    ]
    assert is_held_out == [False] * (len(is_held_out) - ROWS) + [True] * ROWS
    assert not any(example.question in text for example in HELD_OUT for text in writer.questions)


def test_a_reference_is_written_when_everything_is_judged(checkout: Checkout) -> None:
    """The files appear after the last event of the run."""
    seen = []
    checkout.recorder.optimizer = with_demos
    checkout.recorder.on_event = lambda _: seen.append(dict(checkout.references))
    checkout.outcome(update=True)
    assert seen
    assert not any(seen)
    assert len(checkout.references) == 2


def test_the_first_run_pays_for_compile_and_verdict(first_run: FirstRun) -> None:
    """The report counts every call of the models."""
    report = first_run.outcome.report()
    calls = first_run.checkout.calls
    assert report.usage == Usage(calls, 10 * calls, 2 * calls)
    assert report.baseline.usage.calls == report.compiled.usage.calls == len(HELD_OUT)


# --- The store -------------------------------------------------------------------------------


def test_what_the_store_has_is_neither_compiled_nor_asked(
    compiled: Checkout, first_run: FirstRun
) -> None:
    """The outcome is that of the first run, at no cost, and nothing is said."""
    outcome = compiled.outcome()
    assert compiled.calls == 0
    assert compiled.recorder.events == ["fingerprint"]
    report, first = outcome.report(), first_run.outcome.report()
    assert (report.origin, report.reasons, report.usage) == ("stored", (), Usage())
    assert (report.baseline, report.compiled) == (first.baseline, first.compiled)
    assert report.prompts_after == first.prompts_after
    assert report.held_out == tuple(
        example.from_dict({**example.to_dict(), "accepted": None}) for example in first.held_out
    )


def test_an_artifact_without_scores_is_scored(compiled: Checkout) -> None:
    """Both programs answer the new held-out examples, and nothing is compiled."""
    task = compiled.task(dataset=held_out(*HELD_OUT, *sums(40, 2)))
    report = compiled.outcome(task).report()
    assert compiled.calls == 2 * 2
    assert compiled.recorder.events == [
        "fingerprint",
        "mipro: test_adder: scoring 2 held-out examples that are not in the store",
        "evaluate",
    ]
    assert (report.origin, report.usage.calls) == ("stored", 4)
    assert len(report.compiled.scores) == len(HELD_OUT) + 2


def test_corrected_labels_cost_nothing(compiled: Checkout) -> None:
    """The metric scores the stored answers against the new labels."""
    corrected = HELD_OUT[0].copy(answer=HELD_OUT[0].answer + 1).with_inputs("question")
    task = compiled.task(dataset=held_out(corrected, *HELD_OUT[1:]))
    outcome = compiled.outcome(task)
    assert compiled.calls == 0
    assert reasons(compiled) == []
    assert outcome.compiled.scores == (0, 1, 1, 1, 1, 1)


def test_the_order_of_held_out_examples_is_that_of_the_scores(compiled: Checkout) -> None:
    """The same examples in another order ask nothing and give the same scores."""
    reversed_task = compiled.task(dataset=held_out(*reversed(HELD_OUT)))
    cards = [compiled.outcome(task).compiled.card for task in (reversed_task, compiled.task())]
    assert cards[0].examples == cards[1].examples[::-1]
    assert compiled.calls == 0


def test_tests_of_one_task_share_the_work(compiled: Checkout) -> None:
    """The second test names the first; the first test has the same report when it runs again."""
    with compiled.session() as run:
        wider = held_out(*HELD_OUT, *sums(40, 1))
        first = run.outcome(compiled.task("test_first", dataset=wider)).report()
        second = run.outcome(compiled.task("test_second", dataset=wider)).report()
        again = run.outcome(compiled.task("test_first", dataset=wider)).report()
    assert (first.origin, first.usage.calls, first.shared) == ("stored", 2, "")
    assert (second.origin, second.usage, second.seconds) == ("shared", Usage(), 0.0)
    assert second.shared == "test_sums.py::test_first"
    assert second.compiled == first.compiled
    assert again == first
    assert compiled.calls == 2


@pytest.mark.parametrize(
    "values, calls",
    [({"dataset": held_out(*HELD_OUT[1:])}, 0), ({"repeat": 2}, ROWS), ({"cluster": "answer"}, 0)],
    ids=["other examples", "repeat", "cluster"],
)
def test_tests_that_are_judged_otherwise_share_the_artifact_alone(
    compiled: Checkout, values: dict[str, Any], calls: int
) -> None:
    """Other examples, repeats and clusters score again and compile nothing."""
    with compiled.session() as run:
        first = run.outcome().report()
        second = run.outcome(compiled.task("test_second", **values)).report()
    assert not second.shared
    assert second.key == first.key
    assert second.compiled != first.compiled
    assert reasons(compiled) == []
    assert compiled.calls == calls


@pytest.mark.parametrize("frozen", [False, True])
def test_another_session_on_the_task_is_waited_for(accepted: Checkout, frozen: bool) -> None:
    """A line names the other session, and this one takes the rows that it has stored."""
    neighbor = Checkout(accepted.root)
    key = neighbor.outcome().report().key
    grown = held_out(*HELD_OUT, *sums(40, 1))
    store = Store.open(accepted.store_url)
    lease = store.lease(key, "somebody").wait(on_wait=pytest.fail)

    def end_work(event: str) -> None:
        if event == "mipro: test_adder: waiting for somebody, which works on the same task":
            lease.__exit__()
            neighbor.outcome(neighbor.task(dataset=grown), frozen=frozen)

    accepted.recorder.on_event = end_work
    report = accepted.outcome(accepted.task(dataset=grown), frozen=frozen).report()
    store.close()
    assert report.reasons == ()
    assert (accepted.calls, neighbor.calls) == (0, 2)


# --- Reasons ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, pattern",
    [
        ({"metric": swapped}, r"metric changed \(test_session\.py:\d+\)$"),
        ({"program": Subtracter()}, r"code of .*Subtracter added \(.*\), modules changed$"),
        ({"dataset": Dataset(TRAIN[1:], VAL, HELD_OUT)}, "1 train row removed, 2 train rows m"),
        ({"dataset": Dataset(TRAIN, sums(9, 5), HELD_OUT)}, "1 val row added, 4 val rows moved$"),
        ({"seed": 3}, "option seed changed$"),
        ({"adapter": Plain()}, "adapter changed"),
        ({"version": "2"}, "declared version changed$"),
        ({"seed": 3, "version": "2"}, "declared version changed, option seed changed$"),
    ],
    ids=["metric", "code", "train", "val", "option", "adapter", "version", "several"],
)
def test_a_compile_says_what_changed(
    compiled: Checkout, values: dict[str, Any], pattern: str
) -> None:
    """The reason is in the line and in the report, with the place where there is one."""
    compiled.recorder.optimizer = with_demos
    report = compiled.outcome(compiled.task(**values)).report()
    assert report.origin == "compiled"
    assert reasons(compiled) == [", ".join(report.reasons)]
    assert re.match(pattern, ", ".join(report.reasons))


def test_a_model_that_changed_is_a_reason(compiled: Checkout) -> None:
    """The reason names the model."""
    compiled.recorder.optimizer = with_demos
    compiled.model = adding(base=1)
    compiled.outcome()
    assert reasons(compiled) == ["model changed"]


def test_a_part_that_the_surroundings_add_is_a_reason(compiled: Checkout) -> None:
    """The reason names the part, and a part without a JSON form is an error."""
    compiled.recorder.optimizer = with_demos
    compiled.recorder.parts = {"index": 1}
    compiled.outcome()
    compiled.recorder.parts = {"index": 2}
    compiled.outcome()
    assert reasons(compiled) == ["index added", "index changed"]
    compiled.recorder.parts = {"index": object()}
    with pytest.raises(FingerprintError, match="the part 'index' that pytest_mipro_fingerprint"):
        compiled.outcome()


def test_what_was_undone_is_no_reason(compiled: Checkout) -> None:
    """The reason compares with the most similar artifact of the test, not with the latest."""
    compiled.recorder.optimizer = with_demos
    compiled.outcome(compiled.task(metric=swapped))
    assert compiled.outcome().report().origin == "stored"
    compiled.outcome(compiled.task(seed=3))
    assert reasons(compiled)[1:] == ["option seed changed"]


def test_another_metric_asks_for_no_answer_again(compiled: Checkout) -> None:
    """The session scores the stored answers again and asks for the demos alone."""
    outcome = compiled.outcome(compiled.task(metric=swapped))
    assert outcome.report().origin == "compiled"
    assert compiled.calls == len(TRAIN)
    assert outcome.baseline.usage.calls == len(HELD_OUT)


# --- A session ------------------------------------------------------------------------------


def test_a_session_that_needs_no_store_has_none(checkout: Checkout) -> None:
    """A session opens its store with the first task."""
    with checkout.session() as run:
        assert not run.session.store_name
    assert not checkout.folder.exists()


def test_a_session_names_the_store_it_used(compiled: Checkout) -> None:
    """The report has the name of the store."""
    assert compiled.outcome().report().store == ".mipro/store.db"


def test_what_a_session_asked_is_counted(compiled: Checkout) -> None:
    """The usage counts the calls of all tasks, and shared calls once."""
    with compiled.session() as run:
        for name in ("test_first", "test_second"):
            run.outcome(compiled.task(name, dataset=held_out(*sums(40, 2))))
        assert run.session.usage.calls == compiled.calls == 4


def test_few_examples_are_advised_against_where_something_is_compiled(checkout: Checkout) -> None:
    """The session advises before a compile, and not when it takes the artifact from the store."""
    advice_counts: list[int] = []
    checkout.recorder.optimizer = with_demos
    checkout.recorder.on_event = lambda event: (
        advice_counts.append(len(checkout.recorder.advice)) if event == "optimize" else None
    )
    checkout.outcome()
    assert advice_counts == [1]
    assert checkout.recorder.advice[0].startswith("7 labelled examples (train and val) are too")
    checkout.outcome()
    assert len(checkout.recorder.advice) == 1


def test_a_constant_metric_is_advised_against_once_it_is_known(checkout: Checkout) -> None:
    """The session advises once it has the held-out scores."""
    checkout.recorder.optimizer = with_demos
    checkout.outcome(checkout.task(metric=lambda *_: 0.5))
    assert checkout.recorder.advice[1].startswith("the metric gave 0.5 to all 12 held-out answers")


def test_programs_run_with_the_tasks_model_and_adapter(checkout: Checkout) -> None:
    """The metric sees both in DSPy's settings, and the session restores them afterwards."""
    checkout.recorder.optimizer = with_demos
    adapter, seen = dspy.JSONAdapter(), []

    def watching(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> int:
        seen.append((dspy.settings.lm, dspy.settings.adapter))
        return 1

    task = checkout.task(metric=watching, adapter=adapter, version="1")
    settings = dspy.settings.lm, dspy.settings.adapter
    with pytest.raises(ProgramError):  # The scripted model speaks another format.
        checkout.outcome(task)
    checkout.outcome(checkout.task(metric=watching, version="1"))
    assert {lm.model for lm, _ in seen} == {"scripted"}
    assert (dspy.settings.lm, dspy.settings.adapter) == settings
