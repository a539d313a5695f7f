from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sessions import (
    COMMAND,
    HELD_OUT,
    SUFFIXES,
    TRAIN,
    VAL,
    Renamed,
    held_out,
    nearly_right,
    right,
    sums,
    unchanged,
    with_demos,
)

from pytest_mipro.errors import DamagedReference, MetricError, ReferenceFileError
from pytest_mipro.records import Usage
from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.task import Task

STALE = "is out of date: 1 train row removed, 2 train rows moved"


def shorter(checkout: Checkout) -> Task:
    """Return the task with one training example less."""
    return checkout.task(dataset=Dataset(TRAIN[1:], VAL, HELD_OUT))


def edit(checkout: Checkout, **values: Any) -> None:
    """Replace values in the file with the scores; None removes one."""
    path = checkout.location().scores
    data = {**json.loads(path.read_text(encoding="utf-8")), **values}
    data = {name: value for name, value in data.items() if value is not None}
    path.write_text(json.dumps(data), encoding="utf-8")


def test_a_reference_has_the_accepted_scores_and_program(
    accepted: Checkout, compiled: Checkout
) -> None:
    """Reading it asks no model, and a run without an update accepts nothing."""
    outcome = accepted.outcome()
    reference, program = outcome.reference, outcome.compiled
    assert reference is not None
    assert (reference.scores, reference.usage) == (program.scores, program.usage)
    assert reference.program.add.demos == program.program.add.demos
    assert accepted.calls == 0
    assert compiled.outcome().reference is None
    assert compiled.references == {}


def test_a_stale_reference_is_reported(accepted: Checkout) -> None:
    """The report has the changes and the command, and the task is judged."""
    accepted.recorder.optimizer = with_demos
    report = accepted.report(shorter(accepted))
    assert STALE in report.stale
    assert report.stale.endswith(f"accept anew with: {COMMAND}")
    assert not accepted.report().stale


def test_a_damaged_reference_is_an_error_before_any_work(accepted: Checkout) -> None:
    """The session reads the reference before it compiles."""
    accepted.store.unlink()
    accepted.location().scores.write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(DamagedReference, match="conflict markers"):
        accepted.outcome()
    assert (accepted.calls, accepted.recorder.lines) == (0, [])


@pytest.mark.parametrize("has_store", [True, False])
def test_another_metric_scores_the_accepted_program_again(
    accepted: Checkout, has_store: bool
) -> None:
    """It scores stored answers, and the report counts the calls for those that are missing."""
    accepted.recorder.optimizer = unchanged
    if not has_store:
        accepted.store.unlink()
    outcome = accepted.outcome(accepted.task(metric=nearly_right))
    line = "mipro: test_adder: the metric changed: scoring the accepted program again"
    assert accepted.recorder.lines[-1] == line
    assert outcome.reference is not None
    assert outcome.reference.rescored_metrics
    assert outcome.reference.scores == (1.0,) * len(HELD_OUT)
    assert outcome.no_regression().sentence.startswith(
        "this is the 2nd look at these 6 examples; the metric changed since"
    )
    calls = 0 if has_store else len(HELD_OUT) + len(HELD_OUT)
    assert outcome.report().usage.calls == accepted.calls == calls


def test_a_program_that_does_not_fit_is_an_error_of_no_regression(accepted: Checkout) -> None:
    """Other verdicts and the report do without it."""
    accepted.recorder.optimizer = with_demos
    outcome = accepted.outcome(accepted.task(metric=nearly_right, program=Renamed()))
    assert outcome.beats_baseline()
    report = outcome.report()
    assert (report.accepted, report.prompts_accepted) == (None, ())
    with pytest.raises(ReferenceFileError, match=r"does not fit .*: add, sum; "):
        outcome.no_regression()


def test_a_report_shows_the_prompts_of_a_program_that_does_not_fit(accepted: Checkout) -> None:
    """Compared with none, each line of the present prompts would be a new one."""
    accepted.recorder.optimizer = with_demos
    report = accepted.outcome(accepted.task(program=Renamed())).report()
    assert [prompt.predictor for prompt in report.prompts_after] == ["sum"]
    assert report.accepted is not None
    assert [prompt.predictor for prompt in report.prompts_accepted] == ["add"]


