from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import scripted_lm
from sessions import COMPILE, HELD_OUT, ROWS, TRAIN, VAL, grown, nearly_right, sums, with_demos

from pytest_mipro.errors import DamagedReference, DeclarationError, FingerprintError
from pytest_mipro.optimize import Bound
from pytest_mipro.records import Row, Usage
from pytest_mipro.session.dry_run import PendingWork, estimate_task
from pytest_mipro.spending import Account, Limit, Price, Prices, limits_of
from pytest_mipro.task import Budget, Dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sessions import Checkout

    from pytest_mipro.optimize import Estimate
    from pytest_mipro.task import Task


def estimate(
    task: Task,
    reasons: tuple[str, ...] = (),
    rows: Sequence[Row] = (),
    prices: Mapping[str, Price | None] | None = None,
) -> Estimate:
    """Return the estimate of a task with twelve held-out rows to evaluate."""
    result = estimate_task(task, PendingWork(reasons, ROWS), rows, prices or {})
    assert result is not None
    return result


def dry_run(checkout: Checkout, task: Task | None = None, **values: Any) -> Estimate:
    """Return what a dry run estimates, which asks no model."""
    result = checkout.estimate(task, **values)
    assert result is not None
    assert checkout.calls == 0
    return result


def test_no_work_has_no_estimate(checkout: Checkout) -> None:
    """Without a compile and without rows there is nothing to ask."""
    assert estimate_task(checkout.task(), PendingWork((), 0), (), {}) is None


def test_a_row_is_a_call_per_predictor(checkout: Checkout) -> None:
    """Stored rows with more calls raise the bound, which then is a guess."""
    few = estimate(checkout.task())
    assert few.why == "score 12 held-out rows"
    assert few.bounds == (Bound("held-out", 12, 12, "scripted"),)
    assert not few.is_approximate
    rows = [Row("a", 1.0, usage=Usage(3, 30, 6)), Row("b", 1.0, usage=Usage(1, 10, 2))]
    many = estimate(checkout.task(), rows=rows)
    assert many.bounds == (Bound("held-out", 12, 36, "scripted"),)
    assert many.is_approximate
    assert (many.tokens.completion, many.tokens.rows) == (2, 2)


def test_a_compile_without_rows_has_bounds(checkout: Checkout) -> None:
    """Its phases are bounded although the store has every held-out row."""
    work = PendingWork(("metric changed", "option seed changed"), 0)
    result = estimate_task(checkout.task(), work, (), {})
    assert result is not None
    assert result.why == "compile: metric changed, option seed changed"
    assert result.bounds[0] == Bound("bootstrap", len(TRAIN), len(TRAIN), "scripted")
    assert result.bounds[-1] == Bound("held-out", 0, 0, "scripted")


def test_each_phase_names_its_model(checkout: Checkout) -> None:
    """The teacher bootstraps, the prompt model proposes, the task's model does the rest."""
    teacher, prompt = (dspy.LM(name, engine=scripted_lm()._engine_spec) for name in "tp")
    bounds = estimate(checkout.task(teacher_lm=teacher, prompt_lm=prompt), ("new",)).bounds
    assert [(bound.phase, bound.model) for bound in bounds] == [
        ("bootstrap", "t"),
        ("propose", "p"),
        ("search", "scripted"),
        ("final", "scripted"),
        ("held-out", "scripted"),
    ]


def test_an_estimate_has_prices_and_limits(checkout: Checkout) -> None:
    """The limits are those of the account that would be charged, the session's included."""
    prices = {"scripted": Price(1.0, 2.0), "other": None}
    session = Account([Limit("calls", 900, "--mipro-max-calls")])
    account = Account(limits_of(Budget(lm_calls=50, tokens=1000)), parent=session)
    with account.current():
        limited = estimate(checkout.task(), prices=prices)
    assert limited.prices == prices
    assert limited.limits == ("lm_calls=50", "tokens=1000", "--mipro-max-calls 900")
    assert estimate(checkout.task()).limits == ()


def test_an_estimate_says_which_optimizer_fits(checkout: Checkout) -> None:
    """Only a compile needs one; an optimizer that cannot compile the task says why."""
    assert estimate(checkout.task()).fits == ()
    (labeled,) = estimate(checkout.task(), ("new",)).fits
    assert (labeled.optimizer, [bound.calls for bound in labeled.bounds]) == ("labeled", [0])
    large = checkout.task(dataset=Dataset(sums(0, 20), sums(100, 40), HELD_OUT))
    good = [Row(str(index), 1.0) for index in range(10)]
    (none,) = estimate(large, ("new",), good).fits
    assert (none.optimizer, none.bounds) == ("", ())
    with_feedback = [Row("a", 0.0, feedback="too long")]
    mipro, gepa = estimate(large, ("new",), with_feedback).fits
    assert (mipro.optimizer, mipro.bounds) == ("mipro", estimate(large, ("new",)).bounds[:-1])
    assert gepa.optimizer == "gepa"


def test_options_without_a_compile_do_not_matter(checkout: Checkout) -> None:
    """Options that a compile refuses are an error only if there is one to estimate."""
    task = checkout.task(minibatch=True)
    assert estimate(task).why == "score 12 held-out rows"
    with pytest.raises(DeclarationError, match="minibatch_size=35 is larger"):
        estimate(task, ("new",))
    with pytest.raises(DeclarationError, match="minibatch_size=35 is larger"):
        checkout.estimate(task)


