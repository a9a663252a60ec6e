"""The validation draw is stratified, seeded and never empties a class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kintune.datasets.splits import stratified_draw


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_each_class_gives_its_share_and_keeps_some(counts, fraction, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, drawn = stratified_draw(labels, fraction, seed)
    assert sorted([*kept, *drawn]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        share = int((labels[drawn] == label).sum())
        assert share == min(max(round(fraction * count), 1), count - 1)


def test_the_seed_decides():
    labels = np.repeat([0, 1], 50)
    drawn = [stratified_draw(labels, 0.2, seed)[1] for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("part", [0, 1])
def test_positions_are_ascending(part):
    positions = stratified_draw(np.repeat([0, 1], 50), 0.2, 0)[part]
    assert (np.diff(positions) > 0).all()
