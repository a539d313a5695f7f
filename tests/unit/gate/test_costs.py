from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.costs import RESCORE, CostComparator, costs_no_more
from pytest_mipro.gate.paired import compare_costs
from pytest_mipro.records import ExampleCost, PairedComparison, Scorecard, Usage, Verdict

pytestmark = pytest.mark.uses("numpy")

FREE = 0.0
MEND = "ask for fewer demos"


def costs(tokens: list[float], price: float | None = None) -> tuple[ExampleCost, ...]:
    """Return costs of so many tokens, at a price for each of them."""
    return tuple(ExampleCost(each, None if price is None else each * price) for each in tokens)


def card(known: tuple[ExampleCost | None, ...], clusters: tuple[str, ...] = ()) -> Scorecard:
    """Return a scorecard with these costs."""
    names = tuple(f"example {number}" for number in range(len(known)))
    return Scorecard(names, (1.0,) * len(known), Usage(), clusters=clusters, costs=known)


def spread(mean: float, count: int = 60, seed: int = 0) -> list[float]:
    """Return amounts around a mean, the same for the same seed."""
    rng = random.Random(seed)
    return [mean * rng.uniform(0.8, 1.2) for _ in range(count)]


def judge(before: Scorecard, after: Scorecard, ratio: float = 1.2, **asked: Any) -> Verdict:
    """Judge with the usual alpha."""
    other = CostComparator("baseline", before, RESCORE, MEND)
    return costs_no_more(other, after, ratio=ratio, **{"unit": None, "alpha": 0.05, **asked})


def compared(verdict: Verdict) -> PairedComparison:
    """Return the verdict's comparison."""
    assert verdict.comparison is not None
    return verdict.comparison


class TestWords:
    def test_little_more_passes(self) -> None:
        """Five percent more is less than a fifth more, beyond doubt."""
        verdict = judge(card(costs(spread(100))), card(costs(spread(105, seed=1))))
        assert verdict.word == "PASS"
        assert verdict

    def test_three_times_as_much_fails(self) -> None:
        """The sentence has the ratio, its interval, the p-value and what to do."""
        before = spread(100)
        verdict = judge(card(costs(before)), card(costs([3 * each for each in before])))
        assert (verdict.word, bool(verdict)) == ("FAIL", False)
        assert "3.00 times [3.00, 3.00] as much" in verdict.sentence
        assert "more than allowed at alpha = 0.05" in verdict.sentence
        assert "n = 60" in verdict.sentence
        assert verdict.sentence.endswith(MEND)

    def test_few_examples_do_not_decide(self) -> None:
        """An INCONCLUSIVE holds no assert, and says how many more examples would decide."""
        verdict = judge(card(costs([100, 120, 90, 110, 80])), card(costs([150, 90, 170, 100, 110])))
        assert (verdict.word, bool(verdict)) == ("INCONCLUSIVE", False)
        assert "more held-out examples would decide it" in verdict.sentence

    @pytest.mark.parametrize("amounts", [[7.0], [0.0] * 3, [1.0, 2.0]])
    def test_the_same_passes_however_few_there_are(self, amounts: list[float]) -> None:
        """Nothing changed costs no more, also if nothing is taken at all."""
        assert judge(card(costs(amounts)), card(costs(amounts)), ratio=1).word == "PASS"

    def test_the_same_does_not_pass_where_less_is_asked_for(self) -> None:
        """A ratio below 1 asks for a cheaper program."""
        before = spread(100)
        assert judge(card(costs(before)), card(costs(before)), ratio=0.5).word == "FAIL"
        half = card(costs([0.4 * each for each in before]))
        assert judge(card(costs(before)), half, ratio=0.5).word == "PASS"

    def test_anything_is_more_than_nothing(self) -> None:
        """A program that took nothing has no ratio, and any amount is too much."""
        verdict = judge(card(costs([0.0] * 40)), card(costs([5.0] * 40)))
        assert verdict.word == "FAIL"
        assert compared(verdict).times(compared(verdict).difference) == math.inf


