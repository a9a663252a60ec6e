"""A new head that starts as a linear classifier of the frozen features.

From random weights a head needs steps before it says anything, at rates that a pretrained network
bears often more of them than there are; and until it does, what flows back through it moves the
features anyhow (Kumar et al. 2022, "Fine-tuning can distort pretrained features"). A classifier of
the features as they are is known in seconds.

The features have to be those that training sees. Where batches are normalised by their own
statistics and the images are unlike the source's, these differ from the features of evaluation in
scale: a head for the one would be far too large for the other.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.backbones import Backbone, normalised, penultimate_features
from kintune.datasets import ImageDataset
from kintune.datasets.transforms import centre_crops, shuffled
from kintune.runs import RunConfig
from kintune.training.batch_norm import measuring_mode
from kintune.training.replicas import replicas
from kintune.training.steps import batch_bounds, labels_of

MOST_IMAGES = 5000
"""Of more, so many are drawn: the head only starts from them."""
PENALTY = 0.1
"""Weight of half the squared norm of the head against the summed loss, for features whose mean
squared distance from their mean is 1."""
MOST_STEPS = 100
"""Of L-BFGS, which needs fewer on most images."""


def start_head(
    network: nn.Module, backbone: Backbone, dataset: ImageDataset, config: RunConfig
) -> None:
    """Give the network's head the weights of multinomial logistic regression on its features.

    The features are of central crops in one pass over the training images, in the order and the
    batches of the first epoch. Replicas take the first one's head.

    Args:
        network: with a head for the data set's classes, on the device it trains on. Nothing but
            the head changes.
        backbone: where it comes from.
        dataset: its `train` split is used.
        config: of the run.
    """
    here, head = replicas(), network.get_submodule(backbone.head_name)
    found = here.from_first(_fit(network, backbone, dataset, config) if here.is_first else None)
    with torch.no_grad():
        for name, value in found.items() if found else ():
            parameter = head.get_parameter(name)
            parameter.copy_(value.reshape(parameter.shape))


def _fit(
    network: nn.Module, backbone: Backbone, dataset: ImageDataset, config: RunConfig
) -> dict[str, Tensor]:
    features, labels = _features(network, backbone, dataset, config)
    mean = features.mean(dim=0)
    centred = features - mean
    scale = centred.square().sum(dim=1).mean().sqrt().clamp(min=torch.finfo(features.dtype).tiny)
    weight, bias = logistic_regression(centred / scale, labels, len(dataset.classes))
    weight = weight / scale
    return {"weight": weight.cpu(), "bias": (bias - weight @ mean).cpu()}


def _features(
    network: nn.Module, backbone: Backbone, dataset: ImageDataset, config: RunConfig
) -> tuple[Tensor, Tensor]:
    """float64 (n, d) and their labels int64 (n,)."""
    measured = measuring_mode(copy.deepcopy(network), config)
    device = next(network.parameters()).device
    order = shuffled(dataset.splits["train"], config.seed, 0)[:MOST_IMAGES]
    size = min(config.micro_batch_size or len(order), config.hyperparameters.batch_size)
    found: list[Tensor] = []
    with torch.inference_mode():
        for first, last in batch_bounds(len(order), size):
            crops = centre_crops(dataset.images, order[first:last], config.input.image_size)
            batch = normalised(crops.to(device), config.input)
            features, _ = penultimate_features(measured, backbone.head_name, batch)
            found.append(features.double())
    return torch.cat(found), labels_of(dataset, order).to(device)


def logistic_regression(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weights and bias with the least summed cross-entropy plus `PENALTY` times half the weights'
    squared norm, by L-BFGS.

    Args:
        features: float64 (n, d), about as long as 1.
        labels: int64 (n,) in [0, classes).
        classes: K.

    Returns:
        float64 (K, d) and (K,).
    """
    images, width = features.shape
    weight = features.new_zeros(classes, width, requires_grad=True)
    bias = features.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=MOST_STEPS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = F.cross_entropy(F.linear(features, weight, bias), labels)
        total = fit + PENALTY / (2 * images) * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach(), bias.detach()
