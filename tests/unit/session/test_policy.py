"""What the flags make of a session: update, frozen, refresh, rescore."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dspy import lm15
from scripted import ScriptedEngine
from sessions import (
    COMMAND,
    COMPILE,
    HELD_OUT,
    ROWS,
    TRAIN,
    VAL,
    Renamed,
    held_out,
    nearly_right,
    sums,
    with_demos,
)

from pytest_mipro.errors import DamagedReference, MetricError, ProgramError, ReferenceFileError
from pytest_mipro.records import Usage
from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from sessions import Checkout, FirstRun

WORSE = ScriptedEngine(base=0, per_demo=0)
STALE = "is out of date: 1 train row removed, 2 train rows moved"


class Wordy(ScriptedEngine):
    """Answers as before, and takes more tokens for it."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer with another usage."""
        usage = lm15.Usage(input_tokens=20, output_tokens=4, total_tokens=24)
        return replace(super().complete(request), usage=usage)


class Garbled(ScriptedEngine):
    """Answers what no adapter can read."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer with one word."""
        return replace(super().complete(request), message=lm15.Message.assistant("nothing"))


def shorter(checkout: Checkout) -> Any:
    """Return the task with a training example less."""
    return checkout.task(dataset=Dataset(TRAIN[1:], VAL, HELD_OUT))


def forget(checkout: Checkout) -> None:
    """Delete the store, as on a machine that has only what is committed."""
    (checkout.folder / "store.db").unlink()


def edit(checkout: Checkout, **values: Any) -> None:
    """Change the file with the scores by hand."""
    path = checkout.place().scores
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **values}), encoding="utf-8")


class TestNone:
    def test_nothing_is_accepted(self, compiled: Checkout) -> None:
        """A run without the flag writes no reference."""
        assert compiled.outcome().reference is None
        assert compiled.references == {}

    def test_a_reference_is_read(self, accepted: Checkout) -> None:
        """The outcome has the accepted scores and the accepted program."""
        outcome = accepted.outcome()
        assert outcome.reference is not None
        assert outcome.reference.scores == outcome.compiled.scores
        assert outcome.reference.usage == outcome.compiled.usage
        assert outcome.reference.program.add.demos == outcome.compiled.program.add.demos
        assert accepted.calls == 0

    def test_a_reference_that_is_out_of_date_is_told(self, accepted: Checkout) -> None:
        """The report has the changes and the command, and the task is judged."""
        accepted.recorder.optimizer = with_demos
        report = accepted.outcome(shorter(accepted)).report()
        assert STALE in report.stale
        assert report.stale.endswith(f"accept anew with: {COMMAND}")
        assert not accepted.outcome().report().stale

    def test_a_damaged_reference_is_an_error_before_anything_is_paid_for(
        self, accepted: Checkout
    ) -> None:
        """The session reads the reference before it compiles."""
        forget(accepted)
        accepted.place().scores.write_text("<<<<<<< HEAD\n", encoding="utf-8")
        with pytest.raises(DamagedReference, match="conflict markers"):
            accepted.outcome()
        assert accepted.calls == 0
        assert accepted.recorder.lines == []

    def test_another_metric_scores_the_accepted_program_again(self, accepted: Checkout) -> None:
        """The session scores the stored answers of the accepted program with the new metric."""
        accepted.recorder.optimizer = lambda task: task.program.deepcopy()
        outcome = accepted.outcome(accepted.task(metric=nearly_right))
        line = "mipro: test_adder: the metric changed: scoring the accepted program again"
        assert accepted.recorder.lines[-1] == line
        assert outcome.reference is not None
        assert outcome.reference.rescored
        assert outcome.reference.scores == (1.0,) * len(HELD_OUT)
        assert outcome.no_regression().sentence.startswith("the metric changed since")
        assert accepted.calls == 0

    def test_an_accepted_program_that_is_scored_again_may_cost(self, accepted: Checkout) -> None:
        """The report includes the calls of an accepted program whose rows are not stored."""
        forget(accepted)
        accepted.recorder.optimizer = lambda task: task.program.deepcopy()
        report = accepted.outcome(accepted.task(metric=nearly_right)).report()
        assert report.usage.calls == accepted.calls == len(HELD_OUT) + len(HELD_OUT)

    def test_an_accepted_program_that_does_not_fit_is_told_to_who_asks(
        self, accepted: Checkout
    ) -> None:
        """``beats_baseline`` passes all the same, and ``no_regression`` raises the error."""
        accepted.recorder.optimizer = with_demos
        task = accepted.task(metric=nearly_right, program=Renamed())
        outcome = accepted.outcome(task)
        assert outcome.beats_baseline()
        assert outcome.report().accepted is None
        assert outcome.report().prompts_accepted == ()
        with pytest.raises(ReferenceFileError, match=r"does not fit .*: add, sum; "):
            outcome.no_regression()


