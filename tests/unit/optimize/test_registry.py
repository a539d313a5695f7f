"""The contract of every optimizer, named or not: what a session relies on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy
import pytest
from dspy import lm15
from retry_clock import Clock
from sessions import Checkout, adding, sums

from pytest_mipro.errors import (
    BudgetExceeded,
    DeclarationError,
    InfrastructureError,
    ReferenceFileError,
)
from pytest_mipro.optimize import OPTIMIZERS, optimizer_of
from pytest_mipro.spending import Account, Limit
from pytest_mipro.store import Store
from pytest_mipro.task import Dataset, OptimizerChoice

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.session import Outcome
    from pytest_mipro.task import Task

DATASET = Dataset(sums(0, 5), sums(10, 4), sums(30, 3))
OPTIONS: dict[str, dict[str, Any]] = {
    "random_search": {"num_candidate_programs": 2},
    "copro": {"breadth": 2, "depth": 1},
    "simba": {"max_steps": 1, "num_candidates": 2, "bsize": 4},
    "gepa": {"max_metric_calls": 16},
    "ensemble": {"size": 2, "num_candidate_programs": 1},
}
CHOICES = {
    **{name: OptimizerChoice(name, OPTIONS.get(name, {})) for name in OPTIMIZERS},
    "an instance": OptimizerChoice(dspy.BootstrapFewShot(max_labeled_demos=2)),
    "a class": OptimizerChoice(dspy.COPRO, {"breadth": 2, "depth": 1}),
}
ASKING = [name for name in CHOICES if name not in {"labeled", "knn"}]
"""The optimizers that ask a model before a question is asked."""
GUARDED = [name for name in ASKING if name != "mipro"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a folder in which the model is right for half of the sums without demos."""
    return Checkout(tmp_path, model=adding(50, 10), writer=adding(50, 10))


def options_of(name: str) -> dict[str, Any]:
    """Return the values of a task that the optimizer of that name compiles."""
    return {"optimizer": CHOICES[name], "dataset": DATASET}


class Accepted(NamedTuple):
    """A run that compiled and accepted a task, and what the baseline was before."""

    checkout: Checkout
    task: Task
    outcome: Outcome
    calls: int
    baseline: dict[str, Any]


@pytest.fixture(scope="module", params=CHOICES)
def accepted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Accepted:
    """Compile and accept a task with an optimizer."""
    checkout = Checkout(tmp_path_factory.mktemp("accepted"), adding(50, 10), adding(50, 10))
    task = checkout.task(**options_of(request.param))
    baseline = task.program.dump_state()
    with checkout.session(update=True) as run:
        outcome = run.outcome(task)
    return Accepted(checkout, task, outcome, checkout.calls, baseline)


class Repeated(NamedTuple):
    """A run that compiled the same task while calls failed, how many did, and what it took."""

    outcome: Outcome
    failures: int
    calls: int


