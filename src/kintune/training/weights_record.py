"""Record of the weights through training: norms, penalties, how far a rate turns them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - their only common base

from kintune.training.optimizers import NesterovSGD


class WeightFacts(NamedTuple):
    """See the fields of the same names in `kintune.training.metrics.EpochMetrics`."""

    weight_norm: float
    normalised_l2: float | None
    normalised_penalty: float | None
    effective_lr_per_squared_norm: float | None


@dataclass(frozen=True)
class WeightsRecord:
    """Reads the trained weights of a run, as they are held between steps (θ + m v), against their
    values at its start."""

    optimizer: NesterovSGD
    parameters: Sequence[Tensor]
    scale_invariant: Sequence[Tensor]
    start_l2: float
    start_penalty: float

    @classmethod
    def at_start(cls, network: nn.Module, optimizer: NesterovSGD) -> "WeightsRecord":
        """The record of a run whose network holds its starting weights."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        return cls(
            optimizer=optimizer,
            parameters=parameters,
            scale_invariant=scale_invariant_weights(network),
            start_l2=_squared_norm(parameters),
            start_penalty=_penalty(optimizer),
        )

    def now(self, effective_lr: float) -> WeightFacts:
        """The facts at the present weights.

        Args:
            effective_lr: η' of the last step.
        """
        squared = _squared_norm(self.parameters)
        invariant = _squared_norm(self.scale_invariant)
        return WeightFacts(
            weight_norm=squared**0.5,
            normalised_l2=_ratio(squared, self.start_l2),
            normalised_penalty=_ratio(_penalty(self.optimizer), self.start_penalty),
            effective_lr_per_squared_norm=_ratio(effective_lr, invariant),
        )


def scale_invariant_weights(network: nn.Module) -> list[Tensor]:
    """Trained weights of which only the direction matters, for batch normalization divides their
    norm out again: those of convolutions without bias, in a network that normalizes batches. They
    are so together; one alone is not where its output meets another's in a sum.

    A convolution without bias is how such networks mark that normalization follows.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return []
    return [
        module.weight
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.bias is None and module.weight.requires_grad
    ]


def _squared_norm(tensors: Sequence[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.stack([t.detach().double().square().sum() for t in tensors]).sum())


def _penalty(optimizer: NesterovSGD) -> float:
    decaying = [p for group in optimizer.param_groups if group["decays"] for p in group["params"]]
    if optimizer.regularizer is None or not decaying:
        return 0.0
    return float(optimizer.regularizer.value(decaying))


def _ratio(value: float, start: float) -> float | None:
    return value / start if start else None
