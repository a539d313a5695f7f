"""Looks at the same held-out examples: how often, and the alpha that each may spend.

A verdict on held-out examples that many programs were tried on is wrong more often than one on
fresh examples, as the programs that chance favours are the ones that pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.records import Verdict


@dataclass(frozen=True)
class Levels:
    """The levels of a verdict: ``alpha`` as asked for, and those that PASS and FAIL need."""

    alpha: float
    passing: float
    failing: float


@dataclass(frozen=True)
class LookCount:
    """How often a set of held-out examples was looked at, up to and with the present look.

    Attributes:
        number: The number of the present look.
        examples: The number of examples.
        seeds: Looks at programs of how many seeds.
        rescores: Looks for which the examples were answered again.
        acceptances: Looks for which an accepted program was answered by fresh rollouts.
    """

    number: int
    examples: int
    seeds: int = 1
    rescores: int = 0
    acceptances: int = 0

    @property
    def clause(self) -> str:
        """The clause of a verdict's sentence; empty for the first look."""
        if self.number == 1:
            return ""
        counts = (
            (self.seeds if self.seeds > 1 else 0, "seed"),
            (self.rescores, "rescore"),
            (self.acceptances, "acceptance"),
        )
        details = ", ".join(_counted(count, noun) for count, noun in counts if count)
        return (
            f"this is the {_ordinal(self.number)} look at these {self.examples} examples"
            f"{f' ({details})' if details else ''}"
        )


def spent_alpha(alpha: float, look: int) -> float:
    """Return the level of one look, so that all looks together keep ``alpha``.

    The levels alpha / (k (k + 1)) of the looks k = 1, 2, ... add up to alpha,
    however many looks there are, and whatever makes a user stop: by Bonferroni's
    inequality, the chance that any of them passes wrongly is at most alpha. This
    is the alpha-spending rule of online testing (Tian and Ramdas, 2021,
    Statistical Methods in Medical Research 30, 976-993), with a series that
    telescopes. Boundaries of group-sequential trials (Lan and DeMets, 1983,
    Biometrika 70, 659-663) are no choice: they are for one program and a growing
    sample, and looks are at several programs and one sample.

    Args:
        alpha: The level of the whole sequence.
        look: The number of the look, from 1 on.
    """
    return alpha / (look * (look + 1))


def judge_at(levels: Levels, judge: Callable[..., Verdict]) -> Verdict:
    """Return the verdict of ``judge``, which takes ``alpha``, if PASS and FAIL need other levels.

    Less evidence than PASS or FAIL needs makes the verdict that of the lower
    level, which is INCONCLUSIVE.
    """
    __tracebackhide__ = True
    verdict = judge(alpha=levels.alpha)
    needed = {"PASS": levels.passing, "FAIL": levels.failing}.get(verdict.word, levels.alpha)
    return verdict if needed == levels.alpha else judge(alpha=needed)


def with_look(verdict: Verdict, look: LookCount, levels: Levels) -> Verdict:
    """Return ``verdict`` with the number of the look, and the level that it needs, in its sentence.

    A verdict without a comparison looked at nothing.
    """
    if verdict.comparison is None:
        return verdict
    spending = ""
    if levels.passing < levels.alpha:
        spending = (
            f"a PASS needs p < {levels.passing:.4g} at look {look.number}, of alpha = "
            f"{levels.alpha:g} for all looks"
        )
    clauses = filter(None, (look.clause, spending, verdict.sentence))
    return replace(verdict, sentence="; ".join(clauses))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _ordinal(number: int) -> str:
    is_teen = number % 100 in {11, 12, 13}
    ending = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
