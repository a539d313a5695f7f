from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sessions import HELD_OUT, Adder, result_of, scorecard

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import Failure, FailureReason
from pytest_mipro.session.accepted_failures import check_failures

if TYPE_CHECKING:
    import dspy
    from sessions import Checkout

pytestmark = pytest.mark.uses("dspy")


class Searching(Adder):
    """Adds with the help of a service that fails for some questions while a file exists."""

    def __init__(self, outage: str) -> None:
        super().__init__()
        self.outage = outage

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question."""
        if Path(self.outage).exists() and question.startswith(
            ("What is 10", "What is 20", "What is 21")
        ):
            message = "search service: connection refused"
            raise ConnectionError(message)
        return super().forward(question)


def failure(error_type: str, reason: FailureReason) -> Failure:
    """Return the failure of an answer."""
    return Failure(error_type, "a message", "a traceback", reason)


def warnings_about(checkout: Checkout, *failures: Failure) -> list[str]:
    """Return the warnings about a result whose compiled answers have failures."""
    task = checkout.task()
    compiled = replace(scorecard([1.0] * 6), failures=failures)
    warnings: list[str] = []
    check_failures(task, result_of(task, Adder(), scorecard([1.0] * 6), compiled), warnings.append)
    return warnings


def test_a_result_without_failures_is_accepted(checkout: Checkout) -> None:
    """There is no warning."""
    assert warnings_about(checkout) == []


def test_answers_that_failed_are_accepted_with_a_warning(checkout: Checkout) -> None:
    """It has their number, their ways and the first error."""
    (warning,) = warnings_about(
        checkout, failure("AdapterParseError", "token limit"), failure("KeyError", "")
    )
    assert warning == (
        "test_adder: accepted with failed answers: 2 of 6 compiled answers failed and score 0: 1 "
        "cut at the token limit (raise max_tokens), 1 KeyError; for example AdapterParseError: "
        "a message"
    )


@pytest.mark.parametrize("reason", ["connection", "warning"])
def test_answers_that_may_be_there_tomorrow_are_not_accepted(
    checkout: Checkout, reason: FailureReason
) -> None:
    """The error names how many failed, how, and the first of these errors."""
    with pytest.raises(ReferenceFileError, match="2 of 6 compiled answers failed") as caught:
        warnings_about(checkout, failure("KeyError", ""), failure("ConnectError", reason))
    assert "for example ConnectError: a message; run the same command again" in str(caught.value)


def test_an_outage_in_a_program_is_over_when_it_is(checkout: Checkout, tmp_path: Path) -> None:
    """Its rows are counted in the verdict, never accepted, and asked for again afterwards."""
    outage = tmp_path / "outage"
    task = checkout.task(program=Searching(str(outage)))
    outage.touch()
    report = checkout.report(task)
    assert len(report.compiled.failures) == 2
    assert {failed.reason for failed in report.compiled.failures} == {"connection"}
    with pytest.raises(ReferenceFileError, match="search service: connection refused"):
        checkout.report(task, update=True)

    outage.unlink()
    calls = checkout.calls
    report = checkout.report(task)
    assert report.compiled.failures == ()
    assert report.origin == "stored"
    assert checkout.calls - calls == report.usage.calls == 4
    assert len(report.compiled.scores) == len(HELD_OUT)
    assert checkout.report(task).usage.calls == 0
    assert checkout.report(task, update=True).acceptance is not None
