import pytest

from kintune.runs.defaults import batch_size_for, epochs_for


@pytest.mark.parametrize("images", [1, 40, 319, 320, 1280, 2559, 2560, 5000, 10**6])
def test_an_epoch_has_forty_steps_where_the_least_batch_allows(images):
    size = batch_size_for(images)
    assert 16 <= size <= 256
    assert (size == 16) == (images < 320)
    assert size & (size - 1) == 0
    assert size <= 32 or images / size >= 40
    assert size == 256 or images / (2 * size) < 40


@pytest.mark.parametrize("images", [10, 300, 1600, 100_000])
def test_epochs_fill_the_step_budget(images):
    size = batch_size_for(images)
    epochs = epochs_for(images, size)
    assert 1 <= epochs <= 100
    steps = epochs * max(1, images // size)
    assert epochs in (1, 100) or 1000 <= steps <= 3000
