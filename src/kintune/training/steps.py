"""The batches of an epoch and what one step does with them."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.arrays import IndexArray
from kintune.backbones import normalised
from kintune.datasets import ImageDataset
from kintune.datasets.transforms import augmented_crops, epoch_draws, shuffled
from kintune.runs import RunConfig
from kintune.training.optimizers import NesterovSGD


class Batch(NamedTuple):
    """Normalised images float32 (b, 3, s, s), channels last, and their labels int64 (b,)."""

    images: Tensor
    labels: Tensor


def batch_bounds(images: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last + 1 of each batch of an epoch; every image is seen once.

    The last batch may be smaller. A last batch of one image joins the one before it, for batch
    normalisation has no variance of one value.

    >>> batch_bounds(10, 4), batch_bounds(9, 4)
    ([(0, 4), (4, 8), (8, 10)], [(0, 4), (4, 9)])
    """
    starts = list(range(0, images, batch_size))
    if len(starts) > 1 and batch_size > 1 and images - starts[-1] == 1:
        starts.pop()
    return list(pairwise([*starts, images]))


def training_batches(
    dataset: ImageDataset,
    config: RunConfig,
    epoch: int,
    first_step: int,
    device: torch.device,
) -> Iterator[Batch]:
    """The augmented batches of an epoch (from 0), in its order, from step `first_step` on.

    Order and augmentation depend on (seed, epoch, image) alone, so nothing needs to be remembered
    to go on in the middle.
    """
    settings = config.hyperparameters
    order = shuffled(dataset.splits["train"], config.seed, epoch)
    draws = epoch_draws(len(dataset.paths), config.seed, epoch)
    for first, last in batch_bounds(len(order), settings.batch_size)[first_step:]:
        indices = order[first:last]
        images = augmented_crops(
            dataset.images, indices, config.input.image_size, settings.augmentation, draws
        )
        yield Batch(
            normalised(images.to(device), config.input), labels_of(dataset, indices).to(device)
        )


def labels_of(dataset: ImageDataset, indices: IndexArray) -> Tensor:
    """int64 (b,) labels of the images at `indices`."""
    return torch.from_numpy(dataset.labels[indices])


def training_step(network: nn.Module, optimizer: NesterovSGD, batch: Batch) -> Tensor:
    """One forward pass, backward pass and update; the batch's mean cross-entropy, a scalar."""
    loss = F.cross_entropy(network(batch.images), batch.labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
