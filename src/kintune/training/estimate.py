"""How long a run will take, from timing a few of its steps."""

import math
import time
from itertools import chain, count, islice

import torch

from kintune.backbones import Backbone
from kintune.base.errors import is_out_of_memory
from kintune.data import ImageDataset
from kintune.runs import RunConfig
from kintune.training.batch_norm import train_mode
from kintune.training.head_start import head_start_images
from kintune.training.loop import epochs_between_evaluations, forward_share
from kintune.training.memory import halved_micro_batch
from kintune.training.schedules import total_steps
from kintune.training.start import run_conditions, starting_state
from kintune.training.steps import Batch, batch_bounds, training_batches, training_step

TIMED_STEPS = 3
MAX_SECONDS = 2.0
"""No further step is timed after so long."""
CPU_PIXELS = 800_000
"""Pixels of a timed batch on a CPU, where larger ones take as long for each image."""
MIN_CPU_BATCH, MAX_CPU_BATCH = 8, 64


def work_in_images(dataset: ImageDataset, config: RunConfig) -> float:
    """Images in training steps that `fine_tune` takes on each device; forward passes for the head
    and for validation are counted as the share of a step that they are."""
    settings, devices = config.hyperparameters, config.devices
    train_images, val_images = (len(dataset.splits[split]) for split in ("train", "val"))
    steps_per_epoch = len(batch_bounds(train_images, settings.batch_size, devices))
    seen = train_images * total_steps(settings, steps_per_epoch) / steps_per_epoch
    evaluations = math.ceil(settings.epochs / epochs_between_evaluations(dataset, config))
    forward = evaluations * val_images + head_start_images(dataset, config)
    return seen / devices + forward * forward_share(config)


def seconds_per_image(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str = "cpu"
) -> float | None:
    """Seconds that a training step takes for each image, with its augmentation, from a few real
    steps on a copy that is thrown away.

    Decoding is not in it, nor what replicas say to each other; what else the machine is doing now
    is.

    Returns:
        None where not even micro-batches fit into the device's memory.
    """
    micro_batch_size = config.micro_batch_size
    while True:
        try:
            return _timed(backbone, dataset, config, device, micro_batch_size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            before = micro_batch_size or -(-config.hyperparameters.batch_size // config.devices)
            try:
                micro_batch_size = halved_micro_batch(before, error)
            except MemoryError:
                return None


def _timed(
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    device: str,
    micro_batch_size: int | None,
) -> float:
    """Seconds for each image, after one step to warm up."""
    settings = config.hyperparameters.replace(
        head_start="random", batch_size=_timed_batch_size(config, device)
    )
    config = config.replace(hyperparameters=settings)
    with run_conditions(config, device):
        state = starting_state(backbone, dataset, config, device)
        train_mode(state.network, config)
        epochs = (
            training_batches(dataset, config, epoch, 0, torch.device(device)) for epoch in count()
        )

        def step(batch: Batch) -> None:
            training_step(
                state.network,
                state.optimizer,
                batch,
                micro_batch_size=micro_batch_size,
                precision=config.precision,
            ).item()  # reading the value waits for the device

        batches = chain.from_iterable(epochs)
        step(next(batches))
        began, seconds, images = time.monotonic(), 0.0, 0
        for batch in islice(batches, TIMED_STEPS):
            step(batch)
            images += len(batch.labels)
            if (seconds := time.monotonic() - began) > MAX_SECONDS:
                break
        return seconds / images


def _timed_batch_size(config: RunConfig, device: str) -> int:
    size = config.hyperparameters.batch_size
    if device != "cpu" or config.devices > 1:
        return size
    fitting = CPU_PIXELS // config.input.image_size**2
    return min(size, max(MIN_CPU_BATCH, min(MAX_CPU_BATCH, fitting)))
