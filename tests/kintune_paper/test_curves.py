import math

import numpy as np
import pytest

from kintune_paper.curves import RunError, error_curve

RATES = [10 ** (quarter / 4) for quarter in range(-10, 1)]


def u_shaped(rate, best=0.05, floor=0.1, curvature=1.5):
    """An error whose log odds are a parabola in the log of the rate."""
    odds = math.log(floor / (1 - floor)) + curvature * math.log10(rate / best) ** 2
    return 1 / (1 + math.exp(-odds))


def draws(generator, images, rates=RATES, seeds=(0,), **shape):
    return [
        RunError(rate, generator.binomial(images, u_shaped(rate, **shape)) / images, seed)
        for seed in seeds
        for rate in rates
    ]


def test_a_parabola_in_the_log_odds_is_its_own_smoothed_curve():
    curve = error_curve([RunError(rate, u_shaped(rate)) for rate in RATES], images=10**9)
    assert curve.best_rate == pytest.approx(0.05, rel=0.012)  # a step of the grid
    assert curve.lowest_error == pytest.approx(0.1, abs=1e-5)
    assert curve.regret(0.5) == pytest.approx(u_shaped(0.5) - 0.1, abs=1e-5)
    low, high = curve.within(u_shaped(0.1) - 0.1)
    assert (low, high) == (pytest.approx(0.025, rel=0.025), pytest.approx(0.1, rel=0.025))


def test_outside_the_measured_rates_the_regret_is_that_of_the_end():
    curve = error_curve([RunError(rate, u_shaped(rate)) for rate in RATES], images=1000)
    assert curve.regret(30.0) == curve.regret(1.0) > 0.2


def test_a_jump_leaves_the_errors_before_it_as_they_are():
    """A slowly rising error, and breakdown from 0.56 on."""
    runs = [
        RunError(r, 0.9 if r > 0.5 else u_shaped(r, curvature=0.2), s)
        for r in RATES
        for s in (0, 1)
    ]
    curve = error_curve(runs, images=10**6)
    for rate in (0.05, 10**-0.75, 10**-0.5):
        assert curve.at([rate])[0] == pytest.approx(u_shaped(rate, curvature=0.2), abs=1e-3)
    assert curve.at([10**-0.25, 1.0]) == pytest.approx([0.9, 0.9], abs=1e-3)
    assert 0.2 < curve.at([10**-0.375])[0] < 0.8
    assert curve.best_rate == pytest.approx(0.05, rel=0.02)


def test_a_single_rate_beyond_a_jump_is_a_side_of_its_own():
    runs = [RunError(rate, 1.0 if rate > 0.9 else 0.2) for rate in RATES]
    curve = error_curve(runs, images=500)
    assert curve.at([10**-0.25])[0] == pytest.approx(0.2, abs=0.01)
    assert curve.at([1.0])[0] > 0.99


def test_noise_of_a_few_images_is_no_jump():
    """0, 2 and 8 wrong of 100 are far apart in log odds."""
    errors = (0.08, 0.0, 0.02, 0.0, 0.08)
    curve = error_curve([RunError(r, e) for r, e in zip(RATES[:5], errors, strict=True)], 100)
    assert 0.003 < curve.lowest_error < 0.03


def test_the_smoothed_least_error_is_less_deceived_by_chance_than_the_lowest_run():
    generator = np.random.default_rng(0)
    smoothed, lowest = [], []
    for _ in range(200):
        runs = draws(generator, images=300, curvature=0.8)
        smoothed.append(error_curve(runs, images=300).lowest_error - 0.1)
        lowest.append(min(run.error for run in runs) - 0.1)
    assert abs(np.mean(smoothed)) < 0.5 * abs(np.mean(lowest))


def test_pooling_more_seeds_brings_the_best_rate_nearer_the_truth():
    generator = np.random.default_rng(1)

    def spread(seeds):
        found = [
            error_curve(draws(generator, images=300, seeds=seeds), images=300).best_rate
            for _ in range(100)
        ]
        return np.std(np.log10(np.array(found) / 0.05))

    assert spread(range(4)) < 0.75 * spread(range(1))


def test_too_few_rates_make_no_curve():
    with pytest.raises(ValueError, match="4 distinct rates, got 3"):
        error_curve([RunError(rate, 0.1, seed) for rate in RATES[:3] for seed in (0, 1)], 100)