class TestUnits:
    def test_dollars_where_all_are_known(self) -> None:
        """Dollars weigh what is asked and what is answered as the provider does."""
        before, after = spread(100), spread(100, seed=1)
        verdict = judge(card(costs(before, 1e-6)), card(costs(after, 3e-6)))
        assert compared(verdict).unit == "usd"
        assert verdict.word == "FAIL"
        assert "$0.000" in verdict.sentence

    def test_tokens_where_a_price_is_unknown(self) -> None:
        """It says so."""
        known = costs(spread(100), 1e-6)
        verdict = judge(card(known), card((replace(known[0], usd=None), *known[1:])))
        assert compared(verdict).unit == "tokens"
        assert "in tokens, as not every price is known" in verdict.sentence

    def test_tokens_where_nothing_is_charged(self) -> None:
        """A model of one's own has no price, but takes time."""
        free = card(costs(spread(100), FREE))
        verdict = judge(free, free)
        assert compared(verdict).unit == "tokens"
        assert "as nothing is charged" in verdict.sentence

    def test_tokens_if_asked_for(self) -> None:
        """What is asked for needs no reason."""
        priced = card(costs(spread(100), 1e-6))
        verdict = judge(priced, priced, unit="tokens")
        assert compared(verdict).unit == "tokens"
        assert "in tokens, as" not in verdict.sentence

    def test_dollars_that_are_not_known_are_not_nothing(self) -> None:
        """It cannot be judged, and the sentence says what to do."""
        unpriced = card(costs(spread(100)))
        verdict = judge(unpriced, unpriced, unit="usd")
        assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)
        assert "mipro_price" in verdict.sentence


class TestUnknown:
    @pytest.mark.parametrize("unknown", [(), (None,) * 3])
    def test_an_unknown_bill_is_not_nothing(self, unknown: tuple[None, ...]) -> None:
        """Where it is not known what answers took, it cannot be judged."""
        known = card(costs(spread(100, 3)))
        without = replace(known, costs=unknown)
        for before, after, name in (
            (without, known, "baseline"),
            (known, without, "compiled program"),
        ):
            verdict = judge(before, after)
            assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)
            assert f"the costs of the {name}'s answers are unknown" in verdict.sentence
            assert RESCORE in verdict.sentence

    def test_only_what_both_took_is_compared(self) -> None:
        """Examples of which one bill is not known are left out, and counted."""
        known = costs(spread(100))
        verdict = judge(card((None, *known[1:])), card((*known[:-1], None)))
        assert compared(verdict).n == 58
        assert "compared on 58 of 60 held-out examples" in verdict.sentence

    def test_nothing_in_common(self) -> None:
        """Bills of different examples cannot be compared."""
        known = costs(spread(100, 4))
        verdict = judge(card((*known[:2], None, None)), card((None, None, *known[2:])))
        assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)


class TestComparison:
    def test_the_price_level_decides_nothing(self) -> None:
        """A millionth of the amounts gives the same evidence."""
        before, after = spread(100, 30), spread(130, 30, seed=1)
        one = compare_costs(before, after, ratio=1.2, unit="tokens")
        other = compare_costs(
            [each * 1e-6 for each in before],
            [each * 1e-6 for each in after],
            ratio=1.2,
            unit="usd",
        )
        assert other.p_value == pytest.approx(one.p_value)
        assert other.times(other.low) == pytest.approx(one.times(one.low))

    def test_the_interval_is_that_of_a_ratio(self) -> None:
        """It reaches about two standard errors of a ratio of means to each side."""
        before, after = spread(100), spread(150, seed=1)
        found = compare_costs(before, after, ratio=1.2, unit="tokens")
        ratio = fmean(after) / fmean(before)
        left = [then - ratio * first for first, then in zip(before, after, strict=True)]
        error = stdev(left) / math.sqrt(len(left)) / fmean(before)
        assert found.times(found.difference) == pytest.approx(ratio)
        assert ratio - found.times(found.low) == pytest.approx(2 * error, rel=0.2)
        assert found.times(found.high) - ratio == pytest.approx(2 * error, rel=0.2)

    def test_clusters_are_the_evidence(self) -> None:
        """Examples that belong together show less."""
        before, after = spread(100), spread(112, seed=1)
        groups = tuple(str(number // 20) for number in range(60))
        alone = judge(card(costs(before)), card(costs(after)))
        grouped = judge(card(costs(before)), card(costs(after), groups))
        assert compared(grouped).clusters == 3
        assert compared(grouped).p_opposite > compared(alone).p_opposite

    def test_errors_are_as_rare_as_alpha_says(self) -> None:
        """At exactly the allowed ratio, few in twenty are told that it is more, or less."""
        rng = random.Random(7)
        words = []
        for _ in range(300):
            before = [rng.lognormvariate(4, 0.5) for _ in range(40)]
            after = [1.2 * each * rng.lognormvariate(-0.02, 0.2) for each in before]
            words.append(judge(card(costs(before)), card(costs(after))).word)
        assert words.count("PASS") <= 0.09 * len(words)
        assert words.count("FAIL") <= 0.09 * len(words)


@pytest.mark.parametrize(
    "asked, named",
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
def test_what_cannot_be_used_is_named(asked: dict[str, Any], named: str) -> None:
    """The error names the argument and the value."""
    known = card(costs([1.0, 2.0]))
    with pytest.raises(DeclarationError, match=named):
        judge(known, known, **asked)
