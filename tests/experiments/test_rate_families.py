import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from tests.experiments.test_rate_models import around_a_line, make

from kintune.experiments.rate_families import FAMILIES, fit_constant, fit_isotonic, fit_nearest


def test_pooled_neighbors_are_those_of_an_independent_solver():
    scattered = around_a_line()
    noise = np.sqrt(scattered.noise**2 + 0.1**2)
    theirs = IsotonicRegression(out_of_bounds="clip")
    theirs.fit(scattered.inputs[:, 0], scattered.log_rates, sample_weight=1 / noise**2)
    ours = fit_isotonic(scattered)
    for at in np.linspace(-3, 3, 25):
        assert ours([at], "").log_rate == pytest.approx(theirs.predict([at])[0], abs=1e-12)


def test_the_nearest_example_is_found_in_units_of_each_inputs_spread():
    examples = make([[0, 0], [1, 0], [0, 1000]], [-3, -2, -1])
    assert fit_nearest(examples)([0.1, 900], "").log_rate == -1
    assert fit_nearest(examples)([0.6, 100], "").log_rate == -2


def test_a_constant_is_the_median_and_as_uncertain_as_left_out_examples_say():
    guess = fit_constant(make(np.zeros((3, 0)), [-2, -1, 3]))([], "any")
    assert guess.log_rate == -1
    # Left out: medians 1, 0.5, -1.5 against -2, -1, 3.
    assert guess.deviation == pytest.approx(math.sqrt((3**2 + 1.5**2 + 4.5**2) / 3))


def test_misses_are_counted_on_targets_left_out_whole():
    targets = tuple(f"target {index % 3}" for index in range(12))
    log_rates = [(-2.0, -1.0, 0.0)[index % 3] for index in range(12)]
    guess = fit_constant(make(np.zeros((12, 0)), log_rates, targets=targets))([], "one")
    assert guess.deviation == pytest.approx(math.sqrt((1.5**2 + 0 + 1.5**2) / 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_finds_a_clear_slope_or_says_that_it_does_not_know(family):
    generator = np.random.default_rng(3)
    at = np.linspace(0, 1, 30)
    examples = make(at, -2 + 2 * at + 0.05 * generator.normal(size=30), noise=0.05)
    guess = FAMILIES[family](examples)([0.25], "one")
    assert abs(guess.log_rate + 1.5) < 2 * guess.deviation
    if family != "constant":
        assert guess.log_rate == pytest.approx(-1.5, abs=0.15)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_minds_examples_that_are_all_alike(family):
    guess = FAMILIES[family](make([[1], [1], [1]], [-1, -1, -1]))([1], "one")
    assert guess.log_rate == pytest.approx(-1)
    assert guess.deviation >= 0.1
