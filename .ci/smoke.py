"""A task as a user writes it, on a model without a network; ``release.py`` runs it with pytest."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import dspy
import pytest
from dspy import lm15

import pytest_mipro
from pytest_mipro import Outcome, mipro_optimize

ROWS = [
    dspy.Example(question=f"Is {number} even?", answer="yes" if number % 2 == 0 else "no")
    for number in range(40)
]
EXAMPLES = [row.with_inputs("question") for row in ROWS]


class Engine:
    """Answers rightly once it has seen a demo."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        question = request.messages[-1].text or ""
        has_demo = len(request.messages) > 1
        is_even = any(f"{digit} even" in question for digit in "02468")
        answer = "yes" if is_even or not has_demo else "no"
        text = f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"
        return lm15.Response(
            id="smoke",
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )

    def dump_state(self) -> dict[str, str]:
        """Return what decides the answers."""
        return {"smoke": "1"}


@pytest.fixture(scope="session")
def mipro_lm() -> dspy.LM:
    return dspy.LM("smoke", engine=Engine(), cache=False)


def right(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
    return bool(example.answer == prediction.answer)


@mipro_optimize(
    program=lambda: dspy.Predict("question -> answer"),
    metric=right,
    dataset={"train": EXAMPLES[:10], "val": EXAMPLES[10:20], "test": EXAMPLES[20:]},
    optimizer="labeled",
)
def test_a_task_is_compiled_and_judged(mipro: Outcome) -> None:
    assert mipro.beats_baseline()


def test_the_version_is_that_of_the_metadata() -> None:
    assert pytest_mipro.__version__ == version("pytest-mipro")
