"""The largest stable learning rate of a network, up to a factor, measured without images."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kintune.backbones.backbone import Backbone
from kintune.backbones.heads import penultimate_features
from kintune.base.errors import ModelError

MAX_BATCHES = 8
"""One alone strays, the more the smaller the images."""
IMAGES = 32
"""In a batch, as in a usual step: batch statistics of fewer make gradients larger."""
MIN_IMAGES = 2
MAX_PIXELS = IMAGES * 96**2
"""In a batch: of larger images there are fewer, and each brings more to the statistics."""
PIXELS = 2**20
"""In all batches, about."""
DIGITS = 3
"""That are kept: processors round differently."""


def trust_ratio(backbone: Backbone, device: str = "cpu") -> float:
    """Effective rate at which one step would change the network's fastest layer by its own length:
    the least of `trust_ratios`.

    Args:
        backbone: stays as it is.
        device: where it is measured.

    Returns:
        A positive number, to three digits, in units of a learning rate.

    Raises:
        ModelError: no layer can be measured.
    """
    ratios = trust_ratios(backbone, device)
    if not ratios:
        raise ModelError(
            f"{backbone.name}: nothing can be recommended for it, because the gradient of its "
            "features is zero or not finite in every convolution and linear layer before the head. "
            "Take another network, or choose the rates: kintune search --no-recommendation."
        )
    return float(f"{min(ratios.values()):.{DIGITS}g}")


def trust_ratios(backbone: Backbone, device: str = "cpu") -> dict[str, float]:
    """‖W‖ / ‖∇W‖ of each convolution and linear layer before the head, by dotted path.

    This is what LARS scales a layer's rate with (You et al. 2017, arXiv:1708.03888), since called
    its trust ratio. A step of effective rate η' changes W by η' ‖∇W‖ / ‖W‖ of its length. With
    normalization behind, that is an angle, and all that counts: c W has the gradient ∇W / c and
    is stable up to c² times the rate (section 3.3: η' / |θ|² acts).

    The images are noise with the spectrum of photographs (amplitude 1/f; Field 1987) and the loss
    is the features' product with random directions, over their length: this is a property of the
    network, whatever the target. Normalization takes batch statistics, as in training.

    Args:
        backbone: stays as it is.
        device: where the passes run, one forward and one backward for each of up to eight batches.

    Returns:
        Positive numbers in units of a learning rate, geometric means of the batches. Layers whose
        gradient is zero or not finite are left out, and those whose weight is computed from others.
    """
    network = _with_batch_statistics(backbone.network)
    network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    weights = dict(_weights(network, backbone.head_name))
    logs = dict.fromkeys(weights, 0.0)
    generator = torch.Generator().manual_seed(0)
    size = backbone.input.image_size
    images = max(MIN_IMAGES, min(IMAGES, MAX_PIXELS // size**2))
    batches = max(1, min(MAX_BATCHES, PIXELS // (images * size**2))) if weights else 0
    for _ in range(batches):
        network.zero_grad()
        batch = _noise(images, size, generator).to(device)
        features, _ = penultimate_features(network, backbone.head_name, batch)
        _random_product(features, generator).backward()
        for name, weight in weights.items():
            logs[name] += _log_ratio(weight) / batches
    return {name: math.exp(log) for name, log in logs.items() if math.isfinite(log)}


def _with_batch_statistics(network: nn.Module) -> nn.Module:
    """A copy in which normalization alone is in training mode: nothing is dropped."""
    found = copy.deepcopy(network).eval().requires_grad_(requires_grad=True)
    for module in found.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.training = True  # not train(): timm's hold what drops activations
    return found


def _weights(network: nn.Module, head_name: str) -> Iterator[tuple[str, Tensor]]:
    """Weights of the layers that make features, with their names."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name != head_name:
            weight = module.weight
            if weight.is_leaf:  # else it is computed from others
                yield name, weight


def _noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`count` images of noise with amplitudes in proportion to 1/f, float32 (b, 3, size, size),
    each with mean 0 and deviation 1, as a network's normalized input has."""
    across, down = torch.fft.rfftfreq(size), torch.fft.fftfreq(size)
    squared = across.square() + down.square()[:, None]
    white = torch.randn(count, 3, size, size, generator=generator)
    spectrum = torch.fft.rfft2(white) / squared.clamp(min=1 / size**2).sqrt()
    images = torch.fft.irfft2(spectrum, s=(size, size))
    mean, deviation = images.mean((1, 2, 3), keepdim=True), images.std((1, 2, 3), keepdim=True)
    return (images - mean) / deviation


def _random_product(features: Tensor, generator: torch.Generator) -> Tensor:
    """Product of each image's features (b, d), in units of their length, with a random direction: a
    scalar whose gradient is as large as that of one image."""
    directions = torch.randn(features.shape, generator=generator).to(features)
    directions = nn.functional.normalize(directions, dim=1)
    lengths = features.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (directions * features / lengths).sum() / math.sqrt(len(features))


def _log_ratio(weight: Tensor) -> float:
    """Infinite where it says nothing."""
    if weight.grad is None:
        return math.inf
    size, slope = float(weight.detach().norm()), float(weight.grad.norm())
    return math.log(size / slope) if 0 < size < math.inf and 0 < slope < math.inf else math.inf
