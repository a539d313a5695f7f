from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest

from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.optimize.mipro.space import DemoSet


class TwoStep(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.Predict("question -> thought")
        self.answer = dspy.ChainOfThought("question, thought -> answer")
        self.think.demos = [demo("own")]


def demo(name: str) -> dspy.Example:
    """Return a demo that can be told from others."""
    return dspy.Example(question=name, thought=name, answer=name)


def own(program: dspy.Module) -> tuple[str, ...]:
    """Return the instructions of a program's predictors."""
    return tuple(predictor.signature.instructions for predictor in program.predictors())


@pytest.fixture
def space() -> Space:
    """Return a space of two predictors."""
    student = TwoStep()
    first, second = own(student)
    return Space(
        student,
        instructions=((first, "Think."), (second, "Answer.", "Answer well.")),
        demos=(((demo("own"),), (demo("a"), demo("b"))), ((), (demo("c"),))),
    )


def state(program: dspy.Module) -> dict[str, Any]:
    """Return what a program would save."""
    dumped: dict[str, Any] = program.dump_state()
    return dumped


def test_size_counts_all_combinations(space: Space) -> None:
    """The size is the number of ways to choose."""
    assert space.size == 2 * 3 * 2 * 2


def test_the_baseline_is_the_student(space: Space) -> None:
    """Candidate 0 of every predictor is the student's own prompt."""
    assert space.baseline == Candidate((0, 0), (0, 0))
    assert space.baseline.is_baseline
    assert state(space.program(space.baseline)) == state(space.student)


def test_a_candidate_has_its_instructions_and_demos(space: Space) -> None:
    """Each predictor gets the instruction and the demos its indices name."""
    program = space.program(Candidate((1, 2), (1, 1)))
    think, answer = program.predictors()
    assert own(program) == ("Think.", "Answer well.")
    assert [each.question for each in think.demos] == ["a", "b"]
    assert [each.question for each in answer.demos] == ["c"]
    assert list(answer.signature.fields) == ["question", "thought", "reasoning", "answer"]


def test_the_student_is_not_modified(space: Space) -> None:
    """Building candidates leaves the student as it was."""
    before = state(space.student)
    space.program(Candidate((1, 1), (1, 1)))
    assert state(space.student) == before


def test_programs_share_nothing(space: Space) -> None:
    """What is done to one candidate's program is not seen in the next."""
    candidate = Candidate((1, 1), (1, 1))
    one = space.program(candidate)
    before = state(one)
    one.predictors()[0].demos[0].question = "changed"
    one.predictors()[0].demos.clear()
    assert state(space.program(candidate)) == before


def test_simple_comes_first(space: Space) -> None:
    """The baseline is simpler than all others, and fewer demos are simpler than more."""
    candidates = [
        Candidate((0, 0), (0, 0)),
        Candidate((1, 2), (0, 0)),
        Candidate((0, 0), (0, 1)),
        Candidate((0, 0), (1, 0)),
        Candidate((0, 0), (1, 1)),
    ]
    assert min(reversed(candidates), key=space.complexity) == space.baseline
    counts = [
        sum(len(predictor.demos) for predictor in space.program(each).predictors())
        for each in sorted(candidates[1:], key=space.complexity)
    ]
    assert counts == sorted(counts)


def test_no_two_candidates_are_equally_simple(space: Space) -> None:
    """The order is total, so that a tie is always broken the same way."""
    candidates = [
        Candidate((a, b), (c, d)) for a in (0, 1) for b in (0, 1, 2) for c in (0, 1) for d in (0, 1)
    ]
    assert len({space.complexity(each) for each in candidates}) == space.size


def test_frozen_parts_stay(space: Space) -> None:
    """A submodule that was compiled and frozen keeps its prompt in every candidate."""
    student = TwoStep()
    student.answer._compiled = True
    student.answer.predict.demos = [demo("frozen")]
    frozen = Space(student, ((own(student)[0], "Think."),), (((), (demo("a"),)),))
    program = frozen.program(Candidate((1,), (1,)))
    assert [each.question for each in program.answer.predict.demos] == ["frozen"]
    assert [each.question for each in program.think.demos] == ["a"]


def made_of(*early: dict[str, DemoSet], late: Sequence[dict[str, DemoSet]] = ()) -> Space:
    """Return the space of a student's own instructions with some demo sets."""
    student = dspy.Predict("question -> answer")
    return Space.made_of(student, (own(student),), early, late)


def names(space: Space) -> list[list[str]]:
    """Return the demos of the only predictor's sets by name."""
    return [[each.question for each in demos] for demos in space.demos[0]]


def test_each_demo_set_once() -> None:
    """A set is a choice once, in its first place: the student's own stays number 0."""
    sets: list[DemoSet] = [(), (demo("a"),), (), (demo("b"), demo("a")), (demo("a"),)]
    space = made_of(*({"self": each} for each in sets))
    assert names(space) == [[], ["a"], ["b", "a"]]
    assert space.early == (3,)


def test_late_demo_sets_come_last() -> None:
    """A search begins with the early sets; a late one that is like an early one is none."""
    early: list[dict[str, DemoSet]] = [{"self": ()}, {"self": (demo("a"),)}]
    late: list[dict[str, DemoSet]] = [{"self": (demo("a"),)}, {"self": (demo("b"),)}]
    space = made_of(*early, late=late)
    assert names(space) == [[], ["a"], ["b"]]
    assert space.early == (2,)
    assert made_of(*early).early == (2,)
