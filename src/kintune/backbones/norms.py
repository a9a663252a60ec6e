"""How large the weights are on which a learning rate acts."""

import torch
from torch import nn


@torch.no_grad()
def squared_filter_norm(network: nn.Module) -> float:
    """Harmonic mean over the convolutions of the median squared norm of their filters.

    What a convolution with normalisation behind it computes does not depend on its norm, and a
    step turns its filters by an angle in proportion to η' / |θ|² (section 3.3; van Laarhoven 2017,
    arXiv:1706.05350). Under one rate the smallest filters are turned most, so they count most.

    Returns:
        A positive number without unit; 1.0 for a network without convolutions.
    """
    squared = [
        module.weight.flatten(1).square().sum(dim=1).median()
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    if not squared:
        return 1.0
    return float(1 / (1 / torch.stack(squared).double().clamp(min=1e-12)).mean())