@pytest.fixture(scope="module")
def repeated(accepted: Accepted, tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    """Compile the accepted task while each fifth call fails for a time, and responses are kept."""
    checkout = cached_checkout(tmp_path_factory.mktemp("repeated"))
    failures = fail_each_fifth(checkout.model)
    task = checkout.task(optimizer=accepted.task.optimizer, dataset=DATASET)
    with pytest.MonkeyPatch.context() as monkeypatch:  # Waits of retries take no time.
        monkeypatch.setattr("dspy.clients.execution._delay", lambda *_: 0.0)
        Clock.installed(monkeypatch)
        outcome = checkout.outcome(task)
    return Repeated(outcome, len(failures), checkout.calls)


class TestContract:
    """Every optimizer compiles once, and its program is found again and restored."""

    def test_its_calls_are_counted(self, accepted: Accepted) -> None:
        """The report has all of them, and the calls of an example are those of the program."""
        report = accepted.outcome.report()
        assert report.reasons == ("no artifact in the store yet",)
        assert report.usage.calls == accepted.calls
        runs = optimizer_of(accepted.task.optimizer).runs
        assert report.compiled.usage.calls == runs * len(DATASET.test)

    def test_the_next_run_takes_the_artifact(self, accepted: Accepted) -> None:
        """It asks nothing, and has the same programs and scores."""
        outcome = accepted.checkout.outcome(accepted.task)
        assert accepted.checkout.calls == accepted.calls
        assert outcome.report().reasons == ()
        assert outcome.compiled.scores == accepted.outcome.compiled.scores
        state = outcome.compiled.program.dump_state()
        assert state == accepted.outcome.compiled.program.dump_state()

    def test_an_accepted_program_is_loaded_by_plain_dspy(self, accepted: Accepted) -> None:
        """Its file holds the state of the documented shape; a frozen run takes it, too."""
        shape = optimizer_of(accepted.task.optimizer).shape(accepted.task).deepcopy()
        shape.load(str(accepted.checkout.location().program))
        assert shape.dump_state() == accepted.outcome.compiled.program.dump_state()
        with accepted.checkout.session(frozen=True) as run:
            scores = run.outcome(accepted.task).compiled.scores
        assert scores == accepted.outcome.compiled.scores

    def test_the_baseline_is_not_changed(self, accepted: Accepted) -> None:
        """Its instruction, demos and models are those of before."""
        assert accepted.task.program.dump_state() == accepted.baseline

    def test_another_optimizer_is_another_artifact(self, accepted: Accepted) -> None:
        """A frozen run says that the optimizer changed."""
        name = "knn" if accepted.task.optimizer.name == "labeled" else "labeled"
        task = replace(accepted.task, optimizer=CHOICES[name])
        with (
            accepted.checkout.session(frozen=True) as run,
            pytest.raises(ReferenceFileError, match="optimizer changed"),
        ):
            run.outcome(task)

    @pytest.mark.parametrize("accepted", GUARDED, indirect=True)
    def test_temporary_faults_change_nothing(self, accepted: Accepted, repeated: Repeated) -> None:
        """Each fifth call fails, and is asked again."""
        assert repeated.failures > 0
        state = repeated.outcome.compiled.program.dump_state()
        assert state == accepted.outcome.compiled.program.dump_state()
        assert repeated.outcome.compiled.scores == accepted.outcome.compiled.scores

    @pytest.mark.parametrize("accepted", GUARDED, indirect=True)
    def test_a_later_compile_pays_only_what_was_not_answered(
        self, accepted: Accepted, repeated: Repeated, tmp_path: Path
    ) -> None:
        """A key that dies is an error, however the optimizer treats it; responses are stored.

        There is neither an artifact nor a row then.
        """
        checkout = cached_checkout(tmp_path)
        checkout.model.limit = 2
        task = checkout.task(optimizer=accepted.task.optimizer, dataset=DATASET)
        with pytest.raises(InfrastructureError, match="the key was revoked"):
            checkout.outcome(task)
        with closing(Store.open(checkout.store_url)) as store:
            assert (store.artifacts.count(), store.rows.count()) == (0, 0)
        checkout.model.limit = None
        outcome = checkout.outcome(task)
        state = outcome.compiled.program.dump_state()
        assert state == accepted.outcome.compiled.program.dump_state()
        assert checkout.calls == repeated.calls


def test_another_option_is_another_artifact(checkout: Checkout) -> None:
    """The reason names the option."""
    for k, reason in ((2, "no artifact in the store yet"), (3, "optimizer k changed")):
        task = checkout.task(optimizer=OptimizerChoice("labeled", {"k": k}), dataset=DATASET)
        assert checkout.report(task).reasons == (reason,)


@pytest.mark.parametrize("name", GUARDED)
def test_a_budget_stops_it(checkout: Checkout, name: str) -> None:
    """No call is made beyond the limit, and held-out rows are left enough for."""
    with pytest.raises(BudgetExceeded):
        checkout.outcome(
            checkout.task(**options_of(name)), account=Account([Limit("calls", 8, "lm_calls")])
        )
    assert checkout.calls <= 8 - 2 * len(DATASET.test)


def cached_checkout(root: Path) -> Checkout:
    """Return a folder whose store keeps responses."""
    return Checkout(root, model=adding(50, 10), caches_responses=True)


def fail_each_fifth(model: Any) -> list[lm15.Request]:
    """Have each fifth request of ``model`` fail for a time; return those that have failed."""
    complete, requests, failed = model.complete, [], []

    def complete_or_fail(request: lm15.Request) -> lm15.Response:
        requests.append(request)
        if len(requests) % 5 == 0:
            failed.append(request)
            message = "busy"
            raise dspy.LMServerError(message)
        response: lm15.Response = complete(request)
        return response

    model.complete = complete_or_fail
    return failed


@pytest.mark.parametrize(
    "choice, message",
    [
        (OptimizerChoice("bootstrp"), "optimizer='bootstrp' is no optimizer; did you mean 'boot"),
        (OptimizerChoice("?"), "expected one of mipro, bootstrap, "),
        (OptimizerChoice("copro", {"breath": 3}), "copro has no option 'breath'; did you mean 'br"),
        (OptimizerChoice("mipro", {"auto": "light"}), "write auto=... beside optimizer='mipro'"),
        (OptimizerChoice("knn", {"n": 3}), "expected one of k, vectorizer"),
        (OptimizerChoice("knn", {"k": 0}), "expected a number of at least 1"),
        (OptimizerChoice("knn", {"vectorizer": 3}), "expected a dspy.Embedder"),
        (OptimizerChoice("ensemble", {"size": True}), "expected a number of at least 1"),
        (OptimizerChoice("ensemble", {"reduce_fn": 3}), "e.g. dspy.majority"),
        (OptimizerChoice(dspy.COPRO(), {"depth": 3}), "an instance, so its arguments belong"),
        (OptimizerChoice(dspy.Ensemble()), "use optimizer='ensemble'"),
        (OptimizerChoice(dspy.BootstrapFinetune), "changes a model's weights"),
    ],
)
def test_a_wrong_choice_is_refused(choice: OptimizerChoice, message: str) -> None:
    """The error names the value and the next step."""
    with pytest.raises(DeclarationError) as error:
        optimizer_of(choice)
    assert message in str(error.value)
