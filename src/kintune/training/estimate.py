"""How long a run will take, from timing a few of its steps."""

import math
import time
from itertools import chain, count, islice

import torch

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.runs import RunConfig
from kintune.training.loop import epochs_between_evaluations, forward_share
from kintune.training.start import run_conditions, starting_state
from kintune.training.steps import training_batches, training_step

TIMED_STEPS = 3


def estimate_seconds(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str = "cpu"
) -> float | None:
    """Seconds that `fine_tune` will take, from a few real steps on a copy that is thrown away.

    Loading and decoding are not in it; what else the machine is doing now is.

    Returns:
        None where the steps do not fit into the device's memory, so that the run will not either.
    """
    train_images, val_images = (len(dataset.splits[split]) for split in ("train", "val"))
    epochs = config.hyperparameters.epochs
    evaluations = math.ceil(epochs / epochs_between_evaluations(dataset, config))
    trained = epochs * train_images + evaluations * val_images * forward_share(config)
    try:
        return trained * _seconds_per_image(backbone, dataset, config, device)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return None


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator and the libraries below CUDA raise a plain RuntimeError.
    is_named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_named or "memory" in str(error) or "ALLOC_FAILED" in str(error)


def _seconds_per_image(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str
) -> float:
    """Of augmentation and training step together, after one step to warm up."""
    with run_conditions(config, device):
        state = starting_state(backbone, len(dataset.classes), config, device)
        state.network.train(config.trainable == "all")
        epochs = (
            training_batches(dataset, config, epoch, 0, torch.device(device)) for epoch in count()
        )
        batches = chain.from_iterable(epochs)
        training_step(state.network, state.optimizer, next(batches))
        began, images = time.monotonic(), 0
        for batch in islice(batches, TIMED_STEPS):
            # Reading the value waits for the device.
            training_step(state.network, state.optimizer, batch).item()
            images += len(batch.labels)
        return (time.monotonic() - began) / images
