"""How long a run will take, from timing a few of its steps."""

import math
import time
from itertools import chain, count, islice

import torch

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.errors import is_out_of_memory
from kintune.runs import RunConfig
from kintune.training.batch_norm import train_mode
from kintune.training.head_start import head_start_images
from kintune.training.loop import epochs_between_evaluations, forward_share
from kintune.training.memory import halved_micro_batch
from kintune.training.schedules import total_steps
from kintune.training.start import run_conditions, starting_state
from kintune.training.steps import Batch, batch_bounds, training_batches, training_step

TIMED_STEPS = 3


def estimate_seconds(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str = "cpu"
) -> float | None:
    """Seconds that `fine_tune` will take, from a few real steps on a copy that is thrown away.

    Loading and decoding are not in it, nor fitting a head to features once they are there, nor what
    replicas say to each other; what else the machine is doing now is.

    Returns:
        None where not even micro-batches fit into the device's memory.
    """
    settings, devices = config.hyperparameters, config.devices
    train_images, val_images = (len(dataset.splits[split]) for split in ("train", "val"))
    steps_per_epoch = len(batch_bounds(train_images, settings.batch_size, devices))
    seen = train_images * total_steps(settings, steps_per_epoch) / steps_per_epoch
    evaluations = math.ceil(settings.epochs / epochs_between_evaluations(dataset, config))
    forward = evaluations * val_images + head_start_images(dataset, config)
    work = seen / devices + forward * forward_share(config)
    micro_batch_size = config.micro_batch_size
    while True:
        try:
            return work * _seconds_per_image(backbone, dataset, config, device, micro_batch_size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            before = micro_batch_size or -(-settings.batch_size // devices)
            try:
                micro_batch_size = halved_micro_batch(before, error)
            except MemoryError:
                return None


def _seconds_per_image(
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    device: str,
    micro_batch_size: int | None,
) -> float:
    """Of augmentation and training step together, after one step to warm up."""
    random_head = config.hyperparameters.replace(head_start="random")
    config = config.replace(hyperparameters=random_head)
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
        began, images = time.monotonic(), 0
        for batch in islice(batches, TIMED_STEPS):
            step(batch)
            images += len(batch.labels)
        return (time.monotonic() - began) / images
