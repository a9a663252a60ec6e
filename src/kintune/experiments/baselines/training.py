"""A training with an optimizer of its own: the engine's start, batches and evaluation, in a loop
that is small because it keeps no checkpoints. A run that is killed begins again."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.experiments.baselines.methods import OwnOptimizer
from kintune.runs import RunConfig
from kintune.training import batch_bounds, evaluate, replicas
from kintune.training.batch_norm import train_mode
from kintune.training.loop import DivergedError, require_sane, seed_of_step
from kintune.training.schedules import lr_factor
from kintune.training.start import run_conditions, starting_network
from kintune.training.steps import Batch, training_batches

if TYPE_CHECKING:
    from dog import PolynomialDecayAverager


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Top-1 errors of one set of weights at the end of training, fractions."""

    validation: float
    test: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How such a training ended."""

    train_losses: tuple[float, ...]
    """Mean of each epoch that was finished."""
    seconds: float
    last: Errors | None = None
    """Errors of the weights after the last step; None where training diverged."""
    averaged: Errors | None = None
    """Errors of the average that the method's authors score; None where they score the last
    weights."""
    reason: str | None = None
    """Why it diverged."""


def train_with(
    own: OwnOptimizer,
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    device: str = "cpu",
) -> Trained:
    """Train as the configuration says, but for the update, which is the optimizer's."""
    began, losses = time.monotonic(), list[float]()
    last = averaged = reason = None
    with run_conditions(config, device):
        network = starting_network(backbone, len(dataset.classes), config, device)
        loop = _Loop(
            network=network,
            optimizer=own.make(
                [p for p in network.parameters() if p.requires_grad], config.hyperparameters
            ),
            averager=_averager(network) if own.is_averaged else None,
            dataset=dataset,
            config=config,
            device=torch.device(device),
        )
        try:
            for epoch in range(config.hyperparameters.epochs):
                losses.append(loop.epoch_loss(epoch))
                require_sane(losses[-1], epoch, len(dataset.classes))
            last = loop.errors(network)
            averaged = loop.averager and loop.errors(loop.averager.averaged_model)
        except DivergedError as end:
            last, reason = None, str(end)
    return Trained(
        train_losses=tuple(losses),
        seconds=time.monotonic() - began,
        last=last,
        averaged=averaged,
        reason=reason,
    )


@dataclass(frozen=True, kw_only=True)
class _Loop:
    network: nn.Module
    optimizer: Optimizer
    averager: "PolynomialDecayAverager | None"
    dataset: ImageDataset
    config: RunConfig
    device: torch.device

    def epoch_loss(self, epoch: int) -> float:
        """Train one epoch; the mean loss over its images."""
        settings = self.config.hyperparameters
        images = len(self.dataset.splits["train"])
        steps = len(batch_bounds(images, settings.batch_size))
        train_mode(self.network, self.config)
        total = 0.0
        batches = training_batches(self.dataset, self.config, epoch, 0, self.device)
        for step, batch in enumerate(batches, start=epoch * steps):
            for group in self.optimizer.param_groups:
                group["lr"] = settings.lr * lr_factor(settings, step, steps)
            torch.manual_seed(seed_of_step(self.config.seed, step, replicas()))
            total += self._step(batch, step) * len(batch.labels)
        return total / images

    def _step(self, batch: Batch, step: int) -> float:
        """One update; the batch's mean loss before it."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(batch.images).float(), batch.labels)
        if not math.isfinite(loss.item()):  # DoG fails on a gradient that is not finite
            raise DivergedError(f"the training loss was not finite in step {step + 1}")
        loss.backward()
        self.optimizer.step()
        if self.averager is not None:
            self.averager.step()
        return loss.item()

    def errors(self, network: nn.Module) -> Errors:
        """The errors of finished weights, the test split read once."""
        spec = self.config.input
        validation = evaluate(network, self.dataset, "val", spec, self.device)
        if not math.isfinite(validation.loss):
            raise DivergedError("the validation loss at the end was not finite")
        test = evaluate(network, self.dataset, "test", spec, self.device)
        return Errors(validation=validation.top1_error, test=test.top1_error)


def _averager(network: nn.Module) -> "PolynomialDecayAverager":
    from dog import PolynomialDecayAverager

    return PolynomialDecayAverager(network)
