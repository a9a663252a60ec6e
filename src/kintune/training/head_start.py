"""A new head that starts as a linear classifier of the frozen features.

From random weights a head needs steps before it says anything, at rates that a pretrained network
bears often more of them than there are; and until it does, what flows back through it moves the
features anyhow (Kumar et al. 2022, "Fine-tuning can distort pretrained features"). A classifier of
the features as they are takes about as long as an epoch of forward passes.

The features have to be those that training sees. Where batches are normalised by their own
statistics and the images are unlike the source's, these differ from the features of evaluation in
scale: a head for the one would be far too large for the other.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.arrays import IndexArray
from kintune.backbones import Backbone, normalised, penultimate_features
from kintune.datasets import ImageDataset
from kintune.datasets.transforms import centre_crops, shuffled
from kintune.runs import RunConfig
from kintune.training.batch_norm import measuring_mode
from kintune.training.replicas import replicas
from kintune.training.steps import batch_bounds, labels_of

MOST_IMAGES = 5000
"""Of more, so many are drawn, evenly from the classes: the head only starts from them."""
PENALTY = 0.1
"""Weight of half the squared norm of the head against the summed loss, for features whose mean
squared distance from their mean is 1."""
MOST_STEPS = 100
"""Of L-BFGS, which needs fewer on most images."""
REMEMBERED_STEPS = 10
"""From which L-BFGS estimates curvature; each takes twice the memory of the head, in float64."""


def head_start_images(dataset: ImageDataset, config: RunConfig) -> int:
    """How many images pass through the network before the first step."""
    if config.hyperparameters.head_start == "random":
        return 0
    return min(MOST_IMAGES, len(dataset.splits["train"]))


def start_head(
    network: nn.Module, backbone: Backbone, dataset: ImageDataset, config: RunConfig
) -> None:
    """Give the network's head the weights of multinomial logistic regression on its features.

    The features are of central crops in one pass over the training images, in the order of the
    first epoch and in batches of a device's size. Replicas take the first one's head.

    Args:
        network: with a head for the data set's classes, on the device it trains on. Nothing but
            the head changes.
        backbone: where it comes from.
        dataset: its `train` split is used.
        config: of the run.
    """
    here, head = replicas(), network.get_submodule(backbone.head_name)
    found = here.from_first(_fit(network, backbone, dataset, config) if here.is_first else {})
    with torch.no_grad():
        for name, value in found.items():
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
    order = shuffled(dataset.splits["train"], config.seed, 0)
    order = order[first_of_each_class(dataset.labels[order], MOST_IMAGES)]
    share = -(-config.hyperparameters.batch_size // replicas().count)
    size = min(config.micro_batch_size or share, share)
    found: list[Tensor] = []
    with torch.inference_mode():
        for first, last in batch_bounds(len(order), size):
            crops = centre_crops(dataset.images, order[first:last], config.input.image_size)
            batch = normalised(crops.to(device), config.input)
            features, _ = penultimate_features(measured, backbone.head_name, batch)
            found.append(features.double())
    return torch.cat(found), labels_of(dataset, order).to(device)


def first_of_each_class(labels: IndexArray, most: int) -> IndexArray:
    """Places of the first labels of each class, equally many where there are, `most` in all but at
    least one of each; in their order.

    >>> first_of_each_class(np.array([7, 7, 7, 5, 7, 5]), 3)
    array([0, 1, 3])
    """
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    number = np.empty_like(by_class)
    number[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.sort(np.argsort(number, kind="stable")[: max(most, len(counts))])


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
        [weight, bias],
        max_iter=MOST_STEPS,
        history_size=REMEMBERED_STEPS,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = F.cross_entropy(F.linear(features, weight, bias), labels)
        total = fit + PENALTY / (2 * images) * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach(), bias.detach()
