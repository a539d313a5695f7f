"""The statistics that DSPy attaches to a compiled program, and the log of its candidates."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dspy

    from pytest_mipro.optimize.mipro.search import SearchResult
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Candidate


def percent(scores: Sequence[float]) -> float:
    """Return a mean score as DSPy states it: from 0 to 100, with two decimals."""
    return round(100 * math.fsum(scores) / len(scores), 2)


def statistics(space: Space, result: SearchResult, full: int) -> dict[str, Any]:
    """Return the statistics of a search under DSPy's names; ``full`` rows are the valset."""
    programs = {candidate: space.program(candidate) for candidate in result.scores}
    entries: list[dict[str, Any]] = [
        {
            "score": percent(scores),
            "program": programs[candidate],
            "full_eval": len(scores) >= full,
        }
        for candidate, scores in result.scores.items()
    ]
    entries.sort(key=itemgetter("score"), reverse=True)
    return {
        "candidate_programs": [entry for entry in entries if entry["full_eval"]],
        "mb_candidate_programs": [entry for entry in entries if not entry["full_eval"]],
        "trial_logs": {
            number: _trial_log(candidate, programs[candidate], scores, full)
            for number, (candidate, scores) in enumerate(result.scores.items(), start=1)
        },
    }


def _trial_log(
    candidate: Candidate, program: dspy.Module, scores: Sequence[float], full: int
) -> dict[str, Any]:
    kind = "full_eval" if len(scores) >= full else "mb"
    return {
        f"{kind}_score": percent(scores),
        f"{kind}_program": program,
        "rows": len(scores),
        **{f"{i}_predictor_instruction": index for i, index in enumerate(candidate.instructions)},
        **{f"{i}_predictor_demos": index for i, index in enumerate(candidate.demos)},
    }


def save_candidates(folder: Path, space: Space, result: SearchResult, full: int) -> None:
    """Write every candidate that was measured on all ``full`` rows, as DSPy's state."""
    target = folder / "evaluated_programs"
    target.mkdir(parents=True, exist_ok=True)
    for number, (candidate, scores) in enumerate(result.scores.items(), start=1):
        if len(scores) >= full:
            space.program(candidate).save(target / f"program_{number}.json")
