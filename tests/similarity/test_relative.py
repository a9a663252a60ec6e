import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintune.errors import DataError
from kintune.similarity import domain_similarity, relative_distance
from kintune.similarity.relative import directions

many = settings(max_examples=40, deadline=None)
seeds, sizes = st.integers(0, 100_000), st.integers(2, 8)


def uniform(classes):
    return np.full(classes, 1 / classes)


def test_closed_form():
    source = np.array([[1, 0], [0, 1]], np.float32)
    target = np.array([[2, 0], [1, 1], [-1, 0]], np.float32)
    weights = np.array([0.5, 0.25, 0.25])
    # Cosine distances to the nearest source: 0, 1 - 1/sqrt(2), 1 (to the second class).
    expected = 0.25 * (1 - np.sqrt(0.5)) + 0.25
    centre = np.zeros(2, np.float32)
    assert relative_distance(source, target, weights, centre) == pytest.approx(expected, rel=1e-6)


@many
@given(seeds, sizes, sizes)
def test_blind_to_order_splitting_rotation_and_size(cloud, seed, s, t):
    rng = np.random.default_rng(seed)
    source, target, weights = cloud(rng, s), cloud(rng, t), rng.dirichlet(np.ones(t))
    centre = source.mean(0)
    value = relative_distance(source, target, weights, centre)

    def equals(*changed):
        assert relative_distance(*changed) == pytest.approx(value, abs=1e-5)

    order = rng.permutation(t)
    equals(source[rng.permutation(s)], target[order], weights[order], centre)
    halved = np.concatenate([weights[:1] / 2, weights[:1] / 2, weights[1:]])
    equals(source, np.concatenate([target[:1], target]), halved, centre)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    shift = 3 * cloud(rng, 1)
    moved = [(4 * (x @ turn) + shift).astype(np.float32) for x in (source, target, centre[None])]
    equals(moved[0], moved[1], weights, moved[2][0])


@many
@given(seeds, sizes)
def test_a_part_of_the_source_is_at_zero_and_more_source_is_never_farther(cloud, seed, s):
    rng = np.random.default_rng(seed)
    source, target = cloud(rng, s + 1), cloud(rng, 4)
    centre = source.mean(0)
    part = source[:-1]
    assert relative_distance(source, part, uniform(s), centre) == pytest.approx(0, abs=1e-6)
    nearer = relative_distance(source, target, uniform(4), centre)
    assert nearer <= relative_distance(part, target, uniform(4), centre) + 1e-12
    assert 0 <= nearer <= 2


def test_falls_from_one_to_zero_as_the_target_turns_towards_the_source():
    source, other = np.split(np.eye(8, dtype=np.float32), 2)
    centre = np.zeros(8, np.float32)
    shares = (0, 0.25, 0.5, 0.75, 1)
    mixed = [(1 - share) * other + share * source for share in shares]
    values = [
        relative_distance(source, each.astype(np.float32), uniform(4), centre) for each in mixed
    ]
    expected = [1 - share / np.hypot(share, 1 - share) for share in shares]
    assert values == pytest.approx(expected, abs=1e-6)


def test_a_mean_at_the_centre_has_no_direction_even_after_rounding():
    centre = np.full(500, 0.1, np.float32)
    nearly = (centre * np.float32(1 + 2e-7))[None]
    assert not directions(nearly, centre).any()


class TestDegenerateDomains:
    """One class, constant images, and values that are no numbers."""

    def test_constant_images_of_the_target_are_unrelated_to_everything(
        self, cloud, features_of, prototypes_of
    ):
        rng = np.random.default_rng(10)
        source = prototypes_of(cloud(rng, 4))
        source = dataclasses.replace(source, centre=source.means.mean(0))
        features = features_of(rng, np.stack([source.centre] * 2), noise=0.0)
        measured = domain_similarity(source, features, model="m", target="t")
        assert measured.relative_distance == 1.0
        assert measured.interval == (1.0, 1.0)

    def test_one_target_class_and_one_image(self, cloud, features_of, prototypes_of):
        rng = np.random.default_rng(11)
        source = prototypes_of(cloud(rng, 4))
        features = features_of(rng, source.means[2:3], images_per_class=1, noise=0.0)
        measured = domain_similarity(source, features, model="m", target="t")
        assert measured.relative_distance == pytest.approx(0.0, abs=1e-6)
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