@pytest.mark.parametrize("frozen", [True, False])
def test_a_reference_has_costs(accepted: Checkout, frozen: bool) -> None:
    """The accepted prompt costs as much as itself; without costs the verdict says what to do."""
    assert accepted.outcome(frozen=frozen).costs_no_more(than="reference", ratio=1)
    data = json.loads(accepted.location().scores.read_text(encoding="utf-8"))
    assert list(data["tokens"]["compiled"].values()) == [12.0] * 6
    edit(accepted, tokens=None, usd=None)
    outcome = accepted.outcome(frozen=frozen)
    assert outcome.no_regression()
    verdict = outcome.costs_no_more(than="reference")
    assert verdict.word == "INCONCLUSIVE"
    assert verdict.sentence == (
        "the costs of the reference's answers are unknown; "
        f"accept anew with: {COMMAND} --mipro-rescore"
    )
    assert accepted.calls == 0


def test_an_update_writes_three_files(compiled: Checkout) -> None:
    """The acceptance names all."""
    outcome = compiled.outcome(update=True)
    assert list(compiled.references) == [f"test_adder{suffix}" for suffix in SUFFIXES]
    acceptance = outcome.report().acceptance
    assert acceptance is not None
    assert acceptance.change == "first"
    assert acceptance.files == (
        "__mipro__/test_sums/test_adder.json",
        "__mipro__/test_sums/test_adder.program.json",
        "__mipro__/test_sums/test_adder.history.json",
    )
    assert outcome.no_regression().sentence.startswith("the reference was accepted now; not")


def test_an_update_with_another_result_replaces_the_reference(accepted: Checkout) -> None:
    """The acceptance has both means, and the next run compares with the new scores."""
    accepted.recorder.optimizer = unchanged
    task = shorter(accepted)
    acceptance = accepted.acceptance(task)
    assert acceptance.change == "changed"
    assert (acceptance.changed, acceptance.added, acceptance.removed) == (6, 0, 0)
    assert acceptance.previous is not None
    assert (acceptance.previous.compiled, acceptance.current.compiled) == (1.0, 0.0)
    accepted.acceptance(task, new_anchor=True)
    assert accepted.outcome(task).no_regression()


def test_an_update_replaces_a_damaged_reference_alone(accepted: Checkout) -> None:
    """The files of an equal result stay; a reference without its program is damaged."""
    files = accepted.references
    assert accepted.acceptance().change == "unchanged"
    assert accepted.references == files
    accepted.location().program.unlink()
    assert accepted.acceptance().change == "replaced"
    assert len(accepted.references) == len(SUFFIXES)
    assert accepted.outcome().no_regression()


@pytest.mark.parametrize(
    "values, metric, error, message, most_calls",
    [
        ({"format": "x"}, right, ReferenceFileError, "is not a reference of pytest-mipro", 0),
        ({"version": 9}, right, ReferenceFileError, "newer", 0),
        # The calls under way come to their end.
        ({}, lambda *_: None, MetricError, "returned None", 4),
    ],
    ids=["foreign", "newer", "no score"],
)
def test_an_update_that_fails_keeps_the_files(
    accepted: Checkout,
    values: dict[str, Any],
    metric: Any,
    error: type[Exception],
    message: str,
    most_calls: int,
) -> None:
    """An error before the first call, or soon after it, leaves the accepted files as they were."""
    edit(accepted, **values)
    files = accepted.references
    with pytest.raises(error, match=message):
        accepted.outcome(accepted.task(metric=metric), update=True)
    assert accepted.references == files
    assert accepted.calls <= most_calls


def test_a_file_in_place_of_the_folder_is_an_error(compiled: Checkout) -> None:
    """The error names the path, and the file stays."""
    (compiled.root / "__mipro__").touch()
    with pytest.raises(ReferenceFileError, match=r"__mipro__/test_sums/.* cannot be read"):
        compiled.outcome(update=True)
    assert (compiled.root / "__mipro__").is_file()


def test_each_test_of_a_task_has_its_own_reference(compiled: Checkout) -> None:
    """Two tests share the scores and write two references; a frozen run needs both."""
    names = ("test_first", "test_second")
    with compiled.session(update=True) as run:
        for name in names:
            run.report(name)
    assert list(compiled.references) == [f"{name}{end}" for name in names for end in SUFFIXES]
    with compiled.session(frozen=True) as run:
        run.report("test_first")
        with pytest.raises(ReferenceFileError, match=r"test_other\.json is missing"):
            run.report("test_other")
    assert compiled.calls == 0


def test_a_frozen_run_needs_the_reference_alone(accepted: Checkout) -> None:
    """It makes no store, asks no model and judges the accepted scores."""
    accepted.store.unlink()
    outcome = accepted.outcome(frozen=True)
    report = outcome.report()
    assert (report.origin, report.usage, report.store) == ("accepted", Usage(), "")
    assert (accepted.calls, accepted.recorder.events) == (0, ["fingerprint"])
    assert not accepted.store.exists()
    assert outcome.beats_baseline()
    assert outcome.no_regression().sentence.startswith("nothing changed")
    assert outcome.compiled.program.add.demos


