"""A new head that starts as a linear classifier of the frozen features.

From random weights a head needs steps before it says anything, at rates that a pretrained network
bears often more of them than there are; and until it does, what flows back through it moves the
features anyhow (Kumar et al. 2022, "Fine-tuning can distort pretrained features"). A classifier of
the features as they are takes about as long as an epoch of forward passes.

The features have to be those that training sees. Where batches are normalized by their own
statistics and the images are unlike the source's, these differ from the features of evaluation in
scale: a head for the one would be far too large for the other.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.backbones import Backbone, normalized, penultimate_features
from kintune.base.arrays import IndexArray, LabelArray
from kintune.data import ImageDataset
from kintune.data.transforms import center_crops, shuffled
from kintune.runs import RunConfig
from kintune.training.batch_norm import measuring_mode
from kintune.training.replicas import replicas
from kintune.training.steps import batch_bounds, labels_of

MAX_IMAGES, MAX_IMAGES_FROZEN = 5000, 20_000
"""Images that a head is fitted to, drawn evenly from the classes where there are more: a head that
training starts from, and one that is the model."""
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Weights of half the squared norm of the head against the summed loss, for features whose mean
squared distance from their mean is 1. Cross-validation takes one of them."""
FOLDS = 3
MAX_CV_IMAGES = 2000
"""Images of the cross-validation: against a summed loss the best penalty hardly depends on them."""
MAX_ITERATIONS = 100
"""Iterations of L-BFGS, which needs fewer on most images."""
HISTORY_SIZE = 10
"""Updates that L-BFGS estimates curvature from; each takes twice the memory of the head."""


def head_start_images(dataset: ImageDataset, config: RunConfig) -> int:
    """How many images pass through the network before the first step."""
    if config.hyperparameters.head_start == "random":
        return 0
    return min(_max_images(config), len(dataset.splits["train"]))


def _max_images(config: RunConfig) -> int:
    return MAX_IMAGES if config.hyperparameters.epochs else MAX_IMAGES_FROZEN


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
    centered = features - mean
    scale = centered.square().sum(dim=1).mean().sqrt().clamp(min=torch.finfo(features.dtype).tiny)
    scaled, basis = _in_their_span(centered / scale)
    penalty = cross_validated_penalty(scaled, labels, len(dataset.classes))
    weight, bias = logistic_regression(scaled, labels, len(dataset.classes), penalty)
    weight = (weight @ basis.T if basis is not None else weight) / scale
    return {"weight": weight.cpu(), "bias": (bias - weight @ mean).cpu()}


def _in_their_span(features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Features (n, d) in an orthonormal basis of their span, (n, n), and the basis, (d, n); as they
    are, and None, where n is not less than d. A penalized head lies in the span."""
    if features.shape[0] >= features.shape[1]:
        return features, None
    basis = torch.linalg.qr(features.T).Q
    return features @ basis, basis


def _features(
    network: nn.Module, backbone: Backbone, dataset: ImageDataset, config: RunConfig
) -> tuple[Tensor, Tensor]:
    """float64 (n, d) and their labels int64 (n,)."""
    measured = measuring_mode(copy.deepcopy(network), config)
    device = next(network.parameters()).device
    order = shuffled(dataset.splits["train"], config.seed, 0)
    order = order[first_of_each_class(dataset.labels[order], _max_images(config))]
    share = -(-config.hyperparameters.batch_size // replicas().count)
    size = min(config.micro_batch_size or share, share)
    found: list[Tensor] = []
    with torch.inference_mode():
        for first, last in batch_bounds(len(order), size):
            crops = center_crops(dataset.images, order[first:last], config.input.image_size)
            batch = normalized(crops.to(device), config.input)
            features, _ = penultimate_features(measured, backbone.head_name, batch)
            found.append(features.double())
    return torch.cat(found), labels_of(dataset, order).to(device)


def first_of_each_class(labels: LabelArray, most: int) -> IndexArray:
    """Places of the first labels of each class, equally many where there are, `most` in all but at
    least one of each; in their order.

    >>> first_of_each_class(np.array([7, 7, 7, 5, 7, 5]), 3)
    array([0, 1, 3])
    """
    number = number_in_class(labels)
    return np.sort(np.argsort(number, kind="stable")[: max(most, len(np.unique(labels)))])


def number_in_class(labels: LabelArray) -> IndexArray:
    """How many equal labels stand before each.

    >>> number_in_class(np.array([7, 7, 7, 5, 7, 5]))
    array([0, 1, 2, 0, 3, 1])
    """
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    number = np.empty_like(by_class)
    number[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return number


def cross_validated_penalty(features: Tensor, labels: Tensor, classes: int) -> float:
    """The member of `PENALTIES` with the least cross-entropy on left-out images: `FOLDS`-fold,
    stratified, on the first images of each class, at most `MAX_CV_IMAGES` in all.

    Args:
        features: floating point (n, d), about as long as 1, in random order.
        labels: int64 (n,) in [0, classes).
        classes: K.
    """
    rows = first_of_each_class(labels.cpu().numpy(), MAX_CV_IMAGES)
    features, labels = features[rows].float(), labels[rows]
    fold = torch.from_numpy(number_in_class(labels.cpu().numpy()) % FOLDS).to(labels.device)
    losses = features.new_zeros(len(PENALTIES))
    for left_out in range(FOLDS):
        train, test = fold != left_out, fold == left_out
        if not test.any():
            continue
        head: tuple[Tensor, Tensor] | None = None
        for index, penalty in enumerate(PENALTIES):
            head = logistic_regression(features[train], labels[train], classes, penalty, head)
            logits = F.linear(features[test], *head)
            losses[index] += F.cross_entropy(logits, labels[test], reduction="sum")
    return PENALTIES[int(losses.argmin())]


def logistic_regression(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights and bias with the least summed cross-entropy plus `penalty` times half the squared
    norm of the weights, by L-BFGS.

    Args:
        features: floating point (n, d), about as long as 1.
        labels: int64 (n,) in [0, classes).
        classes: K.
        penalty: positive.
        start: weights and bias to start from; None for zero.

    Returns:
        (K, d) and (K,), in the dtype of the features.
    """
    images, width = features.shape
    weight, bias = start or (features.new_zeros(classes, width), features.new_zeros(classes))
    weight, bias = (value.clone().requires_grad_() for value in (weight, bias))
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        history_size=HISTORY_SIZE,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = F.cross_entropy(F.linear(features, weight, bias), labels)
        total = fit + penalty / (2 * images) * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach(), bias.detach()