class TestUpdate:
    def test_two_files_are_written(self, first_run: FirstRun) -> None:
        """The acceptance names both files."""
        checkout, outcome = first_run
        assert list(checkout.references) == ["test_adder.json", "test_adder.program.json"]
        acceptance = outcome.report().acceptance
        assert acceptance is not None
        assert acceptance.what == "first"
        assert acceptance.files == (
            "__mipro__/test_sums/test_adder.json",
            "__mipro__/test_sums/test_adder.program.json",
        )
        assert outcome.no_regression().sentence.startswith("the reference was accepted now; not")

    def test_the_same_outcome_changes_nothing(self, accepted: Checkout) -> None:
        """A second acceptance of the same scores leaves the files alone."""
        files = accepted.references
        acceptance = accepted.outcome(update=True).report().acceptance
        assert acceptance is not None
        assert acceptance.what == "unchanged"
        assert accepted.references == files

    def test_another_outcome_replaces_the_reference(self, accepted: Checkout) -> None:
        """The acceptance has both means, and the next run compares with the new scores."""
        accepted.recorder.optimizer = lambda task: task.program.deepcopy()
        task = shorter(accepted)
        acceptance = accepted.outcome(task, update=True).report().acceptance
        assert acceptance is not None
        assert acceptance.what == "changed"
        assert (acceptance.changed, acceptance.added, acceptance.removed) == (6, 0, 0)
        assert acceptance.before is not None
        assert (acceptance.before.compiled, acceptance.after.compiled) == (1.0, 0.0)
        assert accepted.outcome(task).no_regression()

    def test_a_damaged_reference_is_replaced(self, accepted: Checkout) -> None:
        """An update replaces a reference that has lost its program."""
        accepted.place().program.unlink()
        acceptance = accepted.outcome(update=True).report().acceptance
        assert acceptance is not None
        assert acceptance.what == "replaced"
        assert len(accepted.references) == 2
        assert accepted.outcome().no_regression()

    @pytest.mark.parametrize(
        "values, message",
        [
            ({"format": "of others"}, "is not a reference of pytest-mipro"),
            ({"version": 9}, "newer"),
        ],
    )
    def test_files_of_others_are_not_replaced(
        self, accepted: Checkout, values: dict[str, Any], message: str
    ) -> None:
        """The error comes before the first call, and the files stay."""
        edit(accepted, **values)
        files = accepted.references
        with pytest.raises(ReferenceFileError, match=message):
            accepted.outcome(update=True)
        assert accepted.references == files
        assert accepted.calls == 0

    def test_a_file_in_the_way_is_an_error(self, compiled: Checkout) -> None:
        """The error names the path, and the file stays."""
        (compiled.root / "__mipro__").touch()
        with pytest.raises(ReferenceFileError, match=r"__mipro__/test_sums/.* cannot be read"):
            compiled.outcome(update=True)
        assert (compiled.root / "__mipro__").is_file()

    def test_an_error_accepts_nothing(self, accepted: Checkout) -> None:
        """A run that fails leaves the earlier reference alone."""
        files = accepted.references
        with pytest.raises(MetricError):
            accepted.outcome(accepted.task(metric=lambda *_: None), update=True)
        assert accepted.references == files

    def test_each_test_of_a_task_has_a_reference_of_its_own(self, compiled: Checkout) -> None:
        """Two tests of one task share the scores and write two references."""
        with compiled.session(update=True) as run:
            for name in ("test_first", "test_second"):
                run.outcome(compiled.task(name))
        names = ("test_first", "test_second")
        assert list(compiled.references) == [
            f"{name}{suffix}" for name in names for suffix in (".json", ".program.json")
        ]
        assert compiled.calls == 0


