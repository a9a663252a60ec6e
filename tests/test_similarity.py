import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog

from kintune.errors import DataError, IncomparableError, SolverError
from kintune.features import Features
from kintune.prototypes import Prototypes, class_prototypes
from kintune.similarity import (
    bootstrap_interval,
    domain_similarity,
    earth_movers_distance,
    euclidean_costs,
    nearest_source_classes,
    optimal_transport,
    relative_distance,
)


def cloud(rng, classes, dimensions=6):
    return rng.normal(size=(classes, dimensions)).astype(np.float32)


def uniform(classes):
    return np.full(classes, 1 / classes)


def features_of(rng, centres, images_per_class=20, noise=0.3):
    labels = np.repeat(np.arange(len(centres)), images_per_class)
    values = centres[labels] + noise * rng.normal(size=(len(labels), centres.shape[1]))
    return Features(
        values=values.astype(np.float32),
        labels=labels.astype(np.int64),
        classes=tuple(f"class {k}" for k in range(len(centres))),
        extractor="x",
        mean_confidence=None,
    )


def prototypes_of(means, weights=None, origin="images"):
    return Prototypes(
        means=means,
        weights=uniform(len(means)) if weights is None else weights,
        counts=None,
        classes=tuple(f"source {k}" for k in range(len(means))),
        centre=None,
        extractor="x",
        origin=origin,
        domain="source",
    )


def solve_by_linear_programming(a, b, cost):
    s, t = cost.shape
    rows = np.kron(np.eye(s), np.ones(t))
    columns = np.kron(np.ones(s), np.eye(t))
    solved = linprog(
        cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]), method="highs"
    )
    return solved.fun


def test_one_class_on_each_side_is_the_distance_of_the_two_means():
    a = np.array([[0.0, 0.0, 0.0]], np.float32)
    b = np.array([[3.0, 4.0, 0.0]], np.float32)
    assert earth_movers_distance(prototypes_of(a), prototypes_of(b)) == pytest.approx(5.0)


def test_a_shifted_cloud_is_as_far_as_it_was_shifted():
    a = cloud(np.random.default_rng(0), 9)
    shift = np.array([2, 0, 0, 0, 0, 0], np.float32)
    distance = earth_movers_distance(prototypes_of(a), prototypes_of(a + shift))
    assert distance == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equal_weights_agree_with_an_assignment_solver(seed):
    rng = np.random.default_rng(seed)
    cost = euclidean_costs(cloud(rng, 12), cloud(rng, 12))
    rows, columns = linear_sum_assignment(cost)
    expected = cost[rows, columns].mean()
    assert optimal_transport(uniform(12), uniform(12), cost).cost == pytest.approx(expected, 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_general_weights_agree_with_linear_programming(seed):
    rng = np.random.default_rng(seed)
    cost = euclidean_costs(cloud(rng, 11), cloud(rng, 7))
    a, b = rng.dirichlet(np.ones(11)), rng.dirichlet(np.ones(7))
    plan = optimal_transport(a, b, cost)
    assert plan.cost == pytest.approx(solve_by_linear_programming(a, b, cost), rel=1e-9)
    np.testing.assert_allclose(plan.flow.sum(1), a, atol=1e-12)
    np.testing.assert_allclose(plan.flow.sum(0), b, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(2, 8))
def test_distance_is_symmetric_and_blind_to_the_order_and_splitting_of_classes(seed, s, t):
    rng = np.random.default_rng(seed)
    a, b = cloud(rng, s), cloud(rng, t)
    distance = earth_movers_distance(prototypes_of(a), prototypes_of(b))
    assert earth_movers_distance(prototypes_of(b), prototypes_of(a)) == pytest.approx(distance)
    order = rng.permutation(s)
    assert earth_movers_distance(prototypes_of(a[order]), prototypes_of(b)) == pytest.approx(
        distance
    )
    halved = np.concatenate([uniform(s)[:1] / 2, uniform(s)[:1] / 2, uniform(s)[1:]])
    split = prototypes_of(np.concatenate([a[:1], a]), halved)
    assert earth_movers_distance(split, prototypes_of(b)) == pytest.approx(distance)


def test_a_domain_is_at_distance_zero_from_itself():
    a = cloud(np.random.default_rng(1), 8)
    assert earth_movers_distance(prototypes_of(a), prototypes_of(a)) == 0.0
    assert relative_distance(a, a, uniform(8), a.mean(0)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "cost", "words"),
    [
        ([np.nan, 1.0], [1.0], [[1.0], [2.0]], "source weights"),
        ([0.5, 0.5], [1.0], [[np.nan], [2.0]], "costs"),
        ([0.5, 0.5], [-1.0], [[1.0], [2.0]], "target weights"),
        ([0.0, 0.0], [1.0], [[1.0], [2.0]], "zero"),
        ([0.5, 0.5], [2.0], [[1.0], [2.0]], "differ"),
    ],
)
def test_transport_refuses_what_has_no_answer(a, b, cost, words):
    with pytest.raises(DataError, match=words):
        optimal_transport(np.array(a), np.array(b), np.array(cost))


