"""How a network makes its features, and what their mean over its own domain then is.

Batch normalisation stores, for each channel, what its output looks like over the training images:
mean β and standard deviation |γ|. Where normalisation, activation and global average pooling stand
directly before the head, the mean feature is E[act(z)] with z ~ N(β, γ²): no image is needed. The
normal shape is the one assumption.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.backbones.backbone import Backbone
from kintune.backbones.heads import penultimate_features
from kintune.errors import ModelError

HERMITE_NODES = 64
TOLERANCE = 1e-4

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


@dataclass(frozen=True)
class MeanFeature:
    """The mean of the features over the domain that a network was trained on."""

    values: Tensor | None
    """float64 (d,); None where the network's ending does not give it."""
    note: str
    """How it was found, or why it was left out."""


def mean_feature(backbone: Backbone) -> MeanFeature:
    """The mean feature of the source domain, from the last normalisation's statistics.

    Exact in kind for normalisation -> activation -> average pooling -> head. After a residual sum
    (ResNet) the sum's moments are not stored anywhere: the mean is left out.

    Raises:
        ModelError: the network ends in another way.
    """
    norm = _last_norm(backbone)
    features, z = _features_of_known_input(backbone, norm)
    for name, activation in ACTIVATIONS.items():
        if _equal(features, activation(z).mean(dim=(2, 3))):
            values = expected_activation(name, *_moments(norm))
            note = f"mean feature from the last normalisation's statistics through {name}"
            return MeanFeature(values, note)
    if _ends_in_residual_sum(backbone, norm):
        return MeanFeature(None, "mean feature left out: the network ends in a residual sum")
    raise ModelError(
        f"{backbone.name}: the head's rows give the source classes only where normalisation, "
        "activation and average pooling stand directly before it, and here they do not. Pass "
        "--source with a folder of source images or a prototype file."
    )


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
        return _expected_relu(mean, std)
    if name == "ReLU6":
        return _expected_relu(mean, std) - _expected_relu(mean - 6, std)
    nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_NODES)
    z = mean + std * torch.from_numpy(nodes)[:, None]
    return torch.from_numpy(weights / weights.sum()) @ ACTIVATIONS[name](z)


def _expected_relu(mean: Tensor, std: Tensor) -> Tensor:
    std = std.clamp(min=1e-12)
    ratio = mean / std
    density = torch.exp(-ratio.square() / 2) / (2 * pi) ** 0.5
    return mean * torch.special.ndtr(ratio) + std * density


def _moments(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the normalisation's output over its training images."""
    variance = _of(norm.running_var).double()
    # Epsilon keeps the output's spread below |γ| where a channel hardly varies.
    std = _of(norm.weight).double().abs() * (variance / (variance + norm.eps)).sqrt()
    return _of(norm.bias).double(), std


def _last_norm(backbone: Backbone) -> nn.BatchNorm2d:
    called: list[str] = []
    norms = {
        name: module
        for name, module in backbone.network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats
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
            f"{backbone.name}: has no batch normalisation, whose statistics would give its mean "
            "feature. Pass --source with a folder of source images or a prototype file."
        )
    return norms[called[-1]]


def _remember(called: list[str], name: str, _norm: nn.Module, _inputs: object) -> None:
    called.append(name)


def _features_of_known_input(backbone: Backbone, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Features (1, d) when the last normalisation is fed noise, and its output z (1, d, h, w).

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
    """Features (1, d) when the last normalisation gives noise around `offset`, and the noise."""
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
    """A tensor of an affine normalisation with running statistics: it is there."""
    if tensor is None:
        raise ModelError("the last normalisation has no weights or no running statistics.")
    return tensor.detach()
