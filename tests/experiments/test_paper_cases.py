from statistics import mean

import pytest

from kintune.experiments.paper_cases import implied_regret, paper_cases
from kintune.experiments.recommenders import (
    always_usual,
    final_regret,
    nearest_reference,
    ruled,
)

SEARCHED = mean([9.83, 11.61, 20.54, 16.34, 7.61, 12.33, 2.91])
"""Table 8: mean error of the full search, percent."""


def test_there_are_the_35_pairs_of_table_4():
    cases = paper_cases()
    assert len(cases) == 35
    assert len({case.network for case in cases}) == 5
    assert sum(case.regret is not None for case in cases) == 7


def test_the_default_has_the_error_that_the_paper_prints():
    """Table 2, first row: 14.81 % on average over the seven data sets. For Flowers, whose best rate
    is the default's, it is the error of the best momentum and decay there."""
    outcomes = [o for o in ruled(paper_cases(), always_usual, "target") if o.case.regret]
    regret = 100 * mean(final_regret(o.case, o.guess) for o in outcomes)
    assert SEARCHED + regret == pytest.approx(14.81 - (3.12 - 2.91) / 7, abs=0.005)


@pytest.mark.parametrize(
    ("rule", "decades"),
    [(always_usual, 0.67), (nearest_reference("unlikeness"), 0.57)],
)
def test_simple_rules_miss_table_4_as_far_as_known(rule, decades):
    misses = [o.case.miss(o.guess) for o in ruled(paper_cases(), rule, "target")]
    assert mean(misses) == pytest.approx(decades, abs=0.005)


def test_between_two_printed_rates_the_error_is_on_the_line_in_log_rate():
    regret = implied_regret("Dogs", best_rate=0.001)
    assert regret(0.001) == 0
    assert regret(0.1) == pytest.approx(0.0737)
    assert regret(0.05**0.5 * 0.1**0.5) == pytest.approx((0.0737 + 0.0431) / 2)
    assert regret(5.0) == regret(0.1)
