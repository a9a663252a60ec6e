import pytest
import torch
from torch import nn

from kintune.backbones import squared_filter_norm


def test_it_is_the_harmonic_mean_of_the_layers_medians():
    network = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1))
        network[2].weight.fill_(1.0)
    # Medians of the squared norms: 4 and 3.
    assert squared_filter_norm(network) == pytest.approx(2 / (1 / 4 + 1 / 3))


def test_scaling_the_weights_scales_it_by_the_square():
    network = nn.Conv2d(3, 8, 3)
    before = squared_filter_norm(network)
    with torch.no_grad():
        network.weight.mul_(3)
    assert squared_filter_norm(network) == pytest.approx(9 * before, rel=1e-6)


def test_a_network_without_convolutions_has_one():
    assert squared_filter_norm(nn.Linear(2, 2)) == 1.0
