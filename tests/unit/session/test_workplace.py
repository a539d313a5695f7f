"""Where tasks are compiled and scored: the folder, the store, kept responses, models."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import ScriptedEngine
from sessions import (
    HELD_OUT,
    ROWS,
    TRAIN,
    Adder,
    Checkout,
    adding,
    held_out,
    nearly_right,
    sums,
    with_demos,
)

from pytest_mipro.errors import DeclarationError, InfrastructureError, ModelError, StoreError
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit, Price, Prices
from pytest_mipro.store import Store
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sessions import FirstRun

    from pytest_mipro.records import Artifact
    from pytest_mipro.task import Task


def stored(checkout: Checkout) -> Artifact:
    """Return the only artifact in a checkout's store."""
    store = Store.open(checkout.store_url)
    (artifact,) = store.artifacts.recent(checkout.task().test)
    store.close()
    return artifact


def alter(statement: str) -> Callable[[Path], object]:
    """Return what changes a store behind its back."""

    def change(store: Path) -> None:
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(statement)
            connection.commit()

    return change


def overwrite(file: Path) -> None:
    """Write something else to a file."""
    file.write_text("something else", encoding="utf-8")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (
        lambda store: store.write_bytes(store.read_bytes()[:5000]),
        "database disk image is malformed; .* move it aside",
    ),
    "no database": (overwrite, "file is not a database; .* move it aside"),
    "edited": (
        alter("UPDATE rows SET value = replace(value, '1.0', '0.0')"),
        "rows/.* is not what was written, in the store .*; .* move it aside",
    ),
    "newer": (
        alter("UPDATE about SET version = 99"),
        "has format 99, .*; use another store",
    ),
    "foreign": (
        alter("UPDATE about SET application = 'another'"),
        "is a database of something else; use another one",
    ),
}


# --- Artifacts -------------------------------------------------------------------------------


class TestArtifacts:
    def test_it_says_how_it_came_about(self, first_run: FirstRun) -> None:
        """The stored artifact has its key, its parts, its usage and its search."""
        artifact, report = stored(first_run.checkout), first_run.outcome.report()
        assert (artifact.key, artifact.task) == (report.key, report.test)
        assert artifact.usage.calls == first_run.checkout.calls - ROWS
        assert artifact.search is not None
        assert artifact.search == report.search
        assert artifact.cut is None
        assert artifact.parts.keys() >= {"metric", "model", "option seed", "instruction of add"}
        assert artifact.where["metric"].startswith("sessions.py:")

    def test_its_program_has_demos_and_no_model(self, first_run: FirstRun) -> None:
        """The store has the state as JSON, and DSPy loads it."""
        with closing(sqlite3.connect(first_run.checkout.folder / "store.db")) as store:
            query = "SELECT json_extract(value, '$.state') FROM artifacts"
            ((text,),) = store.execute(query)
        state = json.loads(text)
        assert state == stored(first_run.checkout).state
        assert state["add"]["lm"] is None
        program = Adder()
        program.load_state(state)
        demo = dict(program.add.demos[0])
        assert demo in [dict(example) for example in TRAIN]

    def test_the_baseline_is_not_touched(self, first_run: FirstRun) -> None:
        """The baseline keeps its instruction and has no demos."""
        outcome = first_run.outcome
        assert outcome.baseline.program is outcome.task.program
        assert outcome.task.program.add.demos == []
        assert outcome.compiled.program.add.demos

    def test_a_compile_goes_on_from_what_is_stored(self, checkout: Checkout) -> None:
        """The report counts the results it went on from."""
        checkout.model.limit = 8
        with pytest.raises(InfrastructureError):
            checkout.outcome()
        checkout.model.limit = None
        assert checkout.outcome().report().resumed > 8


class TestAnotherOptimizer:
    def test_its_program_is_stored_and_judged(self, checkout: Checkout) -> None:
        """The artifact has the usage of the optimizer and no search log."""

        def optimize(task: Task) -> dspy.Module:
            task.program(question="What is 1 + 1?")
            return with_demos(task)

        checkout.recorder.optimizer = optimize
        outcome = checkout.outcome()
        artifact = stored(checkout)
        assert artifact.usage == Usage(1, 10, 2)
        assert (artifact.search, artifact.cut) == (None, None)
        assert outcome.beats_baseline()
        assert outcome.report().usage.calls == checkout.calls == 1 + ROWS
        assert checkout.outcome().report().origin == "stored"

    def test_what_is_no_program_is_an_error(self, checkout: Checkout) -> None:
        """The message names the hook and what it returned, and nothing is stored."""
        checkout.recorder.optimizer = lambda _: 3
        with pytest.raises(DeclarationError, match="pytest_mipro_optimize returned 3, expected"):
            checkout.outcome()
        checkout.recorder.optimizer = with_demos
        assert checkout.outcome().report().reasons == ("no artifact in the store yet",)


