"""The main job on the embedded model: small, but real from end to end."""

from __future__ import annotations

import pytest
from example import write_example

pytest.importorskip("xllamacpp")


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Copy the example, with fewer questions and a shorter search."""
    monkeypatch.setenv("COLUMNS", "200")
    write_example(pytester.path)
    return pytester


def test_a_real_model_compiles_once_and_is_not_asked_again(folder: pytest.Pytester) -> None:
    """The compiled program beats the baseline; the second run loads no model and says the same."""
    first = folder.runpytest_subprocess("--mipro", "-v")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(
        ["test_question_type *  PASS * compiled in *", "*compiled demos of*"]
    )
    second = folder.runpytest_subprocess("--mipro", "-v")
    second.assert_outcomes(passed=1)
    second.stdout.fnmatch_lines(["test_question_type *  0    $0  from the store"])
    assert verdict_lines(second) == verdict_lines(first)


def verdict_lines(result: pytest.RunResult) -> list[str]:
    """Return the verdict and the prompt of a run."""
    lines = result.stdout.lines
    start = next(index for index, line in enumerate(lines) if "beats baseline:" in line)
    return [line for line in lines[start:-1] if not line.startswith("  compiled because")]
