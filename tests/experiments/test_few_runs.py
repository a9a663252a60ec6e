import math

import pytest

from kintune.experiments.few_runs import AFTER, lost_after, mean_lost_after
from kintune.experiments.rate_models import Guess
from kintune.experiments.recommenders import Case, Outcome


def u_shaped(best, images=10_000):
    def error(rate):
        return 0.1 + 0.2 * min(1.0, abs(math.log10(rate / best)))

    return Case(
        target="t",
        network="n",
        inputs={},
        log_rate=math.log10(best),
        noise=0.1,
        regret=lambda rate: error(rate) - 0.1,
        final_regret=lambda rate: error(rate) - 0.1,
        validation=(error, images),
    )


def test_few_runs_find_a_rate_that_the_guess_missed():
    """Half a decade beside the best a run loses 0.1; the search steps towards it."""
    lost = lost_after(Outcome(u_shaped(0.1), Guess(-1.5, 0.4), None))
    assert lost[2] <= 0.1
    assert lost[4] < 0.03


def test_a_guess_that_is_right_stays_chosen():
    lost = lost_after(Outcome(u_shaped(0.1), Guess(-1.0, 0.4), None))
    assert max(lost.values()) < 0.005


def test_few_validation_images_mislead():
    outcome = Outcome(u_shaped(0.1, images=10), Guess(-1.0, 0.2), None)
    assert lost_after(outcome)[4] > lost_after(Outcome(u_shaped(0.1), Guess(-1.0, 0.2), None))[4]


def test_a_good_guess_loses_by_following_the_lowest_error():
    outcome = Outcome(u_shaped(0.1, images=200), Guess(-1.0, 0.4), None)
    kept, followed = lost_after(outcome), lost_after(outcome, keeps_lowest=True)
    assert kept[4] < 0.5 * followed[4]


def test_the_mean_is_over_cases():
    outcomes = [Outcome(u_shaped(best), Guess(-1.0, 0.4), None) for best in (0.1, 0.3)]
    each = [lost_after(outcome) for outcome in outcomes]
    for runs in AFTER:
        assert mean_lost_after(outcomes)[runs] == pytest.approx(sum(e[runs] for e in each) / 2)


def test_a_case_without_a_curve_is_named():
    case = Case(target="t", network="n", inputs={}, log_rate=-1.0, noise=0.1)
    with pytest.raises(ValueError, match="t on n: no curve is known"):
        lost_after(Outcome(case, Guess(-1.0, 0.4), None))
