from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sessions import Adder, result_of, scorecard, scored, with_demos

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import Usage
from pytest_mipro.session.results import ReferenceProgram

if TYPE_CHECKING:
    from sessions import Checkout


@pytest.mark.parametrize(
    "values, origin",
    [
        ({}, "stored"),
        ({"reasons": ("new",)}, "compiled"),
        ({"accepted": True}, "accepted"),
        ({"shared": "test_other", "accepted": True}, "shared"),
    ],
)
def test_the_origin_of_a_program(checkout: Checkout, values: dict[str, Any], origin: str) -> None:
    """A result that comes from another test is shared, whatever that test took it from."""
    task = checkout.task()
    result = result_of(task, with_demos(task), scorecard([0.0]), scorecard([1.0]))
    assert replace(result, **values).origin == origin


def test_a_scored_program_has_the_values_of_its_card() -> None:
    """The score is the mean, and the representation fits into a failing assert."""
    program = scored(Adder(), scorecard([0.5, 1.0]))
    assert (program.score, program.scores, program.usage) == (0.75, (0.5, 1.0), Usage(2))
    assert repr(program) == "<ScoredProgram: score 0.750 on 2 held-out examples>"


def test_an_accepted_program_is_loaded_once_and_on_demand() -> None:
    """Its scores and its usage need no program."""
    programs: list[Adder] = []

    def load() -> Adder:
        programs.append(Adder())
        return programs[-1]

    reference = ReferenceProgram(scorecard([1.0, 0.0]), load)
    assert reference.comparable_card is reference.card
    assert (reference.scores, reference.score, reference.usage) == ((1, 0), 0.5, Usage(2))
    assert programs == []
    assert [reference.program, reference.program] == programs * 2
    assert len(programs) == 1


@pytest.mark.parametrize("name", ["card", "score", "scores", "usage", "program"])
def test_a_program_that_does_not_fit_has_no_scores_of_another_metric(name: str) -> None:
    """Every attribute raises the error of the load, but for ``comparable_card``."""
    error = ReferenceFileError("it does not fit the code any more")

    def load() -> Adder:
        raise error

    reference = ReferenceProgram(None, load, error=error)
    assert reference.comparable_card is None
    with pytest.raises(ReferenceFileError, match="does not fit"):
        getattr(reference, name)
