import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintune.base.errors import DataError
from kintune.similarity import (
    class_distance,
    domain_shift,
    domain_similarity,
    relative_distance,
)
from kintune.similarity.relative import directions

many = settings(max_examples=40, deadline=None)
seeds, sizes = st.integers(0, 100_000), st.integers(2, 8)


def with_center(prototypes, center):
    return dataclasses.replace(prototypes, center=center.astype(np.float32))


class TestClassDistance:
    def test_closed_form(self, prototypes_of):
        source = prototypes_of(np.array([[1, 0], [0, 1]], np.float32))
        target = np.array([[2, 0], [1, 1], [-1, 0]], np.float32)
        target = prototypes_of(target, np.array([0.5, 0.25, 0.25]))
        # Cosine distances to the nearest source: 0, 1 - 1/sqrt(2), 1 (to the second class).
        expected = 0.25 * (1 - np.sqrt(0.5)) + 0.25
        found = class_distance(with_center(source, np.zeros(2)), target)
        assert found == pytest.approx(expected, rel=1e-6)

    @many
    @given(seeds, sizes)
    def test_a_part_is_at_zero_and_more_source_never_farther(self, cloud, prototypes_of, seed, s):
        rng = np.random.default_rng(seed)
        means, target = cloud(rng, s + 1), prototypes_of(cloud(rng, 4))
        whole = with_center(prototypes_of(means), np.zeros(6))
        part = with_center(prototypes_of(means[:-1]), np.zeros(6))
        assert class_distance(whole, part) == pytest.approx(0, abs=1e-6)
        assert class_distance(whole, target) <= class_distance(part, target) + 1e-12

    def test_falls_from_one_to_zero_as_the_target_turns_towards_the_source(self, prototypes_of):
        source, other = np.split(np.eye(8, dtype=np.float32), 2)
        shares = (0, 0.25, 0.5, 0.75, 1)
        mixed = [((1 - share) * other + share * source).astype(np.float32) for share in shares]
        source = with_center(prototypes_of(source), np.zeros(8))
        values = [class_distance(source, prototypes_of(each)) for each in mixed]
        expected = [1 - share / np.hypot(share, 1 - share) for share in shares]
        assert values == pytest.approx(expected, abs=1e-6)


class TestDomainShift:
    def test_closed_form(self, prototypes_of):
        source = with_center(prototypes_of(np.eye(2, dtype=np.float32)), np.array([1.0, 0.0]))
        target = np.array([[0, 4], [4, 0]], np.float32)
        # Weighted mean (1, 3): the angle to (1, 0) has cosine 1 / sqrt(10).
        found = domain_shift(source, prototypes_of(target, np.array([0.75, 0.25])))
        assert found == pytest.approx(1 - 1 / np.sqrt(10))

    def test_a_mean_at_zero(self, prototypes_of):
        at_zero = prototypes_of(np.array([[1, 0], [-1, 0]], np.float32))
        elsewhere = prototypes_of(np.array([[1, 0], [2, 0]], np.float32))
        assert domain_shift(at_zero, at_zero) == 0
        assert domain_shift(elsewhere, at_zero) == 1

    def test_a_head_without_a_mean_feature_has_none(self, cloud, prototypes_of):
        head = prototypes_of(cloud(np.random.default_rng(0), 4), origin="head")
        target = prototypes_of(cloud(np.random.default_rng(1), 3))
        assert domain_shift(head, target) is None
        assert relative_distance(head, target) == class_distance(head, target)


class TestRelativeDistance:
    def test_is_the_class_distance_and_half_of_the_shift(self, cloud, prototypes_of):
        rng = np.random.default_rng(2)
        source, target = prototypes_of(1 + cloud(rng, 5)), prototypes_of(1 + cloud(rng, 3))
        shift = domain_shift(source, target)
        assert shift is not None
        expected = class_distance(source, target) + shift / 2
        assert relative_distance(source, target) == pytest.approx(expected)

    @many
    @given(seeds, sizes)
    def test_a_domain_is_at_distance_zero_from_itself(self, cloud, prototypes_of, seed, s):
        rng = np.random.default_rng(seed)
        a = prototypes_of(cloud(rng, s), rng.dirichlet(np.ones(s)))
        assert relative_distance(a, a) == pytest.approx(0, abs=1e-6)

    @many
    @given(seeds, sizes, sizes)
    def test_blind_to_order_splitting_rotation_and_size(self, cloud, prototypes_of, seed, s, t):
        rng = np.random.default_rng(seed)
        means, other, weights = cloud(rng, s), cloud(rng, t), rng.dirichlet(np.ones(t))
        source = prototypes_of(means)
        value = relative_distance(source, prototypes_of(other, weights))

        def equals(first, second):
            assert relative_distance(first, second) == pytest.approx(value, abs=1e-5)

        order = rng.permutation(t)
        shuffled = prototypes_of(means[rng.permutation(s)])
        equals(shuffled, prototypes_of(other[order], weights[order]))
        halved = np.concatenate([weights[:1] / 2, weights[:1] / 2, weights[1:]])
        equals(source, prototypes_of(np.concatenate([other[:1], other]), halved))
        longer = prototypes_of((3 * other).astype(np.float32), weights)
        equals(source, longer)  # as of larger or sharper images
        turn = 4 * np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
        equals(prototypes_of(means @ turn), prototypes_of(other @ turn, weights))


def test_a_mean_at_the_center_has_no_direction_even_after_rounding():
    center = np.full(500, 0.1, np.float32)
    nearly = (center * np.float32(1 + 2e-7))[None]
    assert not directions(nearly, center).any()


class TestDegenerateDomains:
    """One class, constant images, and values that are no numbers."""

    def test_constant_images_of_the_target_are_unrelated_to_everything(
        self, cloud, features_of, prototypes_of
    ):
        rng = np.random.default_rng(10)
        source = prototypes_of(cloud(rng, 4))
        source = dataclasses.replace(source, center=source.means.mean(0))
        features = features_of(rng, np.stack([source.center] * 2), noise=0.0)
        measured = domain_similarity(source, features, model="m", target="t")
        assert measured.class_distance == 1.0
        assert measured.domain_shift == pytest.approx(0)
        assert measured.relative_distance == pytest.approx(1.0)
        assert measured.interval == pytest.approx((1.0, 1.0))

    def test_one_target_class_and_one_image(self, cloud, features_of, prototypes_of):
        rng = np.random.default_rng(11)
        source = with_center(prototypes_of(cloud(rng, 4)), np.zeros(6))
        features = features_of(rng, source.means[2:3], images_per_class=1, noise=0.0)
        measured = domain_similarity(source, features, model="m", target="t")
        assert measured.class_distance == pytest.approx(0.0, abs=1e-6)
        assert (measured.images, measured.classes) == (1, 1)
        assert measured.interval[1] - measured.interval[0] == pytest.approx(0.0, abs=1e-6)

    @pytest.mark.parametrize(
        ("means", "words"),
        [
            (np.ones((1, 3)), "one class only.*--clusters 2"),
            (np.ones((3, 3)), "all 3 classes of the source source have the same mean"),
            (np.array([[1.0, np.nan, 0.0], [0.0, 1.0, 0.0]]), "not finite"),
        ],
    )
    def test_a_source_without_directions(self, features_of, prototypes_of, means, words):
        source = prototypes_of(means.astype(np.float32))
        features = features_of(np.random.default_rng(0), np.eye(3, dtype=np.float32))
        with pytest.raises(DataError, match=words):
            domain_similarity(source, features, model="m", target="t")