def test_a_frozen_run_needs_a_reference_that_it_can_use(
    compiled: Checkout, accepted: Checkout
) -> None:
    """It does not take the artifact from the store; the error has a reason and the command."""
    errors = []
    for checkout, task in ((compiled, None), (accepted, shorter(accepted))):
        with pytest.raises(ReferenceFileError) as caught:
            checkout.outcome(task, frozen=True)
        errors.append(str(caught.value))
        assert checkout.calls == 0
    assert errors[0] == (
        "nothing is compiled (--mipro-frozen), and no reference is accepted, "
        f"__mipro__/test_sums/test_adder.json is missing; accept one with: {COMMAND}"
    )
    assert STALE in errors[1]
    assert errors[1].endswith(f"accept anew with: {COMMAND}")
    edit(accepted, baseline={})
    with pytest.raises(DamagedReference, match="same examples under baseline and compiled"):
        accepted.outcome(frozen=True)


def test_a_frozen_run_evaluates_new_examples_once(accepted: Checkout) -> None:
    """Both programs answer them, and a second run asks nothing."""
    accepted.store.unlink()
    task = accepted.task(dataset=held_out(*sums(40, 1), *HELD_OUT))
    outcome = accepted.outcome(task, frozen=True)
    assert accepted.recorder.lines == ["mipro: test_adder: scoring 1 held-out examples"]
    assert accepted.calls == outcome.report().usage.calls == 2
    assert outcome.compiled.scores == (1.0,) * (1 + len(HELD_OUT))
    assert outcome.no_regression().sentence.startswith(
        "this is the 2nd look at these 7 examples; compared on 6 of 7 held-out examples"
    )
    accepted.outcome(task, frozen=True)
    assert accepted.calls == 2


def test_a_frozen_run_scores_another_split(accepted: Checkout) -> None:
    """Without a common example there is nothing to compare."""
    task = accepted.task(dataset=held_out(*sums(40, 5)))
    outcome = accepted.outcome(task, frozen=True)
    assert outcome.compiled.usage.calls == 5
    with pytest.raises(ReferenceFileError, match="none of the 5 held-out examples is in"):
        outcome.no_regression()


def toned(checkout: Checkout, metric: Any = nearly_right) -> Task:
    """Return the task with a further metric."""
    return checkout.task(metric_name="exact", further_metrics={"tone": metric})


def always(example: Any, prediction: Any, trace: object = None) -> float:
    """Score everything the same."""
    return 0.5


@pytest.mark.parametrize("frozen", [True, False])
def test_a_further_metric_that_was_not_accepted_scores_the_accepted_program(
    accepted: Checkout, frozen: bool
) -> None:
    """Nothing is asked, as the store has the answers; the optimized metric keeps its scores."""
    outcome = accepted.outcome(toned(accepted), frozen=frozen)
    reference = outcome.reference
    assert reference is not None
    assert reference.further["tone"].scores == (1.0,) * len(HELD_OUT)
    assert (reference.rescored_metrics, accepted.calls) == (("tone",), 0)
    assert outcome.no_regression(metric="tone").sentence.startswith("the metric changed since")
    assert not outcome.no_regression().sentence.startswith("the metric changed since")
    assert outcome.compiled.score_of("tone") == 1


def test_an_update_accepts_further_metrics(accepted: Checkout) -> None:
    """A new metric and another one of the same name change the reference, not the program."""
    program = accepted.references["test_adder.program.json"]
    for metric, change in ((nearly_right, "changed"), (nearly_right, "unchanged")):
        assert accepted.acceptance(toned(accepted, metric)).change == change
    outcome = accepted.outcome(toned(accepted), frozen=True)
    assert outcome.no_regression(metric="all")
    assert outcome.reference is not None
    assert outcome.reference.rescored_metrics == ()
    assert accepted.acceptance(toned(accepted, always)).change == "changed"
    reference = accepted.outcome(toned(accepted, always)).reference
    assert reference is not None
    assert set(reference.further["tone"].scores) == {0.5}
    assert accepted.references["test_adder.program.json"] == program
    assert accepted.calls == 0


def test_a_new_further_metric_of_a_program_that_does_not_fit(accepted: Checkout) -> None:
    """The optimized metric has its accepted scores; the other one has none."""
    accepted.recorder.optimizer = with_demos
    task = replace(toned(accepted), program=Renamed())
    outcome = accepted.outcome(task)
    assert outcome.no_regression()
    with pytest.raises(ReferenceFileError, match=r"does not fit .*: add, sum; "):
        outcome.no_regression(metric="tone")
    assert outcome.report().further[0].accepted is None