class TestFrozen:
    def test_a_reference_is_all_it_takes(self, accepted: Checkout) -> None:
        """A frozen run makes no store, asks no model and judges the accepted scores."""
        forget(accepted)
        outcome = accepted.outcome(frozen=True)
        report = outcome.report()
        assert (report.origin, report.usage, report.store) == ("accepted", Usage(), "")
        assert accepted.calls == 0
        assert accepted.recorder.events == ["fingerprint"]
        assert not (accepted.folder / "store.db").exists()
        assert outcome.beats_baseline()
        assert outcome.no_regression().sentence.startswith("nothing changed")
        assert outcome.compiled.program.add.demos

    def test_a_missing_reference_names_the_command(self, compiled: Checkout) -> None:
        """A frozen run does not take the artifact from the store instead."""
        with pytest.raises(ReferenceFileError) as caught:
            compiled.outcome(frozen=True)
        assert str(caught.value) == (
            "nothing is compiled (--mipro-frozen), and no reference is accepted, "
            "__mipro__/test_sums/test_adder.json is missing; "
            f"accept one with: {COMMAND}"
        )
        assert compiled.calls == 0

    def test_a_stale_reference_says_why_and_names_the_command(self, accepted: Checkout) -> None:
        """The error lists the changes and ends with the command."""
        with pytest.raises(ReferenceFileError) as caught:
            accepted.outcome(shorter(accepted), frozen=True)
        assert STALE in str(caught.value)
        assert str(caught.value).endswith(f"accept anew with: {COMMAND}")
        assert accepted.calls == 0

    def test_a_damaged_reference_is_an_error(self, accepted: Checkout) -> None:
        """A frozen run has no other source of scores."""
        edit(accepted, baseline={})
        with pytest.raises(DamagedReference, match="same examples under baseline and compiled"):
            accepted.outcome(frozen=True)

    def test_new_examples_alone_are_scored_and_once(self, accepted: Checkout) -> None:
        """Both programs answer what the reference lacks, and a second run asks nothing."""
        forget(accepted)
        task = accepted.task(dataset=held_out(*sums(40, 1), *HELD_OUT))
        outcome = accepted.outcome(task, frozen=True)
        line = "mipro: test_adder: scoring 1 held-out examples"
        assert accepted.recorder.lines == [line]
        assert accepted.calls == outcome.report().usage.calls == 2
        assert outcome.compiled.scores == (1.0,) * (1 + len(HELD_OUT))
        assert outcome.no_regression().sentence.startswith("compared on 6 of 7 held-out examples")
        accepted.outcome(task, frozen=True)
        assert accepted.calls == 2

    def test_references_of_two_tests_are_not_mixed_up(self, accepted: Checkout) -> None:
        """Two tests of one task need a reference each."""
        with accepted.session(frozen=True) as run:
            run.outcome()
            with pytest.raises(ReferenceFileError, match=r"test_other\.json is missing"):
                run.outcome(accepted.task("test_other"))

    def test_a_task_on_other_examples_is_scored(self, accepted: Checkout) -> None:
        """The session scores a split that shares no example with the reference."""
        task = accepted.task(dataset=held_out(*sums(40, 5)))
        outcome = accepted.outcome(task, frozen=True)
        assert outcome.compiled.usage.calls == 5
        with pytest.raises(ReferenceFileError, match="none of the 5 held-out examples is in"):
            outcome.no_regression()