def test_a_solver_that_stops_early_is_an_error(monkeypatch):
    monkeypatch.setattr("kintune.similarity.MAX_PIVOTS", 1)
    rng = np.random.default_rng(0)
    cost = euclidean_costs(cloud(rng, 60), cloud(rng, 60))
    with pytest.warns(UserWarning, match="numItermax"), pytest.raises(SolverError):
        optimal_transport(uniform(60), uniform(60), cost)


def test_relative_distance_ignores_feature_size_and_source_classes_that_the_target_lacks():
    rng = np.random.default_rng(3)
    source = cloud(rng, 30)
    centre = source.mean(0)
    target = source[:4] + 0.1 * cloud(rng, 4)
    near = relative_distance(source, target, uniform(4), centre)
    stretched = relative_distance(
        (5 * source).astype(np.float32),
        (5 * target).astype(np.float32),
        uniform(4),
        (5 * centre).astype(np.float32),
    )
    assert stretched == pytest.approx(near, rel=1e-4)
    assert near < 0.1
    assert relative_distance(source, 3 * cloud(rng, 4), uniform(4), centre) > 4 * near


def test_relative_distance_is_the_closed_form():
    source = np.array([[1, 0], [0, 1]], np.float32)
    target = np.array([[2, 0], [1, 1], [-1, 0]], np.float32)
    weights = np.array([0.5, 0.25, 0.25])
    # Cosine distances to the nearest source: 0, 1 - 1/sqrt(2), 1 (to the second class).
    expected = 0.25 * (1 - np.sqrt(0.5)) + 0.25
    centre = np.zeros(2, np.float32)
    assert relative_distance(source, target, weights, centre) == pytest.approx(expected, rel=1e-6)


def test_the_interval_holds_the_value_and_narrows_with_more_images():
    rng = np.random.default_rng(5)
    source = prototypes_of(cloud(rng, 20))
    centres = source.means[:5] + 0.5 * cloud(rng, 5)
    few, many = (features_of(rng, centres, n, noise=1.0) for n in (5, 200))
    widths = []
    for features in (few, many):
        low, high = bootstrap_interval(source, features)
        measured = class_prototypes(features)
        centre = source.means.mean(0)
        value = relative_distance(source.means, measured.means, measured.weights, centre)
        assert low <= value <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_measured_similarity_follows_equation_4_and_names_the_nearest_classes():
    rng = np.random.default_rng(6)
    source = prototypes_of(10 * cloud(rng, 8))
    features = features_of(rng, source.means[[3, 5]])
    measured = domain_similarity(source, features, model="m", target="t")
    assert measured.distance is not None
    assert measured.similarity == pytest.approx(np.exp(-0.01 * measured.distance))
    first = [n for n in measured.nearest_source_classes if n.target_class == "class 0"]
    assert first[0].source_class == "source 3"
    assert [n.cost for n in first] == sorted(n.cost for n in first)
    assert measured.images == 40


def test_prototypes_from_the_head_give_no_absolute_distance():
    rng = np.random.default_rng(7)
    source = prototypes_of(cloud(rng, 8), origin="head")
    measured = domain_similarity(source, features_of(rng, source.means), model="m", target="t")
    assert measured.distance is None
    assert measured.similarity is None
    assert measured.relative_distance < 0.2


def test_other_extractors_are_refused():
    rng = np.random.default_rng(8)
    source = prototypes_of(cloud(rng, 4))
    other = dataclasses.replace(features_of(rng, source.means), extractor="y")
    with pytest.raises(IncomparableError, match="different"):
        domain_similarity(source, other, model="m", target="t")


def test_features_that_are_not_finite_are_refused():
    rng = np.random.default_rng(9)
    features = features_of(rng, cloud(rng, 3))
    features.values[4, 2] = np.nan
    with pytest.raises(DataError, match="1 of 60"):
        domain_similarity(prototypes_of(cloud(rng, 4)), features, model="m", target="t")


def test_constant_images_have_a_defined_answer():
    rng = np.random.default_rng(10)
    source = prototypes_of(cloud(rng, 4))
    # Every class mean lies at the source's centre: no direction, so unrelated to everything.
    centre = source.means.astype(np.float64).mean(0).astype(np.float32)
    features = features_of(rng, np.stack([centre, centre]), noise=0.0)
    neighbours = nearest_source_classes(source, class_prototypes(features))
    assert all(neighbour.cost == pytest.approx(1.0, abs=0.5) for neighbour in neighbours)
    measured = domain_similarity(source, features, model="m", target="t")
    assert np.isfinite(measured.relative_distance)
