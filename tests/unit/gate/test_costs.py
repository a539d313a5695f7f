from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.costs import RESCORE, CostComparator, costs_no_more
from pytest_mipro.gate.paired import compare_costs
from pytest_mipro.records import ExampleCost, PairedComparison, Scorecard, Usage, Verdict

REPETITIONS = 4 * settings().max_examples
"""Samples from which a rate is estimated."""
FREE = 0.0
ADVICE = "ask for fewer demos"


def costs(tokens: list[float], price: float | None = None) -> tuple[ExampleCost, ...]:
    """Return the costs of answers with these tokens, at a price per token."""
    return tuple(ExampleCost(count, None if price is None else count * price) for count in tokens)


def scorecard(answers: tuple[ExampleCost | None, ...], clusters: tuple[str, ...] = ()) -> Scorecard:
    """Return a scorecard with these costs of answers."""
    names = tuple(f"example {number}" for number in range(len(answers)))
    return Scorecard(names, (1.0,) * len(answers), Usage(), clusters=clusters, costs=answers)


def amounts(mean: float, count: int = 60, seed: int = 0) -> list[float]:
    """Return random amounts around a mean, the same for the same seed."""
    rng = random.Random(seed)
    return [mean * rng.uniform(0.8, 1.2) for _ in range(count)]


def judge(
    baseline: Scorecard, compiled: Scorecard, ratio: float = 1.2, **arguments: Any
) -> Verdict:
    """Judge the costs of a program, with the usual alpha."""
    comparator = CostComparator("baseline", baseline, RESCORE, ADVICE)
    arguments = {"unit": None, "alpha": 0.05, **arguments}
    return costs_no_more(comparator, compiled, ratio=ratio, **arguments)


def comparison_of(verdict: Verdict) -> PairedComparison:
    """Return the verdict's comparison, which has to exist."""
    assert verdict.comparison is not None
    return verdict.comparison


class TestWord:
    def test_little_more_passes(self) -> None:
        """A program that costs five percent more passes a ratio of 1.2."""
        verdict = judge(scorecard(costs(amounts(100))), scorecard(costs(amounts(105, seed=1))))
        assert verdict.word == "PASS"
        assert verdict

    def test_three_times_as_much_fails(self) -> None:
        """The sentence has the ratio, its interval, the p-value and what to do."""
        tokens = amounts(100)
        verdict = judge(scorecard(costs(tokens)), scorecard(costs([3 * count for count in tokens])))
        assert (verdict.word, bool(verdict)) == ("FAIL", False)
        assert "3.00 times [3.00, 3.00] as much" in verdict.sentence
        assert "more than allowed at alpha = 0.05" in verdict.sentence
        assert "n = 60" in verdict.sentence
        assert verdict.sentence.endswith(ADVICE)

    def test_few_examples_are_inconclusive(self) -> None:
        """An assert on INCONCLUSIVE fails, and the sentence says how many examples would decide."""
        verdict = judge(
            scorecard(costs([100, 120, 90, 110, 80])), scorecard(costs([150, 90, 170, 100, 110]))
        )
        assert (verdict.word, bool(verdict)) == ("INCONCLUSIVE", False)
        assert re.search(
            r"with about [\d,]+ more held-out examples a program that takes as much as the "
            r"baseline passes four times in five",
            verdict.sentence,
        )

    @pytest.mark.parametrize("tokens", [[7.0], [0.0] * 3, [1.0, 2.0]])
    def test_equal_costs_pass_for_the_same_program(self, tokens: list[float]) -> None:
        """Equal costs of few answers are evidence only where the program is the same."""
        card = scorecard(costs(tokens))
        assert judge(card, card, ratio=1, unchanged=True).word == "PASS"
        assert judge(card, card, ratio=1).word == "INCONCLUSIVE"

    def test_equal_costs_fail_a_ratio_below_1(self) -> None:
        """A ratio below 1 requires a cheaper program."""
        tokens = amounts(100)
        assert judge(scorecard(costs(tokens)), scorecard(costs(tokens)), ratio=0.5).word == "FAIL"
        cheaper = scorecard(costs([0.4 * count for count in tokens]))
        assert judge(scorecard(costs(tokens)), cheaper, ratio=0.5).word == "PASS"

    def test_any_cost_is_more_than_none(self) -> None:
        """The ratio to a baseline without costs is infinite, and fails."""
        verdict = judge(scorecard(costs([0.0] * 40)), scorecard(costs([5.0] * 40)))
        assert verdict.word == "FAIL"
        assert comparison_of(verdict).times(comparison_of(verdict).difference) == math.inf

    def test_few_answers_cost_nothing(self) -> None:
        """An interval that leaves all open goes with a verdict that decides nothing."""
        verdict = judge(scorecard(costs([0.0])), scorecard(costs([5.0])))
        assert verdict.word == "INCONCLUSIVE"
        assert "inf times [0.00, inf] as much" in verdict.sentence


