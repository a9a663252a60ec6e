import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from kintune.experiments.rate_models import (
    AMPLITUDES,
    LENGTH,
    LEVEL_DEVIATION,
    RESIDUALS,
    STUDY_PARTS,
    Examples,
    Guess,
    Scatter,
    fit_gaussian,
    gaussian_fit,
)


def make(inputs, log_rates, noise=0.1, networks=None, targets=None, studies=None):
    inputs = np.asarray(inputs, dtype=float)
    count = len(log_rates)
    return Examples(
        inputs=inputs.reshape(count, -1),
        log_rates=np.asarray(log_rates, dtype=float),
        noise=np.full(count, noise) if np.isscalar(noise) else np.asarray(noise),
        networks=networks or ("one",) * count,
        targets=targets or tuple(f"target {index}" for index in range(count)),
        studies=studies or ("",) * count,
    )


def fitted(examples, amplitudes, target=0.0, residual=0.1):
    """One study's Gaussian process."""
    return gaussian_fit(examples, amplitudes, {"": Scatter(target, residual)})


@pytest.fixture
def scattered():
    return around_a_line()


def around_a_line():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(20, 2))
    log_rates = -1 + 0.5 * inputs[:, 0] + 0.1 * generator.normal(size=20)
    return make(inputs, log_rates, noise=generator.uniform(0.05, 0.3, 20))


@pytest.mark.parametrize("parts", [("linear",), ("linear", "smooth")])
def test_the_gaussian_process_is_that_of_an_independent_solver(scattered, parts):
    amplitudes = {"linear": 0.3, "smooth": 0.6}
    ours = fitted(scattered, {part: amplitudes[part] for part in parts}, residual=0.2)
    kernel = ConstantKernel(LEVEL_DEVIATION**2, "fixed")
    kernel += ConstantKernel(0.3**2, "fixed") * DotProduct(0, "fixed")
    if "smooth" in parts:
        kernel += ConstantKernel(0.6**2, "fixed") * RBF(LENGTH, "fixed")
    theirs = GaussianProcessRegressor(kernel, alpha=scattered.noise**2 + 0.2**2, optimizer=None)
    mean, spread = scattered.inputs.mean(axis=0), scattered.inputs.std(axis=0)
    level = scattered.log_rates.mean()
    theirs.fit((scattered.inputs - mean) / spread, scattered.log_rates - level)
    for inputs in ([0.0, 0.0], [2.0, -1.0]):
        log_rate, deviation = theirs.predict([(inputs - mean) / spread], return_std=True)
        guess = ours(inputs, "one")
        assert guess.log_rate == pytest.approx(level + log_rate[0], abs=1e-9)
        assert guess.deviation == pytest.approx(math.hypot(deviation[0], 0.2), rel=1e-9)
    assert ours.log_likelihood == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-9)


def test_what_is_not_known_is_averaged_over_by_likelihood(scattered):
    averaged = fit_gaussian(scattered, ("linear",))
    every = [
        fitted(scattered, {"linear": amplitude}, target, residual)
        for amplitude in AMPLITUDES
        for target in AMPLITUDES
        for residual in RESIDUALS
    ]
    weights = np.exp([fit.log_likelihood for fit in every])
    asked = [1.5, -0.3]
    guesses = [fit(asked, "one") for fit in every]
    draws = [
        np.random.default_rng(0).normal(*guess, round(2e5 * weight / weights.sum()))
        for guess, weight in zip(guesses, weights, strict=True)
    ]
    mixture = np.concatenate(draws)
    guess = averaged(asked, "one")
    assert guess.log_rate == pytest.approx(mixture.mean(), abs=0.005)
    assert guess.deviation == pytest.approx(mixture.std(), rel=0.01)
    weights_of_examples = averaged.influences(asked, "one")
    assert weights_of_examples.sum() == pytest.approx(1)


def test_each_study_has_its_own_offset_slopes_and_scatter():
    """Two studies of opposite slopes, one of them precise."""
    at = np.linspace(-1, 1, 40)
    noise = np.random.default_rng(0).normal(size=40)
    examples = make(
        np.concatenate([at, at]),
        np.concatenate([0.5 * at - 1 + 0.6 * noise, -0.5 * at - 2 + 0.1 * noise]),
        noise=0.05,
        studies=("published",) * 40 + ("measured",) * 40,
    )
    fit = fit_gaussian(examples, STUDY_PARTS)
    for study, slope, level in (("published", 0.5, -1), ("measured", -0.5, -2)):
        low, high = fit([-0.5], "one", study), fit([0.5], "one", study)
        assert high.log_rate - low.log_rate == pytest.approx(slope, abs=0.15)
        assert (low.log_rate + high.log_rate) / 2 == pytest.approx(level, abs=0.15)
    assert fit([0], "one", "measured").deviation < 0.5 * fit([0], "one", "published").deviation
    pooled = fit_gaussian(replace(examples, studies=("",) * 80), ("linear", "network"))
    assert pooled([0], "one").log_rate == pytest.approx(-1.5, abs=0.15)


