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
    """Return a demo with ``name`` in all fields."""
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
    """Return the state that a program would save."""
    dumped: dict[str, Any] = program.dump_state()
    return dumped


def test_size_counts_all_combinations(space: Space) -> None:
    """The size is the number of combinations of options."""
    assert space.size == 2 * 3 * 2 * 2


def test_the_baseline_is_the_student(space: Space) -> None:
    """The baseline has index 0 everywhere, and its program is the student."""
    assert space.baseline == Candidate((0, 0), (0, 0))
    assert space.baseline.is_baseline
    assert state(space.program(space.baseline)) == state(space.student)


def test_a_candidate_has_its_instructions_and_demos(space: Space) -> None:
    """Each predictor has the instruction and the demos of its indexes."""
    program = space.program(Candidate((1, 2), (1, 1)))
    think, answer = program.predictors()
    assert own(program) == ("Think.", "Answer well.")
    assert [demo.question for demo in think.demos] == ["a", "b"]
    assert [demo.question for demo in answer.demos] == ["c"]
    assert list(answer.signature.fields) == ["question", "thought", "reasoning", "answer"]


def test_the_student_is_not_modified(space: Space) -> None:
    """Making a program does not change the student."""
    student_state = state(space.student)
    space.program(Candidate((1, 1), (1, 1)))
    assert state(space.student) == student_state


def test_programs_share_nothing(space: Space) -> None:
    """A change of a candidate's program does not change its next program."""
    candidate = Candidate((1, 1), (1, 1))
    program = space.program(candidate)
    program_state = state(program)
    program.predictors()[0].demos[0].question = "changed"
    program.predictors()[0].demos.clear()
    assert state(space.program(candidate)) == program_state


def test_simple_comes_first(space: Space) -> None:
    """The baseline is the simplest candidate, and fewer demos are simpler than more."""
    candidates = [
        Candidate((0, 0), (0, 0)),
        Candidate((1, 2), (0, 0)),
        Candidate((0, 0), (0, 1)),
        Candidate((0, 0), (1, 0)),
        Candidate((0, 0), (1, 1)),
    ]
    assert min(reversed(candidates), key=space.complexity) == space.baseline
    counts = [
        sum(len(predictor.demos) for predictor in space.program(candidate).predictors())
        for candidate in sorted(candidates[1:], key=space.complexity)
    ]
    assert counts == sorted(counts)


def test_no_two_candidates_are_equally_simple(space: Space) -> None:
    """The order is total, so that a tie is always broken in the same way."""
    candidates = [
        Candidate((a, b), (c, d)) for a in (0, 1) for b in (0, 1, 2) for c in (0, 1) for d in (0, 1)
    ]
    assert len({space.complexity(candidate) for candidate in candidates}) == space.size


def test_frozen_parts_stay(space: Space) -> None:
    """A frozen submodule has its own prompt in every candidate."""
    student = TwoStep()
    student.answer._compiled = True
    student.answer.predict.demos = [demo("frozen")]
    frozen = Space(student, ((own(student)[0], "Think."),), (((), (demo("a"),)),))
    program = frozen.program(Candidate((1,), (1,)))
    assert [demo.question for demo in program.answer.predict.demos] == ["frozen"]
    assert [demo.question for demo in program.think.demos] == ["a"]


def space_with(*early: dict[str, DemoSet], late: Sequence[dict[str, DemoSet]] = ()) -> Space:
    """Return the space of a student's own instructions with these demo sets."""
    student = dspy.Predict("question -> answer")
    return Space.of_demo_sets(student, (own(student),), early, late)


def names(space: Space) -> list[list[str]]:
    """Return the demos of the only predictor's sets by name."""
    return [[demo.question for demo in demo_set] for demo_set in space.demos[0]]


def test_repeated_demo_sets_are_left_out() -> None:
    """A repeated demo set has the index of the first one, so the student's own stays 0."""
    sets: list[DemoSet] = [(), (demo("a"),), (), (demo("b"), demo("a")), (demo("a"),)]
    space = space_with(*({"self": demo_set} for demo_set in sets))
    assert names(space) == [[], ["a"], ["b", "a"]]
    assert space.early == (3,)


def test_late_demo_sets_come_last() -> None:
    """Late demo sets follow the early ones; a late set that repeats an early one is left out."""
    early: list[dict[str, DemoSet]] = [{"self": ()}, {"self": (demo("a"),)}]
    late: list[dict[str, DemoSet]] = [{"self": (demo("a"),)}, {"self": (demo("b"),)}]
    space = space_with(*early, late=late)
    assert names(space) == [[], ["a"], ["b"]]
    assert space.early == (2,)
    assert space_with(*early).early == (2,)


def test_further_instructions_have_parents(space: Space) -> None:
    """A space with further instructions keeps its candidates; repeated texts stand for parents."""
    repeated = space.instructions[0][0]
    extended, indexes = space.with_instructions(
        [["New.", repeated, "New.", ""], ["Other."]], [0, 0]
    )
    new = len(space.instructions[0])
    assert indexes == [[new, 0, new, 0], [len(space.instructions[1])]]
    assert extended.instructions[0] == (*space.instructions[0], "New.")
    assert extended.inheritance == ((0, new, 0), (1, len(space.instructions[1]), 0))
    assert extended.texts(extended.baseline) == space.texts(space.baseline)
