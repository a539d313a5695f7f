from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import ScriptedEngine
from sessions import (
    COMPILE,
    HELD_OUT,
    NAMES,
    ROWS,
    SUFFIXES,
    Checkout,
    grown,
    held_out,
    right,
    sums,
    with_demos,
)

from pytest_mipro.errors import (
    BudgetExceeded,
    FingerprintError,
    InfrastructureError,
    ProgramError,
)
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit
from pytest_mipro.store import Store
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from pathlib import Path

    from sessions import FirstRun


def calls(count: int) -> Account:
    """Return the account of a session that may make ``count`` calls."""
    return Account([Limit("calls", count, "--mipro-max-calls")])


def test_a_task_is_compiled_before_it_is_scored(first_run: FirstRun) -> None:
    """The report counts every call, of which the last are those for the held-out examples."""
    checkout, report = first_run.checkout, first_run.outcome.report()
    assert checkout.recorder.events == [
        "fingerprint",
        "mipro: test_adder: compiling: no artifact in the store yet",
        "bootstrap",
        "propose",
        "search",
        "evaluate",
    ]
    assert (report.origin, report.reasons) == ("compiled", ("no artifact in the store yet",))
    calls = checkout.calls
    assert report.usage == Usage(calls, 10 * calls, 2 * calls)
    assert report.baseline.usage.calls == report.compiled.usage.calls == len(HELD_OUT)
    is_held_out, is_written = (
        [any(example.question in text for example in HELD_OUT) for text in model.questions]
        for model in (checkout.model, checkout.writer)
    )
    assert is_held_out == [False] * (len(is_held_out) - ROWS) + [True] * ROWS
    assert not any(is_written)


def test_a_reference_is_written_after_all_other_work(checkout: Checkout) -> None:
    """The files appear after the last event of the run."""
    references = []
    checkout.recorder.optimizer = with_demos
    checkout.recorder.on_event = lambda _: references.append(checkout.references)
    checkout.outcome(update=True)
    assert references
    assert not any(references)
    assert len(checkout.references) == len(SUFFIXES)


def test_a_stored_task_asks_nothing(compiled: Checkout, first_run: FirstRun) -> None:
    """The outcome is that of the first run, without a call or a line."""
    report, first = compiled.report(), first_run.outcome.report()
    assert (compiled.calls, compiled.recorder.events) == (0, ["fingerprint"])
    assert (report.origin, report.reasons, report.usage) == ("stored", (), Usage())
    assert (report.baseline, report.compiled) == (first.baseline, first.compiled)
    assert report.prompts_after == first.prompts_after
    assert report.held_out == tuple(
        example.from_dict({**example.to_dict(), "accepted": None}) for example in first.held_out
    )