def test_a_study_without_examples_strays_as_far_as_any():
    examples = make(np.zeros((4, 0)), [-1] * 4, studies=("a", "a", "b", "b"))
    fit = gaussian_fit(examples, {}, {"a": Scatter(0.1, 0.2), "b": Scatter(0.5, 0.6)})
    assert fit([], "one", "c").deviation == fit([], "one", "b").deviation
    assert fit([], "one", "c").deviation > fit([], "one", "a").deviation


def test_an_offset_is_shrunk_towards_what_all_networks_share():
    """Two networks, n examples each at +a and -a: the offset is a n s² / (n s² + r²)."""
    n, a, s, r = 4, 0.5, 0.3, 0.2
    networks = ("one",) * n + ("other",) * n
    examples = make(np.zeros((2 * n, 0)), [a] * n + [-a] * n, noise=0.0, networks=networks)
    fit = fitted(examples, {"network": s}, residual=r)
    assert fit([], "one").log_rate == pytest.approx(a * n * s**2 / (n * s**2 + r**2))
    assert fit([], "third").log_rate == pytest.approx(0)
    assert fit([], "third").deviation > fit([], "one").deviation


def test_more_networks_on_the_same_targets_do_not_make_a_new_target_known():
    """Three known targets leave 1 / (1 / L² + 3 / s²) to the level, and a fourth adds s² + r²."""
    s, r, count = 0.5, 0.15, 300
    targets = tuple(f"target {index % 3}" for index in range(count))
    log_rates = [(-2.0, -1.0, 0.0)[index % 3] for index in range(count)]
    examples = make(np.zeros((count, 0)), log_rates, noise=0.0, targets=targets)
    level = 1 / (1 / LEVEL_DEVIATION**2 + 3 / s**2)
    found = fitted(examples, {}, s, r)([], "one").deviation
    assert found == pytest.approx(math.sqrt(level + s**2 + r**2), rel=1e-3)
    assert fitted(examples, {}, residual=r)([], "one").deviation < 1.01 * r


def test_an_example_of_a_flat_curve_counts_less():
    """Of -2 and 0, with a prior of one decade around their mean: a mean weighted by precision."""
    examples = make([[0], [0]], [-2, 0], noise=[0.1, 2.0])
    precise, vague, prior = 1 / (0.1**2 + 0.1**2), 1 / (2.0**2 + 0.1**2), 1 / LEVEL_DEVIATION**2
    expected = (-2 * precise + 0 * vague - 1 * prior) / (precise + vague + prior)
    assert fitted(examples, {}, residual=0.1)([0], "").log_rate == pytest.approx(expected)


def test_eighty_percent_of_a_guess_lie_in_its_interval():
    low, high = Guess(-1.0, 0.5).interval(0.8)
    draws = 10 ** np.random.default_rng(0).normal(-1.0, 0.5, 10_000)
    assert np.mean((low < draws) & (draws < high)) == pytest.approx(0.8, abs=0.01)


def test_influences_are_what_a_change_of_each_place_does_to_the_guess(scattered):
    amplitudes = {"linear": 0.5, "network": 0.5}
    asked = ([0.3, -1.2], scattered.networks[0])
    fit = fitted(scattered, amplitudes, 0.15, 0.3)
    found = fit.influences(*asked)
    assert found.sum() == pytest.approx(1)
    for index in range(0, len(found), 5):
        moved = scattered.log_rates.copy()
        moved[index] += 0.1
        other = fitted(replace(scattered, log_rates=moved), amplitudes, 0.15, 0.3)
        change = (other(*asked).log_rate - fit(*asked).log_rate) / 0.1
        assert change == pytest.approx(found[index], abs=1e-9)


@pytest.mark.parametrize("parts", [("linear",), ("linear", "network")])
def test_an_input_that_varies_by_rounding_alone_says_nothing(parts):
    steady = math.log10(0.1583)
    inputs = np.full((9, 1), steady)
    inputs[0] += 1e-16
    fit = fit_gaussian(make(inputs, np.linspace(-2, -1, 9)), parts)
    assert -2 < fit([steady + 0.4], "one").log_rate < -1
