import dataclasses

import numpy as np
import pytest

from kintune.base.errors import DataError, IncomparableError
from kintune.similarity import Similarity, domain_similarity, far_cost


def test_equation_4_with_intervals_and_the_nearest_classes(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(6)
    source = prototypes_of(10 * cloud(rng, 8))
    features = features_of(rng, source.means[[3, 5]])
    measured = domain_similarity(source, features, model="m", target="t", gamma=0.02)
    assert measured.distance is not None
    assert measured.distance_interval is not None
    assert measured.similarity == pytest.approx(np.exp(-0.02 * measured.distance))
    low, high = measured.distance_interval
    assert low < measured.distance < high
    assert measured.similarity_interval == pytest.approx(
        (np.exp(-0.02 * high), np.exp(-0.02 * low))
    )
    first = [n for n in measured.nearest_source_classes if n.target_class == "class 0"]
    assert first[0].source_class == "source 3"
    assert [n.cost for n in first] == sorted(n.cost for n in first)
    assert (measured.images, measured.gamma, measured.min_images) == (40, 0.02, 1)
    assert Similarity.model_validate_json(measured.model_dump_json()) == measured


def test_the_plan_explains_the_distance(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(12)
    source = prototypes_of(cloud(rng, 4), np.array([0.4, 0.3, 0.2, 0.1]))
    features = features_of(rng, source.means[:2] + 0.1, images_per_class=10)
    measured = domain_similarity(source, features, model="m", target="t")
    # Two target classes get from four source classes, so no flow is left out.
    assert sum(flow.share for flow in measured.transport) == pytest.approx(1)
    work = sum(flow.share * flow.cost for flow in measured.transport)
    assert work == pytest.approx(measured.distance)
    into = [flow.share for flow in measured.transport if flow.target_class == "class 0"]
    assert sum(into) == pytest.approx(0.5)
    assert into == sorted(into, reverse=True)


def test_classes_far_from_everything_are_named(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(13)
    means = cloud(rng, 60, 20)
    means[:, -1] = 0
    source = prototypes_of(means)
    elsewhere = np.eye(20, dtype=np.float32)[-1:]
    features = features_of(rng, np.concatenate([means[:2], elsewhere]), noise=0.01)
    measured = domain_similarity(source, features, model="m", target="t")
    assert measured.far_cost == pytest.approx(far_cost(source))
    assert measured.far_target_classes == ("class 2",)


def test_far_is_what_few_classes_of_the_source_are():
    from kintune.similarity.prototypes import Prototypes

    means = np.array([[1, 0], [1, 0.1], [-1, 0], [-1, -0.1]], np.float32)
    source = Prototypes(
        means=means,
        weights=np.full(4, 0.25),
        counts=None,
        classes=("a", "b", "c", "d"),
        center=np.zeros(2, np.float32),
        extractor="x",
        origin="images",
        domain="pairs",
    )
    assert far_cost(source) == pytest.approx(1 - 1 / np.sqrt(1.01), rel=1e-4)


def test_confidence_has_its_interval(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(14)
    source = prototypes_of(cloud(rng, 4))
    shares = rng.uniform(0.2, 0.9, size=(80, 1))
    outputs = np.concatenate([shares, 1 - shares], axis=1).astype(np.float32)
    features = dataclasses.replace(features_of(rng, source.means), outputs=outputs)
    measured = domain_similarity(source, features, model="m", target="t")
    assert measured.mean_confidence == pytest.approx(shares.mean(), abs=1e-6)
    half = 1.645 * shares.std(ddof=1) / 80**0.5
    expected = (shares.mean() - half, shares.mean() + half)
    assert measured.confidence_interval == pytest.approx(expected, abs=1e-5)


def test_prototypes_from_the_head_give_no_absolute_distance(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(7)
    source = prototypes_of(cloud(rng, 8), origin="head")
    features = features_of(rng, source.means)
    measured = domain_similarity(source, features, model="m", target="t")
    assert measured.distance is measured.similarity is measured.distance_interval is None
    assert measured.transport == ()
    assert measured.domain_shift is None
    assert measured.relative_distance < 0.2


def test_other_extractors_are_refused(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(8)
    source = prototypes_of(cloud(rng, 4))
    other = dataclasses.replace(features_of(rng, source.means), extractor="y")
    with pytest.raises(IncomparableError, match="different"):
        domain_similarity(source, other, model="m", target="t")


def test_features_that_are_not_finite_are_refused(cloud, features_of, prototypes_of):
    rng = np.random.default_rng(9)
    features = features_of(rng, cloud(rng, 3))
    features.values[4, 2] = np.nan
    with pytest.raises(DataError, match="1 of 60"):
        domain_similarity(prototypes_of(cloud(rng, 4)), features, model="m", target="t")
