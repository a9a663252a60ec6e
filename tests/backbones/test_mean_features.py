import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from torch import nn

from kintune.backbones import (
    Backbone,
    BackboneOverrides,
    load_backbone,
    mean_feature,
    penultimate_features,
)
from kintune.backbones.moments import ACTIVATIONS, expected_activation, rectified_moments
from kintune.base.errors import ModelError

SMALL = BackboneOverrides(image_size=32)


def with_statistics(backbone: Backbone) -> Backbone:
    """Random statistics in every normalization, so that nothing holds by accident."""
    generator = torch.Generator().manual_seed(0)

    def draw(size: int) -> torch.Tensor:
        return torch.rand(size, generator=generator)

    for module in backbone.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.weight = nn.Parameter(draw(size) + 0.5)
            module.bias = nn.Parameter(draw(size) - 0.5)
            module.running_mean = draw(size) - 0.5
            module.running_var = draw(size) + 0.5
    return backbone


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.5, 0.7), (4.0, 3.0)])
def test_expected_activation_against_integration(name, mean, std):
    def integrand(z: float) -> float:
        density = math.exp(-(((z - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
        return ACTIVATIONS[name](torch.tensor(z, dtype=torch.float64)).item() * density

    expected, _ = quad(integrand, mean - 10 * std, mean + 10 * std, points=[-3, 0, 3, 6])
    moments = (torch.tensor([value], dtype=torch.float64) for value in (mean, std))
    # Quadrature at 64 nodes is less sure where an activation has a kink.
    tolerance = 1e-6 if "ReLU" in name and name != "LeakyReLU" else 1e-2
    assert expected_activation(name, *moments).item() == pytest.approx(expected, abs=tolerance)


def test_a_channel_that_never_varies_gives_its_own_activation():
    mean, std = torch.tensor([-1.0, 2.0]).double(), torch.zeros(2).double()
    assert expected_activation("ReLU", mean, std).tolist() == pytest.approx([0, 2])


@pytest.mark.parametrize(
    ("model", "activation"),
    [
        ("pocket", "ReLU"),
        ("mobilenetv2_035", "ReLU6"),
        ("densenet121", "ReLU"),  # timm's joined normalization and activation
        ("torchvision:densenet121", "ReLU"),  # a functional activation
        ("resnetv2_18", "ReLU"),
        ("efficientnet_b0", "SiLU"),
    ],
)
def test_activation_is_recognized(model, activation):
    mean = mean_feature(with_statistics(load_backbone(model, pretrained=False, overrides=SMALL)))
    assert mean.note.endswith(f"through {activation}")


def test_mean_feature_is_the_mean_over_what_the_statistics_describe():
    """Features of normally distributed inputs of the last normalization, averaged."""
    backbone = with_statistics(load_backbone("pocket", pretrained=False))
    norm = backbone.network.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm2d)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(20_000, 192, 1, 1)).astype(np.float32))
    x = norm.running_mean[:, None, None] + norm.running_var.sqrt()[:, None, None] * x
    with torch.inference_mode():
        measured = norm.eval()(x).relu().mean(dim=(0, 2, 3))
    values = mean_feature(backbone).values
    assert values is not None
    torch.testing.assert_close(values, measured.double(), rtol=0, atol=0.03)


def smooth_images(count: int, generator: torch.Generator) -> torch.Tensor:
    """(count, 3, 48, 48), with structure at four scales."""
    noise = (torch.randn(count, 3, side, side, generator=generator) for side in (2, 4, 8, 16))
    return torch.stack([F.interpolate(each, (48, 48), mode="bilinear") for each in noise]).sum(0)


@pytest.mark.parametrize("model", ["torchvision:resnet18", "resnet50"])
def test_moments_carried_through_residual_sums_are_near_the_measured_mean(model):
    """With statistics of the network's own signals, as after training, and drawn β and γ."""
    overrides = BackboneOverrides(image_size=48)
    backbone = with_statistics(load_backbone(model, pretrained=False, overrides=overrides))
    generator = torch.Generator().manual_seed(0)
    for module in backbone.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    with torch.inference_mode():
        backbone.network.train()
        for _ in range(3):
            backbone.network(smooth_images(24, generator))
        images = smooth_images(32, generator)
        features, _ = penultimate_features(backbone.network.eval(), backbone.head_name, images)

    mean = mean_feature(backbone)

    assert mean.note.startswith("mean feature approximate: moments carried through")
    assert mean.values is not None
    measured = features.double().mean(dim=0)
    assert torch.stack([mean.values, measured]).corrcoef()[0, 1] > 0.85  # 0.92 and 0.93
    assert (mean.values - measured).norm() < 0.2 * measured.norm()  # 0.12 of it


@pytest.mark.parametrize("model", ["resnet10t", "resnet18", "torchvision:resnet50"])
def test_residual_sums_of_both_libraries_are_recognized(model):
    mean = mean_feature(with_statistics(load_backbone(model, pretrained=False, overrides=SMALL)))
    assert mean.values is not None
    assert "residual sums of the last stage" in mean.note


def test_rectified_moments_against_draws():
    z = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for mean, std in ((0.0, 1.0), (-1.5, 0.7), (4.0, 3.0)):
        drawn = (mean + std * z).relu()
        moments = rectified_moments(torch.tensor([mean]).double(), torch.tensor([std]).double())
        assert [m.item() for m in moments] == pytest.approx(
            [drawn.mean().item(), drawn.std().item()], rel=0.02
        )


def test_residual_sums_of_other_stages_have_no_mean():
    mean = mean_feature(
        with_statistics(load_backbone("regnetx_002", pretrained=False, overrides=SMALL))
    )
    assert mean.values is None
    assert mean.note == "mean feature left out: the network ends in a residual sum"


@pytest.mark.parametrize("model", ["mobilenetv3_small_050", "legacy_seresnet18", "convnext_atto"])
def test_other_endings_are_refused(model):
    backbone = with_statistics(load_backbone(model, pretrained=False, overrides=SMALL))
    with pytest.raises(ModelError, match="Pass --source"):
        mean_feature(backbone)
