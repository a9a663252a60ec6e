"""A learning-rate range test: the rate grows through all orders in one short training.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017 (arXiv:1506.01186), section
3.3, lets the rate grow and looks at where training works. What is read off follows the form in
which it is mostly used, that of PyTorch Lightning's `lr_find` with all its defaults: 100 steps with
the rate growing exponentially from 1e-8 to 1, losses smoothed exponentially, and the rate at which
the smoothed loss falls most steeply, the first ten steps and the last left out.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.records import Record
from kintune.runs import RunConfig
from kintune.training.batch_norm import train_mode
from kintune.training.start import run_conditions, starting_state
from kintune.training.steps import Batch, training_batches, training_step

LOWEST_LR, HIGHEST_LR, STEPS = 1e-8, 1.0, 100
SMOOTHING = 0.98
"""Share of the smoothed loss that each step keeps."""
RUNAWAY = 4.0
"""The test ends when the smoothed loss is above this multiple of its least."""
SKIPPED_FIRST, SKIPPED_LAST = 10, 1


class RangeTest(Record):
    """Losses of a test, and the rate that it picks."""

    lr: float
    lrs: tuple[float, ...]
    """Learning rate of each step until the test ended."""
    losses: tuple[float, ...]
    """Loss of each step, smoothed, six significant digits."""
    seconds: float

    @property
    def steps(self) -> int:
        """Training steps that the test cost."""
        return len(self.lrs)


def growing_rates(steps: int) -> list[float]:
    """The learning rate of each step.

    >>> rates = growing_rates(5)
    >>> [f"{rate:.0e}" for rate in rates]
    ['1e-08', '1e-06', '1e-04', '1e-02', '1e+00']
    """
    growth = HIGHEST_LR / LOWEST_LR
    return [LOWEST_LR * growth ** (step / (steps - 1)) for step in range(steps)]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential means, each divided by the sum of its weights; they end where the loss runs away
    or is not finite.

    >>> [round(mean, 6) for mean in smoothed([2.0, 2.0, math.inf, 2.0])]
    [2.0, 2.0]
    """
    means: list[float] = []
    sum_so_far = 0.0
    for count, loss in enumerate(losses, start=1):
        sum_so_far = SMOOTHING * sum_so_far + (1 - SMOOTHING) * loss
        mean = sum_so_far / (1 - SMOOTHING**count)
        if not math.isfinite(mean) or (means and mean > RUNAWAY * min(means)):
            break
        means.append(mean)
    return means


def steepest(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the smoothed losses fall most from step to step.

    Raises:
        ValueError: fewer than two losses are left after those that are skipped.
    """
    kept = np.array(losses[SKIPPED_FIRST : len(losses) - SKIPPED_LAST])
    if len(kept) < 2:
        raise ValueError(f"the range test ended after {len(losses)} steps: too few to pick a rate")
    return lrs[SKIPPED_FIRST + int(np.gradient(kept).argmin())]


def range_test(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str = "cpu"
) -> RangeTest:
    """Test the rates from the start of a run, on the batches of its first epochs, with its update.

    The start is made anew for the run itself.
    """
    began = time.monotonic()
    lrs, losses = growing_rates(STEPS), list[float]()
    with run_conditions(config, device):
        state = starting_state(backbone, dataset, config, device)
        train_mode(state.network, config)
        batches = _endless_batches(dataset, config, device)
        for lr, batch in zip(lrs, batches, strict=False):
            for group in state.optimizer.param_groups:
                group["lr"] = lr * group["lr_factor"]
            losses.append(training_step(state.network, state.optimizer, batch).item())
            if len(smoothed(losses)) < len(losses):
                break
    found = smoothed(losses)
    return RangeTest(
        lr=steepest(lrs, found),
        lrs=tuple(lrs[: len(losses)]),
        losses=tuple(float(f"{loss:.6g}") for loss in found),
        seconds=time.monotonic() - began,
    )


def _endless_batches(dataset: ImageDataset, config: RunConfig, device: str) -> Iterator[Batch]:
    for epoch in itertools.count():
        yield from training_batches(dataset, config, epoch, 0, torch.device(device))
