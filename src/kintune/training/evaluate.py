"""A network's errors on a split, by center crops."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kintune.backbones import normalized
from kintune.base.arrays import IndexArray, LabelArray
from kintune.base.errors import is_out_of_memory
from kintune.data import ImageDataset, Split
from kintune.data.transforms import center_crops
from kintune.runs.inputs import InputSpec

BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Predictions for the m images of a split, and their errors as fractions."""

    top1_error: float
    average_class_error: float
    """Mean over the classes present of the share of a class's images that are wrong."""
    loss: float
    """Mean cross-entropy."""
    predictions: LabelArray
    """int64 (m,)"""
    confidences: np.ndarray
    """float32 (m,): softmax probability of the predicted class."""
    indices: IndexArray
    """int64 (m,): which images of the data set these are."""
    mistakes: tuple[int, ...]
    """Positions in the split of the images classified wrongly, ascending."""


def evaluate(
    network: nn.Module,
    dataset: ImageDataset,
    split: Split,
    input: InputSpec,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Evaluate with frozen batch statistics; the network's mode is put back afterwards.

    Raises:
        ValueError: the split has no images.
    """
    indices = dataset.splits[split]
    if not len(indices):
        raise ValueError(f"the {split} split of {dataset.name} has no images")
    logits = image_logits(network, dataset, indices, input, device)
    labels = torch.from_numpy(dataset.labels[indices])
    confidences, predictions = logits.softmax(1).max(1)
    wrong = (predictions != labels).numpy()
    return Evaluation(
        top1_error=float(wrong.mean()),
        average_class_error=average_class_error(wrong, labels.numpy()),
        loss=F.cross_entropy(logits, labels).item(),
        predictions=predictions.numpy(),
        confidences=confidences.numpy(),
        indices=indices,
        mistakes=tuple(np.flatnonzero(wrong).tolist()),
    )


def average_class_error(wrong: np.ndarray, labels: LabelArray) -> float:
    """Mean over the classes present of their share of wrong images.

    >>> average_class_error(np.array([True, False, False, False]), np.array([0, 0, 1, 1]))
    0.25
    """
    present, counts = np.bincount(labels, weights=wrong), np.bincount(labels)
    return float((present[counts > 0] / counts[counts > 0]).mean())


@torch.inference_mode()
def image_logits(
    network: nn.Module,
    dataset: ImageDataset,
    indices: IndexArray,
    input: InputSpec,
    device: torch.device | str,
) -> Tensor:
    """float32 logits (m, K) of the images at `indices`, on the CPU."""
    training = {module: module.training for module in network.modules()}
    network.eval()
    at_once, parts = BATCH_SIZE, list[Tensor]()
    while (first := sum(map(len, parts))) < len(indices):
        crops = center_crops(dataset.images, indices[first : first + at_once], input.image_size)
        try:
            parts.append(network(normalized(crops.to(device), input)).float().cpu())
        except (MemoryError, RuntimeError) as error:
            if at_once == 1 or not is_out_of_memory(error):
                raise
            at_once //= 2
    for module, mode in training.items():
        module.training = mode
    return torch.cat(parts)
