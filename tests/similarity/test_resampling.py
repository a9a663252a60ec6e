import numpy as np
import pytest

from kintune.similarity import bootstrap, domain_similarity, euclidean_costs, optimal_transport
from kintune.similarity.prototypes import class_prototypes
from kintune.similarity.resampling import interval_around


@pytest.fixture
def source(cloud, prototypes_of):
    return prototypes_of(cloud(np.random.default_rng(5), 20))


def test_the_interval_holds_the_value_and_narrows_with_more_images(source, cloud, features_of):
    rng = np.random.default_rng(5)
    centers = source.means[:5] + 0.5 * cloud(rng, 5)
    widths = []
    for images in (5, 200):
        features = features_of(rng, centers, images, noise=1.0)
        measured = domain_similarity(source, features, model="m", target="t")
        low, high = measured.interval
        assert low <= measured.relative_distance <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_draws_are_the_values_at_resampled_means(source, features_of):
    """Against resampling written out, in mean and spread over many draws."""
    rng = np.random.default_rng(6)
    features = features_of(rng, source.means[:3] + 0.3, 12, noise=0.8)
    draws = bootstrap(source, features, draws=4000).relative_distance
    center = source.means.mean(0)
    units = source.means - center
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    mean = features.values.mean(0)
    around = center * (mean @ center) / (center @ center)
    slow = np.zeros(4000)
    for draw in range(4000):
        whole = np.zeros(6)
        for label in range(3):
            rows = rng.choice(np.flatnonzero(features.labels == label), 12)
            offset = features.values[rows].mean(0) - around
            slow[draw] += (1 - (units @ offset).max() / np.linalg.norm(offset)) / 3
            whole += offset / 3
        mean = whole + around
        lengths = np.linalg.norm(mean) * np.linalg.norm(center)
        slow[draw] += 0.5 * (1 - mean @ center / lengths)
    assert draws.mean() == pytest.approx(slow.mean(), abs=4 * slow.std() / 4000**0.5)
    assert draws.std() == pytest.approx(slow.std(), rel=0.08)


def test_many_and_few_images_and_parts_take_the_same_way(source, features_of, monkeypatch):
    features = features_of(np.random.default_rng(7), source.means[:2], 30)
    few_draws, many_draws = (bootstrap(source, features, draws=n) for n in (20, 2000))
    monkeypatch.setattr("kintune.similarity.resampling.CHUNK_ROWS", 7)
    in_parts = bootstrap(source, features, draws=2000)
    for other in (few_draws, in_parts):
        gap = other.relative_distance.mean() - many_draws.relative_distance.mean()
        assert abs(gap) < 5 * many_draws.relative_distance.std() / 20**0.5
    assert in_parts.relative_distance.std() == pytest.approx(
        many_draws.relative_distance.std(), rel=0.1
    )


def test_draws_of_the_distance_follow_the_solver(source, features_of):
    """The plan held fast, against solving again at every resample."""
    rng = np.random.default_rng(8)
    features = features_of(rng, source.means[:6] + 0.4, 15, noise=0.5)
    target = class_prototypes(features)
    cost = euclidean_costs(source.means, target.means)
    plan = optimal_transport(source.weights, target.weights, cost)
    held = bootstrap(source, features, plan, draws=300).distance
    solved = []
    for _ in range(300):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(features.labels == label), 15) for label in range(6)]
        )
        means = features.values[rows].reshape(6, 15, -1).mean(1)
        costs = euclidean_costs(source.means, means)
        solved.append(optimal_transport(source.weights, target.weights, costs).cost)
    low, high = interval_around(plan.cost, held)
    expected_low, expected_high = interval_around(plan.cost, np.array(solved))
    width = expected_high - expected_low
    assert low == pytest.approx(expected_low, abs=0.25 * width)
    assert high == pytest.approx(expected_high, abs=0.25 * width)


def test_equal_images_and_seed_give_equal_draws(source, features_of):
    features = features_of(np.random.default_rng(9), source.means[:4])
    first, second = (bootstrap(source, features, seed=3).relative_distance for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, bootstrap(source, features, seed=4).relative_distance)
