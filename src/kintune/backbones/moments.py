"""Means and spreads of channels, z ~ N(mean, std²), through what stands behind a normalization."""

from collections.abc import Callable
from math import pi
from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERMITE_NODES = 64

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "no activation": lambda z: z,
    "ReLU": F.relu,
    "ReLU6": F.relu6,
    "SiLU": F.silu,
    "Hardswish": F.hardswish,
    "GELU": F.gelu,
    "Mish": F.mish,
    "LeakyReLU": F.leaky_relu,
}


def has_statistics(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a batch normalization that knows what its output looks like."""
    return isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats


def output_moments(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean β and standard deviation of a normalization's output over its training images.

    Returns:
        Both float64 (d,).
    """
    assert norm.running_var is not None  # `has_statistics`
    variance = norm.running_var.double()
    # Epsilon keeps the output's spread below |γ| where a channel hardly varies.
    std = norm.weight.detach().double().abs() * (variance / (variance + norm.eps)).sqrt()
    return norm.bias.detach().double(), std


def expected_activation(name: str, mean: Tensor, std: Tensor) -> Tensor:
    """E[act(z)], z ~ N(mean, std²), for each channel, float64 (d,).

    Closed form for piecewise linear activations of the table, else Gauss-Hermite quadrature.

    >>> zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    >>> round(expected_activation("ReLU", zero, one).item(), 6)  # 1 / sqrt(2 pi)
    0.398942

    Raises:
        KeyError: an activation that is not in `ACTIVATIONS`.
    """
    if name == "no activation":
        return mean
    if name == "ReLU":
        return rectified_moments(mean, std)[0]
    if name == "ReLU6":
        return rectified_moments(mean, std)[0] - rectified_moments(mean - 6, std)[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_NODES)
    z = mean + std * torch.from_numpy(nodes)[:, None]
    return torch.from_numpy(weights / weights.sum()) @ ACTIVATIONS[name](z)


def rectified_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of max(z, 0), z ~ N(mean, std²), for each channel, (d,)."""
    std = std.clamp(min=1e-12)
    ratio = mean / std
    above = torch.special.ndtr(ratio)
    density = torch.exp(-ratio.square() / 2) / (2 * pi) ** 0.5
    rectified = mean * above + std * density
    square = (mean.square() + std.square()) * above + mean * std * density
    return rectified, (square - rectified.square()).clamp(min=0).sqrt()
