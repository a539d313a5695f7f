from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from compiles import (
    VAL,
    Compiled,
    TwoStep,
    average_lm,
    compiled,
    dumped,
    exact,
    small_optimizer,
)
from scripted import scripted_lm

if TYPE_CHECKING:
    from pathlib import Path


def test_names_and_shapes(one_step: Compiled) -> None:
    """The result has DSPy's statistics under DSPy's names."""
    result = one_step.program
    assert isinstance(result.score, float)
    assert result.candidate_programs
    for entries, full in (
        (result.candidate_programs, True),
        (result.mb_candidate_programs, False),
    ):
        scores = [entry["score"] for entry in entries]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 100 for score in scores)
        assert all(entry["full_eval"] is full for entry in entries)
        assert all(isinstance(entry["program"], dspy.Predict) for entry in entries)
    for log in result.trial_logs.values():
        kind = "full_eval" if "full_eval_score" in log else "mb"
        assert 0 <= log[f"{kind}_score"] <= 100
        assert isinstance(log[f"{kind}_program"], dspy.Module)
        assert {"0_predictor_instruction", "0_predictor_demos"} <= set(log)
    assert all(isinstance(number, int) for number in result.trial_logs)


@pytest.mark.parametrize("name", ["total_calls", "prompt_model_total_calls"])
def test_call_counters(one_step: Compiled, name: str) -> None:
    """DSPy's call counters exist and, unlike DSPy's, count the calls."""
    assert getattr(one_step.program, name) > 0


def test_the_score_is_the_winners_on_the_validation_set(one_step: Compiled) -> None:
    """The score is the percentage of the validation set that the result answers correctly."""
    result = one_step.program
    evaluate = dspy.Evaluate(devset=VAL, metric=exact, display_progress=False, num_threads=1)
    with dspy.context(lm=average_lm()):
        assert evaluate(result).score == result.score


def test_the_winner_is_among_the_fully_measured(one_step: Compiled) -> None:
    """The result is one of the candidates measured in full, and none of them is better."""
    result = one_step.program
    entries = {dumped(entry["program"]): entry["score"] for entry in result.candidate_programs}
    assert entries[dumped(result)] == result.score == max(entries.values())


def test_track_stats_can_be_turned_off() -> None:
    """Without track_stats, only the score is attached."""
    result = compiled(small_optimizer(scripted_lm(), track_stats=False))
    for name in ("trial_logs", "candidate_programs", "mb_candidate_programs"):
        assert not hasattr(result, name)
    assert result.score >= 0


def test_log_dir_has_the_programs(tmp_path: Path) -> None:
    """The folder has the programs measured in full, which load into a student."""
    result = compiled(
        small_optimizer(scripted_lm(base=80), log_dir=str(tmp_path / "logs")), TwoStep()
    )
    files = sorted((tmp_path / "logs" / "evaluated_programs").glob("*.json"))
    states = []
    for file in files:
        loaded = TwoStep()
        loaded.load(file)
        states.append(dumped(loaded))
    assert sorted(states) == sorted(dumped(entry["program"]) for entry in result.candidate_programs)
