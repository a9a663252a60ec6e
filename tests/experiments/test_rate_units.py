import pytest
import torch
from torch import nn

from kintune.backbones import load_backbone, trust_ratio
from kintune.experiments.rate_units import SHIPPED_UNIT, rate_units, squared_filter_norm


def test_the_unit_that_ships_is_the_trust_ratio_and_the_least_of_its_kind():
    backbone = load_backbone("pocket")
    units = rate_units(backbone)
    assert units[SHIPPED_UNIT] == trust_ratio(backbone)
    assert units[SHIPPED_UNIT] < units["10th percentile of trust ratios"]
    assert units["10th percentile of trust ratios"] < units["median trust ratio"]
    assert units["1 / root of all squared turns"] < units[SHIPPED_UNIT]
    assert units["none"] == 1.0


def test_the_filter_norm_is_the_harmonic_mean_of_the_layers_medians():
    network = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1))
        network[2].weight.fill_(1.0)
    # Medians of the squared norms: 4 and 3.
    assert squared_filter_norm(network) == pytest.approx(2 / (1 / 4 + 1 / 3))
    assert squared_filter_norm(nn.Linear(2, 2)) == 1.0
