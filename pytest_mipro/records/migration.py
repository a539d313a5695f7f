"""An accepted program under another model, adapter or DSPy, beside one that is compiled for it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_mipro.canonical import Record
from pytest_mipro.records.judgement import PairedComparison, Scorecard
from pytest_mipro.records.usage import Usage


@dataclass(frozen=True)
class Migration(Record):
    """What a task would gain or lose by a move from ``accepted_model`` to ``model``.

    ``moves`` says in words what is another one than at the acceptance. ``accepted`` has the
    accepted scores, ``moved`` those of the accepted program now, and ``recompiled`` those of a
    program that is compiled now. ``loss`` compares the second with the first, ``net`` the third
    with the first, and ``gain`` the third with the second, each on the examples that both have.
    ``usage`` is that of this run, ``compile_usage`` that of the compile, whenever it was done.
    ``command`` accepts the recompiled program.
    """

    accepted_model: str
    model: str
    moves: str
    accepted: Scorecard
    moved: Scorecard
    recompiled: Scorecard
    loss: PairedComparison
    gain: PairedComparison
    net: PairedComparison
    usage: Usage
    compile_usage: Usage
    command: str
