"""What a rate could be divided by so that those of different networks compare.

`kintune.backbones.trust_ratio` is one of these; the reference study says what each is worth.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from kintune.backbones import Backbone, trust_ratio, trust_ratios

SHIPPED_UNIT = "least trust ratio"
NO_UNIT = "none"


def rate_units(backbone: Backbone) -> dict[str, float]:
    """By name, positive numbers; seconds on a processor."""
    ratios = np.array(list(trust_ratios(backbone).values()))
    return {
        SHIPPED_UNIT: trust_ratio(backbone),
        **{name: float(f"{unit:.3g}") for name, unit in _other_units(backbone, ratios).items()},
        NO_UNIT: 1.0,
    }


def _other_units(backbone: Backbone, ratios: np.ndarray) -> Mapping[str, float]:
    return {
        "tenth of the trust ratios": float(np.quantile(ratios, 0.1)),
        "root mean square turn of a layer": float(np.mean(ratios**-2.0) ** -0.5),
        "root of all squared turns": float(np.sum(ratios**-2.0) ** -0.5),
        "median trust ratio": float(np.median(ratios)),
        "squared filter norm": squared_filter_norm(backbone.network),
    }


@torch.no_grad()
def squared_filter_norm(network: nn.Module) -> float:
    """Harmonic mean over the convolutions of the median squared norm of their filters; 1.0 without
    convolutions. With normalisation behind a convolution η' / |θ|² is what acts (section 3.3; van
    Laarhoven 2017, arXiv:1706.05350)."""
    squared = [
        float(module.weight.flatten(1).square().sum(dim=1).median())
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    if not squared:
        return 1.0
    return len(squared) / math.fsum(1 / max(value, 1e-12) for value in squared)
