import numpy as np
import pytest
import torch

from kintune.training.steps import batch_bounds, training_batches

CPU = torch.device("cpu")


@pytest.mark.parametrize("images", [1, 2, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 8, 32])
def test_batches_hold_every_image_once_and_none_is_single(images, batch_size):
    bounds = batch_bounds(images, batch_size)

    seen = [index for first, last in bounds for index in range(first, last)]
    assert seen == list(range(images))
    if batch_size > 1 and images > 1:
        assert min(last - first for first, last in bounds) >= 2
    sizes = [last - first for first, last in bounds]
    assert max(sizes) <= batch_size + 1
    assert max(sizes) - min(sizes) <= 1


def test_no_batch_is_a_remainder_of_a_few_images():
    assert len(batch_bounds(322, 32)) == 11
    assert min(last - first for first, last in batch_bounds(322, 32)) == 29


def test_an_epoch_shows_every_training_image_once_in_its_own_order(dataset, make_config):
    config = make_config(augmentation="none")

    labels = [
        torch.cat([batch.labels for batch in training_batches(dataset, config, epoch, 0, CPU)])
        for epoch in (0, 1)
    ]

    for each in labels:
        assert each.bincount().tolist() == np.bincount(dataset.labels_of("train")).tolist()
    assert labels[0].tolist() != labels[1].tolist()


def test_going_on_in_an_epoch_gives_the_batches_that_were_left(dataset, make_config):
    whole = list(training_batches(dataset, make_config(), 1, 0, CPU))

    rest = list(training_batches(dataset, make_config(), 1, 2, CPU))

    assert len(rest) == len(whole) - 2
    assert torch.equal(rest[0].images, whole[2].images)
    assert torch.equal(rest[0].labels, whole[2].labels)