class TestUnit:
    def test_dollars_where_all_prices_are_known(self) -> None:
        """Costs are in US dollars by default, so that three times the price fails."""
        baseline, compiled = amounts(100), amounts(100, seed=1)
        verdict = judge(scorecard(costs(baseline, 1e-6)), scorecard(costs(compiled, 3e-6)))
        assert comparison_of(verdict).unit == "usd"
        assert verdict.word == "FAIL"
        assert "$0.000" in verdict.sentence

    def test_tokens_where_a_price_is_unknown(self) -> None:
        """The sentence says why the costs are in tokens."""
        priced = costs(amounts(100), 1e-6)
        verdict = judge(scorecard(priced), scorecard((replace(priced[0], usd=None), *priced[1:])))
        assert comparison_of(verdict).unit == "tokens"
        assert "in tokens, as not every price is known" in verdict.sentence

    def test_tokens_where_models_are_free(self) -> None:
        """The costs of a model without a price are in tokens."""
        free = scorecard(costs(amounts(100), FREE))
        verdict = judge(free, free)
        assert comparison_of(verdict).unit == "tokens"
        assert "as nothing is charged" in verdict.sentence

    def test_tokens_as_argument(self) -> None:
        """The sentence gives no reason for a unit that the user chose."""
        priced = scorecard(costs(amounts(100), 1e-6))
        verdict = judge(priced, priced, unit="tokens")
        assert comparison_of(verdict).unit == "tokens"
        assert "in tokens, as" not in verdict.sentence

    def test_dollars_without_prices_are_inconclusive(self) -> None:
        """The sentence says how to give prices."""
        unpriced = scorecard(costs(amounts(100)))
        verdict = judge(unpriced, unpriced, unit="usd")
        assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)
        assert "mipro_price" in verdict.sentence


class TestUnknown:
    @pytest.mark.parametrize("unknown", [(), (None,) * 3])
    def test_unknown_costs_are_inconclusive(self, unknown: tuple[None, ...]) -> None:
        """The sentence says whose costs are unknown, and how to find out."""
        complete = scorecard(costs(amounts(100, 3)))
        incomplete = replace(complete, costs=unknown)
        for name, pair in (
            ("baseline", (incomplete, complete)),
            ("compiled program", (complete, incomplete)),
        ):
            verdict = judge(*pair)
            assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)
            assert f"the costs of the {name}'s answers are unknown" in verdict.sentence
            assert RESCORE in verdict.sentence

    def test_examples_with_an_unknown_cost_are_left_out(self) -> None:
        """Only examples with both costs are compared, and the sentence says how many."""
        answers = costs(amounts(100))
        verdict = judge(scorecard((None, *answers[1:])), scorecard((*answers[:-1], None)))
        assert comparison_of(verdict).n == 58
        assert "compared on 58 of 60 held-out examples" in verdict.sentence

    def test_nothing_in_common(self) -> None:
        """Costs of different examples are INCONCLUSIVE, without a comparison."""
        answers = costs(amounts(100, 4))
        verdict = judge(
            scorecard((*answers[:2], None, None)), scorecard((None, None, *answers[2:]))
        )
        assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)