class TestRefresh:
    def test_what_is_stored_is_compiled_again(self, compiled: Checkout) -> None:
        """The new artifact replaces the stored one."""
        compiled.recorder.optimizer = with_demos
        report = compiled.outcome(refresh=True).report()
        assert report.reasons == ("again, as asked for (--mipro-refresh)",)
        assert compiled.recorder.events[-1] == "evaluate"
        assert compiled.outcome().report().prompts_after == report.prompts_after

    def test_the_models_are_asked_again(self, compiled: Checkout) -> None:
        """The search asks for every row again, and the held-out rows come from the store."""
        compiled.outcome(refresh=True)
        assert compiled.calls == COMPILE

    def test_tests_of_a_run_compile_again_once(self, compiled: Checkout) -> None:
        """A second test of the run takes the new artifact, also in another process."""
        compiled.recorder.optimizer = with_demos
        with compiled.session(refresh=True) as run, compiled.session(refresh=True) as worker:
            assert run.outcome().report().origin == "compiled"
            assert run.outcome(compiled.task("test_other")).report().origin == "shared"
            assert worker.outcome(compiled.task("test_third")).report().origin == "stored"
        assert compiled.recorder.events.count("optimize") == 1


class TestRescore:
    def test_the_held_out_examples_are_asked_again(self, compiled: Checkout) -> None:
        """The session asks for each held-out row again and compiles nothing."""
        outcome = compiled.outcome(rescore=True)
        assert compiled.calls == ROWS
        assert compiled.recorder.events == ["fingerprint", "evaluate"]
        report = outcome.report()
        assert (report.origin, report.usage.calls) == ("stored", ROWS)
        assert report.baseline.usage.calls == len(HELD_OUT)

    def test_the_usage_is_that_of_the_new_answers(self, compiled: Checkout) -> None:
        """The store keeps the usage of the first answers."""
        compiled.model.drift_to(Wordy(base=0, per_demo=100))
        assert compiled.outcome(rescore=True).compiled.usage == Usage(6, 120, 24)
        assert compiled.outcome().compiled.usage == Usage(6, 60, 12)

    def test_a_model_that_drifted_is_found_out(self, accepted: Checkout) -> None:
        """The session judges the new answers by the accepted scores and does not store them."""
        accepted.model.drift_to(WORSE)
        for frozen in (False, True):
            outcome = accepted.outcome(rescore=True, frozen=frozen)
            assert outcome.compiled.score == 0
            assert outcome.no_regression().word == "FAIL"
        assert accepted.outcome().compiled.score == 1
        assert accepted.calls == 2 * ROWS

    def test_a_model_that_answers_nothing_is_no_score(self, accepted: Checkout) -> None:
        """A program that fails on every example is an error; failures on new ones score 0."""
        accepted.model.drift_to(Garbled())
        with pytest.raises(ProgramError, match="baseline program failed on 6 of 6 held-out"):
            accepted.outcome(rescore=True, frozen=True)
        task = accepted.task(dataset=held_out(*HELD_OUT, *sums(40, 2)))
        outcome = accepted.outcome(task, frozen=True)
        assert outcome.compiled.scores == (1, 1, 1, 1, 1, 1, 0, 0)
        assert len(outcome.compiled.card.failures) == 2

    def test_what_one_run_has_asked_again_is_not_the_next_ones(self, compiled: Checkout) -> None:
        """Two tests of a run share the new answers, and the next run asks again."""
        for run_number in (1, 2):
            with compiled.session(rescore=True) as run:
                run.outcome()
                assert run.outcome(compiled.task("test_other")).report().origin == "shared"
            assert compiled.calls == run_number * ROWS

    def test_processes_of_one_run_share_what_was_asked_again(self, compiled: Checkout) -> None:
        """Two processes share the new answers through the folder of the run."""
        shared = compiled.root / "of this run"
        shared.mkdir()
        for _ in range(2):
            compiled.outcome(rescore=True, shared=shared)
        assert compiled.calls == ROWS

    def test_accepting_what_was_asked_again_takes_its_scores(self, accepted: Checkout) -> None:
        """An update writes the new scores to the reference."""
        accepted.model.drift_to(WORSE)
        acceptance = accepted.outcome(rescore=True, update=True).report().acceptance
        assert acceptance is not None
        assert (acceptance.what, acceptance.changed) == ("changed", len(HELD_OUT))