def test_programs_run_with_the_tasks_model_and_adapter(checkout: Checkout) -> None:
    """The metric gets both in DSPy's settings, and the session restores them afterwards."""
    checkout.recorder.optimizer = with_demos
    models = []

    def watching(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> int:
        models.append(dspy.settings.lm.model)
        return 1

    task = checkout.task(metric=watching, adapter=dspy.JSONAdapter(), version="1")
    settings = dspy.settings.lm, dspy.settings.adapter
    with pytest.raises(ProgramError):  # The scripted model speaks another format.
        checkout.outcome(task)
    checkout.outcome(checkout.task(metric=watching, version="1"))
    assert set(models) == {"scripted"}
    assert (dspy.settings.lm, dspy.settings.adapter) == settings


def test_a_constant_metric_is_advised_against_after_a_compile(checkout: Checkout) -> None:
    """The advice needs the held-out scores."""
    checkout.recorder.optimizer = with_demos
    checkout.outcome(checkout.task(metric=lambda *_: 0.5))
    advice = checkout.recorder.warnings
    assert advice[1].startswith("the metric gave 0.5 to all 12 held-out answers")


def test_tests_of_one_task_share_the_work(compiled: Checkout) -> None:
    """The second test names the first; the first test has the same report when it runs again."""
    with compiled.session() as run:
        first, second, again = (
            run.report(name, dataset=grown(1))
            for name in ("test_first", "test_second", "test_first")
        )
        assert run.session.usage.calls == compiled.calls == 2
    assert (first.origin, first.usage.calls, first.shared) == ("stored", 2, "")
    assert (second.origin, second.usage, second.seconds) == ("shared", Usage(), 0.0)
    assert second.shared == "test_sums.py::test_first"
    assert second.compiled == first.compiled
    assert again == first


@pytest.mark.parametrize(
    "values, calls",
    [({"dataset": held_out(*HELD_OUT[1:])}, 0), ({"repeat": 2}, ROWS), ({"cluster": "answer"}, 0)],
    ids=["other examples", "repeat", "cluster"],
)
def test_tests_that_are_scored_otherwise_share_the_artifact_alone(
    compiled: Checkout, values: dict[str, Any], calls: int
) -> None:
    """Other examples, repeats and clusters score again and compile nothing."""
    with compiled.session() as run:
        first, second = run.report(), run.report("test_second", **values)
    assert not second.shared
    assert second.key == first.key
    assert second.compiled != first.compiled
    assert (compiled.recorder.reasons, compiled.calls) == ([], calls)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_session_waits_for_another_one_on_its_task(accepted: Checkout, frozen: bool) -> None:
    """A line names the other session, and this one takes the rows that it has stored."""
    neighbor = Checkout(accepted.root)
    key = neighbor.report().key
    store = Store.open(accepted.store_url)
    lock = store.compile_lock(key, "a neighbor").wait(on_wait=pytest.fail)

    def end_work(event: str) -> None:
        if event == "mipro: test_adder: waiting for a neighbor, which works on the same task":
            lock.__exit__()
            neighbor.outcome(neighbor.task(dataset=grown(1)), frozen=frozen)

    accepted.recorder.on_event = end_work
    report = accepted.report(accepted.task(dataset=grown(1)), frozen=frozen)
    store.close()
    assert report.reasons == ()
    assert (accepted.calls, neighbor.calls) == (0, 2)


def test_a_session_opens_its_store_with_the_first_task(compiled: Checkout, tmp_path: Path) -> None:
    """The report has the name of the store."""
    empty = Checkout(tmp_path / "empty")
    with empty.session() as run:
        assert not run.session.store_name
    assert not empty.folder.exists()
    assert compiled.report().store == ".mipro/store.db"


@pytest.mark.parametrize("tolerant", [True, False])
def test_an_outcome_has_the_tolerance_of_its_session(accepted: Checkout, tolerant: bool) -> None:
    """The session passes on the warning of a verdict that it tolerates."""
    scores = dict.fromkeys(NAMES, 1.0) | {NAMES[0]: 0.0}
    accepted.edit_reference(compiled=scores)
    verdict = accepted.outcome(tolerant=tolerant).no_regression()
    assert (verdict.word, bool(verdict)) == ("INCONCLUSIVE", tolerant)
    warning = f"test_adder: no regression: {verdict!r}"
    assert accepted.recorder.warnings.count(warning) == tolerant


@pytest.mark.parametrize(
    "role, limit, resumed",
    [("model", 1, 1), ("writer", 1, 1), ("model", 8, 9), ("model", 20, 0)],
    ids=["bootstrap", "propose", "search", "held-out"],
)
def test_the_next_run_continues_after_an_outage(
    checkout: Checkout, role: str, limit: int, resumed: int
) -> None:
    """No phase stores a failure as a row, and the next run pays for missing rows alone."""
    model = getattr(checkout, role)
    model.limit = limit
    with pytest.raises(InfrastructureError, match="the key was revoked") as caught:
        checkout.outcome()
    store = Store.open(checkout.store_url)
    count = store.rows.count()
    store.close()
    assert caught.value.stored == count
    assert f"which holds {count} rows, and the same command goes on" in str(caught.value)
    model.limit = None
    outcome = checkout.outcome()
    assert checkout.calls == COMPILE + ROWS
    assert outcome.report().resumed >= resumed
    assert outcome.baseline.card.failures == outcome.compiled.card.failures == ()
    assert outcome.beats_baseline()


@pytest.mark.parametrize("flag", ["refresh", "rescore"])
def test_the_next_run_starts_over_after_an_outage_of_a_rerun(compiled: Checkout, flag: str) -> None:
    """The store keeps no answer of such a run, and the error says so."""
    compiled.model.limit = 2
    with pytest.raises(InfrastructureError, match="asking again starts over with the next run"):
        compiled.outcome(None, **{flag: True})
    compiled.model.limit = None
    assert compiled.report().origin == "stored"


def test_content_that_cannot_be_hashed_needs_a_version(checkout: Checkout) -> None:
    """A metric with an object in its closure compiles with ``version``."""
    client = object()

    def asking(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
        return client is not None and right(example, prediction)

    with pytest.raises(FingerprintError, match=r"cannot be hashed.*version="):
        checkout.outcome(checkout.task(metric=asking))
    assert checkout.outcome(checkout.task(metric=asking, version="1")).beats_baseline()


def test_a_budget_that_is_too_small_is_an_error(checkout: Checkout) -> None:
    """The session asks no model, stores no artifact and writes no reference."""
    with pytest.raises(BudgetExceeded, match="lm_calls=11 is not enough") as caught:
        checkout.outcome(checkout.task(budget=Budget(lm_calls=11)), update=True)
    assert "this is no score; no model was called" in str(caught.value)
    assert (checkout.calls, checkout.references) == (0, {})
    estimate = checkout.estimate()
    assert estimate is not None
    assert estimate.why == "compile: no artifact in the store yet"


def test_the_tasks_of_a_session_share_its_limit(compiled: Checkout) -> None:
    """The second task can spend only the rest, and the error names the flag."""
    with compiled.session(account=calls(5)) as run:
        run.report("test_first", dataset=held_out(*sums(40, 2)))
        with pytest.raises(BudgetExceeded, match=r"--mipro-max-calls 5 is spent.*held-out 1 LM c"):
            run.report("test_second", dataset=held_out(*sums(50, 2)))
        assert run.session.usage.calls == compiled.calls == 5


def test_an_exceeded_limit_counts_calls_in_flight(compiled: Checkout) -> None:
    """The error counts the calls that were running when the limit was reached."""
    compiled.model.drift_to(ScriptedEngine(base=0, per_demo=100, latency=0.02))
    task = compiled.task(threads=4, dataset=held_out(*sums(40, 4)))
    with pytest.raises(BudgetExceeded) as caught:
        compiled.outcome(task, account=calls(2))
    assert 2 <= compiled.calls <= 2 + 4
    assert f"this run has spent held-out {compiled.calls} LM calls" in str(caught.value)
