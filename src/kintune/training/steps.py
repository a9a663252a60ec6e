"""The batches of an epoch and what one step does with them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kintune.backbones import normalized
from kintune.base.arrays import IndexArray
from kintune.data import ImageDataset
from kintune.data.prefetch import prefetch
from kintune.data.transforms import (
    crop_threads,
    epoch_draws,
    random_crops,
    shuffled,
    varied,
)
from kintune.runs import Precision, RunConfig
from kintune.training.optimizers import NesterovSGD
from kintune.training.replicas import replicas

MIN_IMAGES = 2
"""On a device: batch normalization has no variance of one value."""


class Batch(NamedTuple):
    """This replica's share of a batch: normalized images float32 (b, 3, s, s), channels last, and
    their labels int64 (b,)."""

    images: Tensor
    labels: Tensor
    weight: float = 1.0
    """Weight of the share's mean loss in the average over the replicas: 1 where all have equally
    many."""


def batch_bounds(images: int, batch_size: int, devices: int = 1) -> list[tuple[int, int]]:
    """First and last + 1 of each batch of an epoch: as few batches as `batch_size` allows, whose
    sizes differ by at most one image, so that every image is seen once.

    A fixed size would leave a remainder of a few images as the last batch: a step as long as any
    other on a noisy gradient, whose batch statistics move the running ones just before they are
    used for evaluation. 322 images in batches of 32 end with two images; that cost 2 to 4 points of
    test error on EfficientNet-Lite0. Where a device would get a single image, of which batch
    normalization has no variance, there are fewer and larger batches.

    >>> batch_bounds(10, 4), batch_bounds(3, 2)
    ([(0, 3), (3, 6), (6, 10)], [(0, 3)])
    """
    count = -(-images // batch_size)
    if batch_size > 1:
        count = max(1, min(count, images // (MIN_IMAGES * devices)))
    return list(pairwise(images * number // count for number in range(count + 1)))


def training_batches(
    dataset: ImageDataset,
    config: RunConfig,
    epoch: int,
    first_step: int,
    device: torch.device,
) -> Iterator[Batch]:
    """This replica's share of the augmented batches of an epoch (from 0), in its order, from step
    `first_step` on.

    Order and augmentation depend on (seed, epoch, image) alone, so nothing needs to be remembered
    to go on in the middle, and devices and micro-batches change neither.
    """
    settings, size, here = config.hyperparameters, config.input.image_size, replicas()
    kind = settings.augmentation
    order = shuffled(dataset.splits["train"], config.seed, epoch)
    draws = epoch_draws(len(dataset.paths), config.seed, epoch)
    bounds = batch_bounds(len(order), settings.batch_size, here.count)[first_step:]
    shares = [np.array_split(order[first:last], here.count)[here.rank] for first, last in bounds]

    def cropped(share: IndexArray) -> Tensor:
        return random_crops(dataset.images, share, size, kind, draws)

    crops = prefetch(cropped, shares, threads=crop_threads(dataset.images, device.type))
    for (first, last), share, cut in zip(bounds, shares, crops, strict=True):
        images = varied(cut.to(device), kind, draws.values[share])
        yield Batch(
            normalized(images, config.input),
            labels_of(dataset, share).to(device),
            len(share) * here.count / (last - first),
        )


def labels_of(dataset: ImageDataset, indices: IndexArray) -> Tensor:
    """int64 (b,) labels of the images at `indices`."""
    return torch.from_numpy(dataset.labels[indices])


def training_step(
    network: nn.Module,
    optimizer: NesterovSGD,
    batch: Batch,
    *,
    micro_batch_size: int | None = None,
    precision: Precision = "float32",
    clip_grad_norm: float | None = None,
) -> Tensor:
    """One update from the mean cross-entropy of the whole batch; this share's mean, a scalar.

    With a micro-batch size the gradient is added up over parts of at most so many images: the same
    gradient, but for batch statistics, which are then of a part.
    """
    optimizer.zero_grad()
    images = len(batch.labels)
    parts = -(-images // (micro_batch_size or images))
    parts = max(1, min(parts, images // MIN_IMAGES))
    total = torch.zeros((), device=batch.labels.device)
    pairs = zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True)
    for number, (part, labels) in enumerate(pairs, start=1):
        with _synchronised(network, number == parts):
            with torch.autocast(part.device.type, torch.bfloat16, precision == "bfloat16"):
                logits = network(part)
            # The loss is never taken in fewer digits than float32.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            loss = F.cross_entropy(logits, labels) * (len(labels) / images)
            (loss * batch.weight).backward()
        total += loss.detach()
    if clip_grad_norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), clip_grad_norm)
    optimizer.step()
    return total


def _synchronised(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Replicas average their gradients once a step, in the backward pass of the last part."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()
