"""How a network makes its features, and what their mean over its own domain then is.

Batch normalization stores, for each channel, what its output looks like over the training images:
mean β and standard deviation |γ|. Where normalization, activation and global average pooling stand
directly before the head, the mean feature is E[act(z)] with z ~ N(β, γ²): no image is needed. The
normal shape is the one assumption.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.backbones.backbone import Backbone
from kintune.backbones.heads import penultimate_features
from kintune.backbones.moments import (
    ACTIVATIONS,
    expected_activation,
    has_statistics,
    output_moments,
)
from kintune.backbones.residuals import carried_mean
from kintune.base.errors import ModelError

TOLERANCE = 1e-4


@dataclass(frozen=True)
class MeanFeature:
    """The mean of the features over the domain that a network was trained on."""

    values: Tensor | None
    """float64 (d,); None where the network's last layers do not give it."""
    note: str
    """How it was found, or why it was left out."""


def mean_feature(backbone: Backbone) -> MeanFeature:
    """The mean feature of the source domain, from the last normalization's statistics.

    Exact in kind for normalization -> activation -> average pooling -> head. Where a residual sum
    stands there (ResNet), moments are carried through the last stage, or the mean is left out.

    Raises:
        ModelError: the network ends in another way.
    """
    name_of_norm, norm = _last_norm(backbone)
    features, z = _features_of_known_input(backbone, norm)
    for name, activation in ACTIVATIONS.items():
        if _equal(features, activation(z).mean(dim=(2, 3))):
            values = expected_activation(name, *output_moments(norm))
            note = f"mean feature from the last normalization's statistics through {name}"
            return MeanFeature(values, note)
    carried = carried_mean(backbone.network, name_of_norm, partial(_probe, backbone))
    if carried is not None:
        return MeanFeature(
            carried,
            "mean feature approximate: moments carried through the residual sums of the last stage",
        )
    if _ends_in_residual_sum(backbone, norm):
        return MeanFeature(None, "mean feature left out: the network ends in a residual sum")
    raise ModelError(
        f"{backbone.name}: the head's rows give the source classes only where normalization, "
        "activation and average pooling stand directly before it, and here they do not. Pass "
        "--source with a folder of source images or a prototype file."
    )


def _last_norm(backbone: Backbone) -> tuple[str, nn.BatchNorm2d]:
    """The normalization that is called last, with its dotted path."""
    called: list[str] = []
    norms = {
        name: module for name, module in backbone.network.named_modules() if has_statistics(module)
    }
    hooks = [
        module.register_forward_pre_hook(partial(_remember, called, name))
        for name, module in norms.items()
    ]
    try:
        _probe(backbone)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise ModelError(
            f"{backbone.name}: has no batch normalization, whose statistics would give its mean "
            "feature. Pass --source with a folder of source images or a prototype file."
        )
    return called[-1], norms[called[-1]]


def _remember(called: list[str], name: str, _norm: nn.Module, _inputs: object) -> None:
    called.append(name)


def _features_of_known_input(backbone: Backbone, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Features (1, d) when the last normalization is fed noise, and its output z (1, d, h, w).

    The noise is ten times as wide as the domain's, so that z reaches every piece of an activation.
    """
    outputs: list[Tensor] = []

    def feed(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        mean, variance = _of(norm.running_mean), _of(norm.running_var)
        noise = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1))
        x = mean[:, None, None] + 10 * variance.sqrt()[:, None, None] * noise
        outputs.append(F.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps))
        return (x,)

    handle = norm.register_forward_pre_hook(feed)
    try:
        return _probe(backbone), outputs[-1]
    finally:
        handle.remove()


def _ends_in_residual_sum(backbone: Backbone, norm: nn.BatchNorm2d) -> bool:
    """Whether features = pool(relu(z + what another path adds)).

    Then, where z is far above zero, a change of it passes unchanged, and where it is far below,
    nothing passes.
    """
    first, first_z = _features_of_known_output(backbone, norm, offset=1e3, seed=1)
    if first.shape != first_z.shape[:2]:
        return False
    second, second_z = _features_of_known_output(backbone, norm, offset=1e3, seed=2)
    below, _ = _features_of_known_output(backbone, norm, offset=-1e4, seed=1)
    passes = torch.allclose(first - second, (first_z - second_z).mean(dim=(2, 3)), atol=1)
    return passes and bool((below.abs() < 1).all())


def _features_of_known_output(
    backbone: Backbone, norm: nn.BatchNorm2d, offset: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Features (1, d) when the last normalization gives noise around `offset`, and the noise."""
    outputs: list[Tensor] = []

    def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        noise = torch.rand(output.shape, generator=torch.Generator().manual_seed(seed))
        outputs.append(offset + abs(offset) / 2 * noise)
        return outputs[-1]

    handle = norm.register_forward_hook(replace)
    try:
        return _probe(backbone), outputs[-1]
    finally:
        handle.remove()


def _probe(backbone: Backbone) -> Tensor:
    size = backbone.input.image_size
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return penultimate_features(backbone.network.eval(), backbone.head_name, image)[0]


def _equal(features: Tensor, expected: Tensor) -> bool:
    if features.shape != expected.shape:
        return False
    scale = float(expected.abs().max())
    return torch.allclose(features, expected, rtol=TOLERANCE, atol=TOLERANCE * scale)


def _of(tensor: Tensor | None) -> Tensor:
    """A tensor of an affine normalization with running statistics: it is there."""
    if tensor is None:
        raise ModelError("the last normalization has no weights or no running statistics.")
    return tensor.detach()
