import math

import numpy as np
import pytest

from kintune.experiments.baselines.rate_range import (
    growing_rates,
    range_test,
    smoothed,
    steepest,
)


def falling_at(rate, rates):
    """A loss that falls from 4 to 1, most steeply at a rate."""
    return [4 - 3 / (1 + math.exp(-3 * math.log10(each / rate))) for each in rates]


@pytest.mark.parametrize("rate", [1e-5, 1e-3, 3e-2])
def test_the_steep_part_of_a_known_curve_is_found(rate):
    rates = growing_rates(100)
    assert abs(math.log10(steepest(rates, falling_at(rate, rates)) / rate)) < 8 / 99


def test_smoothing_lags_and_takes_noise_away():
    rates = growing_rates(100)
    noise = 0.1 * np.random.default_rng(0).normal(size=100)
    found = steepest(rates, smoothed(np.array(falling_at(1e-4, rates)) + noise))
    assert 1e-4 <= found <= 1e-2


def test_smoothing_is_the_mean_with_weights_that_fade():
    weights = [0.98**age for age in range(3)]
    first, second, third = 3.0, 5.0, 4.0
    means = smoothed([first, second, third])
    assert means[:2] == pytest.approx([3, (5 + 0.98 * 3) / 1.98])
    assert means[2] == pytest.approx(np.average([third, second, first], weights=weights))


def test_a_loss_that_runs_away_ends_the_test():
    means = smoothed([1.0] * 20 + [200.0] * 5)
    assert len(means) == 20
    assert smoothed([1.0, math.nan, 1.0]) == [1.0]


def test_a_test_that_ends_at_once_picks_nothing():
    with pytest.raises(ValueError, match="ended after 12 steps"):
        steepest(growing_rates(12), [1.0] * 12)


def test_a_test_of_a_network_picks_one_of_its_rates_and_repeats(start):
    first, again = range_test(*start), range_test(*start)
    assert first.steps == 14
    assert first.lr in first.lrs[10:]
    assert first.lrs == pytest.approx(growing_rates(14))
    assert first.losses == again.losses
