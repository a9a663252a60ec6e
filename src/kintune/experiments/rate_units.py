"""Units by which a rate could be divided so that those of different networks compare.

`kintune.backbones.trust_ratio` is one of these; the reference study says what each is worth.
"""

import math

import numpy as np
import torch
from torch import nn

from kintune.backbones import Backbone, trust_ratios

SHIPPED_UNIT = "least trust ratio"
DIGITS = 3


def rate_units(backbone: Backbone) -> dict[str, float]:
    """By name, positive numbers to three digits; seconds on a processor."""
    ratios = np.array(list(trust_ratios(backbone).values()))
    turns = 1 / ratios  # of each layer under a rate of 1, radians while they are small
    units = {
        SHIPPED_UNIT: ratios.min(),
        "10th percentile of trust ratios": np.quantile(ratios, 0.1),
        "1 / root mean square turn": 1 / np.sqrt(np.mean(turns**2)),
        "1 / root of all squared turns": 1 / np.sqrt(np.sum(turns**2)),
        "median trust ratio": np.median(ratios),
        "squared filter norm": squared_filter_norm(backbone.network),
        "none": 1.0,
    }
    return {name: float(f"{unit:.{DIGITS}g}") for name, unit in units.items()}


@torch.no_grad()
def squared_filter_norm(network: nn.Module) -> float:
    """Harmonic mean over the convolutions of the median squared norm of their filters; 1.0 without
    convolutions. With normalization behind a convolution η' / |θ|² is what acts (section 3.3; van
    Laarhoven 2017, arXiv:1706.05350)."""
    squared = [
        float(module.weight.flatten(1).square().sum(dim=1).median())
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    if not squared:
        return 1.0
    return len(squared) / math.fsum(1 / max(value, 1e-12) for value in squared)