# --- The folder and the store ----------------------------------------------------------------


class TestFolder:
    def test_it_keeps_out_of_version_control_and_backups(self, compiled: Checkout) -> None:
        """The folder holds a ``.gitignore`` and a ``CACHEDIR.TAG``."""
        assert (compiled.folder / ".gitignore").read_text() == "*\n"
        assert (compiled.folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d2")

    def test_what_the_user_put_there_stays(self, compiled: Checkout) -> None:
        """The session does not overwrite a ``.gitignore`` of the user."""
        (compiled.folder / ".gitignore").write_text("lm\n")
        compiled.outcome()
        assert (compiled.folder / ".gitignore").read_text() == "lm\n"

    def test_a_file_in_its_place_is_an_error(self, checkout: Checkout) -> None:
        """The error comes before the first call."""
        checkout.folder.touch()
        with pytest.raises(StoreError, match=r"\.mipro, .* cannot be written: .*; move the file"):
            checkout.outcome()
        assert checkout.calls == 0

    @pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
    def test_a_store_that_cannot_be_used_is_an_error(
        self, compiled: Checkout, damage: Callable[[Path], object], message: str
    ) -> None:
        """The session asks nothing and leaves the file alone."""
        store = compiled.folder / "store.db"
        damage(store)
        content = store.read_bytes()
        with pytest.raises(StoreError, match=message):
            compiled.outcome()
        assert compiled.calls == 0
        assert store.read_bytes() == content

    def test_a_store_that_cannot_be_opened_is_an_error(self, checkout: Checkout) -> None:
        """The error comes before the first call."""
        with pytest.raises(StoreError, match="store URL 'nonsense'"):
            checkout.outcome(store_url="nonsense")
        assert checkout.calls == 0


# --- Responses -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_responses(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout where DSPy has kept the responses of a run whose store is gone."""
    made = keeping_responses(Checkout(tmp_path_factory.mktemp("responses")))
    made.outcome()
    (made.folder / "store.db").unlink()
    return made


@pytest.fixture
def keeping(with_responses: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of that checkout."""
    return keeping_responses(with_responses.copied_to(tmp_path / "keeping", ".mipro"))


def keeping_responses(checkout: Checkout) -> Checkout:
    """Return ``checkout`` where DSPy keeps responses, and nothing but programs is asked."""
    checkout.keeps_responses = True
    checkout.recorder.optimizer = with_demos
    return checkout


class TestResponses:
    def test_they_answer_where_the_store_does_not(self, keeping: Checkout) -> None:
        """DSPy's cache answers, and the usage is nothing."""
        outcome = keeping.outcome()
        assert keeping.calls == 0
        assert outcome.compiled.usage == Usage()
        assert outcome.beats_baseline()

    def test_they_do_not_answer_who_asks_again(self, keeping: Checkout) -> None:
        """A rescore bypasses DSPy's cache."""
        keeping.outcome(rescore=True)
        assert keeping.calls == ROWS

    def test_damaged_ones_are_an_error(self, keeping: Checkout) -> None:
        """The error names the folder, and a run without the folder succeeds."""
        for file in (keeping.folder / "lm").rglob("cache.db"):
            overwrite(file)
        with pytest.raises(InfrastructureError, match=r"LM responses kept in .* move it aside"):
            keeping.outcome()
        assert keeping.calls == 0
        (keeping.folder / "lm").rename(keeping.root / "aside")
        keeping.outcome()
        assert keeping.calls == ROWS

    def test_nothing_is_kept_for_two_models_of_one_name(self, checkout: Checkout) -> None:
        """DSPy's cache cannot tell the two models apart, so the session switches it off."""
        checkout.recorder.optimizer = with_demos
        checkout.outcome()
        assert not (checkout.folder / "lm").exists()


# --- Models ----------------------------------------------------------------------------------


class TestModels:
    def test_each_has_its_part(self, checkout: Checkout) -> None:
        """The teacher model bootstraps, the prompt model proposes, the task model answers."""
        teacher = adding(base=100)
        teacher_lm = dspy.LM("scripted", engine=teacher, cache=False)
        checkout.outcome(checkout.task(teacher_lm=teacher_lm))
        assert teacher.calls == len(TRAIN)
        assert sum("proposed_instruction" in text for text in checkout.writer.questions) == 2
        questions = "\n".join(checkout.model.questions)
        assert HELD_OUT[0].question in questions
        assert not any(example.question in questions for example in TRAIN)

    def test_a_teacher_may_be_a_program(self, checkout: Checkout) -> None:
        """The teacher program answers the training examples with its own model."""
        taught, teacher = adding(base=100), Adder()
        teacher.add.lm = dspy.LM("own", engine=taught, cache=False)
        checkout.outcome(checkout.task(teacher=teacher))
        assert taught.calls == len(TRAIN)

    def test_a_limit_of_cost_needs_the_price_of_each(self, checkout: Checkout) -> None:
        """The error names the model, also that of a predictor, and comes before the first call."""
        checkout.recorder.optimizer = with_demos
        task = checkout.task(budget=Budget(cost_usd=1.0))
        message = "the price of 'scripted' is unknown, .*`mipro_price = scripted: "
        with pytest.raises(ModelError, match=rf"cost_usd=1: {message}"):
            checkout.outcome(task)
        of_session = Account([Limit("usd", 5, "--mipro-max-cost")])
        with pytest.raises(ModelError, match=rf"--mipro-max-cost 5: {message}"):
            checkout.outcome(account=of_session)
        prices = Prices({"scripted": Price(1000.0, 1000.0)})
        own = adding()
        task.program.add.lm = dspy.LM("own", engine=own, cache=False)
        with pytest.raises(ModelError, match="the price of 'own' is unknown"):
            checkout.outcome(task, account=Account(prices=prices))
        assert (checkout.calls, own.calls) == (0, 0)
        priced = checkout.task(budget=Budget(cost_usd=1.0))
        outcome = checkout.outcome(priced, account=Account(prices=prices))
        assert outcome.report().usage.cost == pytest.approx(12 * 0.012)

    def test_a_predictor_keeps_a_model_of_its_own(self, checkout: Checkout) -> None:
        """The model of the predictor answers for both programs."""
        own = adding()
        checkout.recorder.optimizer = with_demos
        task = checkout.task()
        task.program.add.lm = dspy.LM("own", engine=own, cache=False)
        outcome = checkout.outcome(task)
        assert outcome.compiled.program.add.lm is task.program.add.lm
        assert own.calls == ROWS
        assert checkout.calls == 0


# --- Repeats ---------------------------------------------------------------------------------


class TestRepeats:
    def test_progress_counts_every_row(self, compiled: Checkout) -> None:
        """The total includes the rows that the store has."""
        compiled.outcome(compiled.task(repeat=2))
        progress = compiled.recorder.latest
        assert progress is not None
        assert (progress.phase, progress.done, progress.total) == ("evaluate", 2 * ROWS, 2 * ROWS)
        assert progress.usage.calls == ROWS

    def test_a_score_is_a_mean_and_only_new_rollouts_are_asked(self, compiled: Checkout) -> None:
        """The stored answers are the first rollout, and later runs ask nothing."""
        compiled.model.drift_to(ScriptedEngine(base=0, per_demo=0))
        outcome = compiled.outcome(compiled.task(repeat=2))
        assert outcome.compiled.scores == (0.5,) * len(HELD_OUT)
        assert outcome.compiled.card.rollouts == outcome.comparison.rollouts == 2
        assert [len(answer.predictions) for answer in outcome.compiled.answers] == [2] * 6
        assert compiled.calls == ROWS
        assert outcome.report().reasons == ()
        for repeat, score in ((1, 1.0), (2, 0.5)):
            assert compiled.outcome(compiled.task(repeat=repeat)).compiled.score == score
        assert compiled.calls == ROWS

    def test_what_is_accepted_are_means(self, compiled: Checkout) -> None:
        """A later run compares the same means, frozen or not."""
        compiled.model.drift_to(ScriptedEngine(base=0, per_demo=0))
        task = compiled.task(repeat=2)
        compiled.outcome(task, update=True)
        for frozen in (False, True):
            outcome = compiled.outcome(task, frozen=frozen)
            assert outcome.no_regression().sentence.startswith("nothing changed")
            assert set(outcome.compiled.scores) == {0.5}
        assert compiled.calls == ROWS


class TestUsage:
    def test_another_metric_has_the_usage_of_the_answers(self, compiled: Checkout) -> None:
        """A scorecard has the usage of answers that were scored again."""
        compiled.recorder.optimizer = with_demos
        report = compiled.outcome(compiled.task(metric=nearly_right)).report()
        assert report.baseline.usage == Usage(6, 60, 12)
        assert report.baseline.known_costs.keys() == set(report.baseline.examples)

    def test_new_examples_are_charged_alone(self, compiled: Checkout) -> None:
        """The scorecard has the usage of all answers, and the report that of this run."""
        task = compiled.task(dataset=held_out(*HELD_OUT, *sums(40, 2)))
        report = compiled.outcome(task).report()
        assert report.compiled.usage.calls == len(HELD_OUT) + 2
        assert report.usage.calls == 4
