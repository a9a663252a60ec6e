"""The validation draw is stratified, seeded and never empties a class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kintune.data import load_dataset
from kintune.data.splits import stratified_draw, with_validation_trained
from kintune.runs.inputs import InputSpec


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


def test_validation_goes_back_to_training_and_makes_another_data_set(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    dataset = load_dataset(tmp_path, InputSpec(image_size=8, mean=(0, 0, 0), std=(1, 1, 1)))
    whole = with_validation_trained(dataset)
    assert whole.splits["train"].tolist() == list(range(10))
    assert whole.splits["val"].tolist() == dataset.splits["val"].tolist()
    assert whole.content_hash != dataset.content_hash
    assert with_validation_trained(dataset).content_hash == whole.content_hash