def test_a_dry_run_estimates_a_compile_by_phase(checkout: Checkout) -> None:
    """It gives the reason and the bounds, and it shows, advises and writes nothing."""
    result = dry_run(checkout)
    assert result.why == "compile: no artifact in the store yet"
    phases = ["bootstrap", "propose", "search", "final", "held-out"]
    assert [bound.phase for bound in result.bounds] == phases
    assert result.bounds[-1].calls == ROWS
    most_calls = sum(bound.calls or 0 for bound in result.bounds)
    assert COMPILE + ROWS <= most_calls < 3 * (COMPILE + ROWS)
    assert checkout.recorder.events == ["fingerprint"]
    assert (checkout.recorder.warnings, checkout.references) == ([], {})


def test_a_dry_run_estimates_a_refresh(compiled: Checkout) -> None:
    """The store has the baseline's rows, but none of the new program."""
    result = dry_run(compiled, refresh=True)
    assert result.why == "compile: again, as asked for (--mipro-refresh)"
    assert result.bounds[-1].rows == len(HELD_OUT)


def test_a_dry_run_has_the_reasons_of_the_compile(compiled: Checkout) -> None:
    """The run gives the same reasons."""
    compiled.recorder.optimizer = with_demos
    task = compiled.task(seed=3)
    assert dry_run(compiled, task).why == "compile: option seed changed"
    assert compiled.report(task).reasons == ("option seed changed",)


def test_a_dry_run_estimates_a_search_that_continues(checkout: Checkout) -> None:
    """A search that a budget cut continues only with a larger budget."""
    small, large = (
        checkout.task(num_trials=4, budget=Budget(lm_calls=calls)) for calls in (36, 500)
    )
    checkout.outcome(small)
    assert checkout.estimate(small) is None
    result = checkout.estimate(large)
    assert result is not None
    assert result.why.startswith("compile: the search was cut at lm_calls=36")
    assert result.limits == ("lm_calls=500",)


def test_a_dry_run_raises_the_errors_of_the_run(checkout: Checkout) -> None:
    """A part without a JSON form has no key."""
    checkout.recorder.parts = {"index": object()}
    with pytest.raises(FingerprintError, match="index"):
        checkout.estimate()


@pytest.mark.parametrize(
    "values, flags, rows",
    [
        ({}, {}, 0),
        ({"dataset": grown(2)}, {}, 4),
        ({"dataset": grown(2), "repeat": 2}, {}, ROWS + 4 + 4),
        ({"repeat": 3}, {}, 2 * ROWS),
        ({}, {"rescore": True}, ROWS),
        ({"repeat": 2}, {"rescore": True}, 2 * ROWS),
        ({}, {"frozen": True}, 0),
        ({"dataset": grown(2)}, {"frozen": True}, 4),
        ({"dataset": grown(2), "repeat": 2}, {"frozen": True}, 8),
        ({}, {"frozen": True, "rescore": True}, ROWS),
    ],
)
def test_a_dry_run_estimates_missing_rows(
    accepted: Checkout, values: dict[str, Any], flags: dict[str, bool], rows: int
) -> None:
    """The run then evaluates as many, which the store or the reference lacks."""
    task = accepted.task(**values)
    if rows:
        result = dry_run(accepted, task, **flags)
        assert result.why == f"score {rows} held-out rows"
        assert result.bounds == (Bound("held-out", rows, rows, "scripted"),)
    else:
        assert accepted.estimate(task, **flags) is None
    accepted.outcome(task, **flags)
    assert accepted.calls == rows


def test_a_dry_run_takes_tokens_and_prices_from_stored_rows(compiled: Checkout) -> None:
    """A call took 10 tokens and 2; demos add to the tokens of a prompt."""
    prices = Prices({"scripted": Price(1.0, 2.0)})
    task = compiled.task(dataset=grown(2))
    result = dry_run(compiled, task, account=Account(prices=prices))
    assert result.tokens.rows == len(HELD_OUT) + len(VAL)
    assert result.tokens.prompt > 10
    assert result.tokens.completion == pytest.approx(2)
    assert result.prices == {"scripted": Price(1.0, 2.0)}
    assert dry_run(compiled, task).prices == {"scripted": None}


def test_a_dry_run_estimates_rescoring_the_accepted_program(accepted: Checkout) -> None:
    """A new metric scores it again, unless the run replaces the reference."""
    task = accepted.task(metric=nearly_right, repeat=2)
    rows = [dry_run(accepted, task, update=update).bounds[-1].rows for update in (False, True)]
    assert rows == [3 * 2 * len(HELD_OUT), 2 * 2 * len(HELD_OUT)]


def test_a_dry_run_refuses_a_damaged_reference(accepted: Checkout) -> None:
    """An update would replace it."""
    accepted.location().program.unlink()
    with pytest.raises(DamagedReference, match="without its other half"):
        accepted.estimate()
    assert accepted.estimate(update=True) is None


def test_a_dry_run_of_a_changed_task_is_a_compile(accepted: Checkout) -> None:
    """The reference does not change that."""
    task = accepted.task(dataset=Dataset(sums(60, 3), VAL, HELD_OUT))
    assert dry_run(accepted, task).why == "compile: 3 train rows added, 3 train rows removed"
