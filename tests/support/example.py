"""A small copy of the example on the embedded model."""

from __future__ import annotations

import shutil
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "question_type"

# Describing the program takes the model as long as half of all rows; the example itself does it.
OPTIONS = """
    auto=None,
    num_candidates=2,
    num_trials=3,
    minibatch_size=4,
    program_aware_proposer=False,
"""


def write_example(folder: Path) -> None:
    """Copy the example to ``folder``, with fewer questions and a shorter search."""
    test = (EXAMPLE / "test_question_type.py").read_text(encoding="utf-8")
    assert "    seed=7,\n" in test
    shutil.copy(EXAMPLE / "pytest.ini", folder)
    (folder / "test_question_type.py").write_text(
        test.replace("    seed=7,\n", f"    seed=7,{OPTIONS}"), encoding="utf-8"
    )
    lines = (EXAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    selection = [
        line
        for split, count in (("train", 16), ("val", 8), ("test", 14))
        for line in [line for line in lines if f'"split": "{split}"' in line][:count]
    ]
    (folder / "questions.jsonl").write_text("\n".join(selection), encoding="utf-8")