class TestComparison:
    def test_the_scale_changes_nothing(self) -> None:
        """A millionth of the amounts gives the same p-value and interval of the ratio."""
        pair = amounts(100, 30), amounts(130, 30, seed=1)
        scaled = [[amount * 1e-6 for amount in program] for program in pair]
        tokens = compare_costs(*pair, ratio=1.2, unit="tokens")
        usd = compare_costs(*scaled, ratio=1.2, unit="usd")
        assert usd.p_value == pytest.approx(tokens.p_value)
        assert usd.times(usd.low) == pytest.approx(tokens.times(tokens.low))

    def test_the_interval_belongs_to_the_test(self) -> None:
        """At either end of the interval, the p-value is alpha."""
        baseline, compiled = amounts(100), amounts(150, seed=1)
        comparison = compare_costs(baseline, compiled, ratio=1.2, unit="tokens")
        for bound, side in ((comparison.low, "p_value"), (comparison.high, "p_opposite")):
            ratio = comparison.times(bound)
            at_end = compare_costs(baseline, compiled, ratio=ratio, unit="tokens")
            assert getattr(at_end, side) == pytest.approx(0.05, abs=0.005)

    def test_the_interval_covers_ratios_of_dear_answers(self) -> None:
        """It holds the true ratio nine times in ten, where a tenth of answers costs ten times."""
        rng, n = np.random.default_rng(1), 40
        covered = 0
        for _ in range(REPETITIONS):
            baseline = rng.lognormal(4, 0.5, n)
            factors = np.where(rng.random(n) < 0.1, 10, 1) / 1.9
            comparison = compare_costs(
                baseline.tolist(), (baseline * factors).tolist(), ratio=1.2, unit="tokens"
            )
            low, high = comparison.times(comparison.low), comparison.times(comparison.high)
            covered += low <= 1 <= high
        assert covered / REPETITIONS >= 0.87 - 3 * math.sqrt(0.1 * 0.9 / REPETITIONS)

    def test_clusters_are_weaker_evidence(self) -> None:
        """The p-value of examples in clusters is larger than that of independent ones."""
        baseline, compiled = costs(amounts(100)), costs(amounts(112, seed=1))
        groups = tuple(str(number // 20) for number in range(60))
        independent = judge(scorecard(baseline), scorecard(compiled))
        grouped = judge(scorecard(baseline), scorecard(compiled, groups))
        assert comparison_of(grouped).clusters == 3
        assert comparison_of(grouped).p_opposite > comparison_of(independent).p_opposite

    def test_errors_are_as_rare_as_alpha_says(self) -> None:
        """At exactly the allowed ratio, about one verdict in twenty passes, and one fails."""
        rng = random.Random(7)
        words = []
        for _ in range(300):
            baseline = [rng.lognormvariate(4, 0.5) for _ in range(40)]
            compiled = [1.2 * cost * rng.lognormvariate(-0.02, 0.2) for cost in baseline]
            words.append(judge(scorecard(costs(baseline)), scorecard(costs(compiled))).word)
        assert words.count("PASS") <= 0.09 * len(words)
        assert words.count("FAIL") <= 0.09 * len(words)


@pytest.mark.parametrize(
    "arguments, shown",
    [
        ({"ratio": 0}, "ratio=0"),
        ({"ratio": -1.0}, "ratio=-1.0"),
        ({"ratio": math.nan}, "ratio=nan"),
        ({"ratio": math.inf}, "ratio=inf"),
        ({"ratio": True}, "ratio=True"),
        ({"ratio": "1.2"}, "ratio='1.2'"),
        ({"unit": "euros"}, "unit='euros'"),
        ({"alpha": 0}, "alpha=0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], shown: str) -> None:
    """The error names the argument and the value."""
    program = scorecard(costs([1.0, 2.0]))
    with pytest.raises(DeclarationError, match=shown):
        judge(program, program, **arguments)
