"""The main job on the embedded model: small, but real from end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

EXAMPLE = Path(__file__).parents[2] / "examples" / "question_type"

OPTIONS = """
    auto=None,
    num_candidates=4,
    num_trials=8,
    minibatch_size=10,
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> pytest.Pytester:
    """Copy the example, with fewer questions and a shorter search."""
    test = (EXAMPLE / "test_question_type.py").read_text(encoding="utf-8")
    assert "    seed=7,\n" in test
    shutil.copy(EXAMPLE / "pytest.ini", pytester.path)
    (pytester.path / "test_question_type.py").write_text(
        test.replace("    seed=7,\n", f"    seed=7,{OPTIONS}"), encoding="utf-8"
    )
    lines = (EXAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [
        line
        for split, count in (("train", 30), ("val", 20), ("test", 30))
        for line in [each for each in lines if f'"split": "{split}"' in each][:count]
    ]
    (pytester.path / "questions.jsonl").write_text("\n".join(kept), encoding="utf-8")
    return pytester


def test_a_real_model_compiles_once_and_is_not_asked_again(folder: pytest.Pytester) -> None:
    """The compiled program beats the baseline; the second run loads no model and says the same."""
    first = folder.runpytest_subprocess("--mipro", "-v")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(
        ["test_question_type: PASS  baseline * -> compiled *compiled in *", "*compiled demos of*"]
    )
    second = folder.runpytest_subprocess("--mipro", "-v")
    second.assert_outcomes(passed=1)
    second.stdout.fnmatch_lines(["*from the store, 0 LM calls"])
    assert said(second) == said(first)


def said(result: pytest.RunResult) -> list[str]:
    """Return the verdict and the prompt of a run."""
    lines = result.stdout.lines
    start = next(index for index, line in enumerate(lines) if "beats baseline:" in line)
    return lines[start:-1]
