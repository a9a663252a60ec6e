"""Images -> `Features`: what a network sees just before its head."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from kintune.arrays import FeatureArray, LabelArray
from kintune.backbones import Backbone, normalised, penultimate_features
from kintune.datasets import ImageDataset, Split
from kintune.datasets.ahead import one_ahead
from kintune.datasets.cache import cache_root
from kintune.datasets.transforms import centre_crops
from kintune.errors import DataError, IncomparableError
from kintune.progress import progress_bar
from kintune.records import content_id
from kintune.runs import write_atomically

BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Features of n images, in the order of the split they come from."""

    values: FeatureArray
    """Input of the network's head, float32 (n, d)."""
    labels: LabelArray
    """Class of each image, int64 (n,)."""
    classes: tuple[str, ...]
    """Class names; labels index them."""
    extractor: str
    """`Backbone.extractor`: only features of the same extractor can be compared."""
    mean_confidence: float | None
    """Mean of the source head's largest softmax output; None where no source head was loaded."""


def extract_features(
    backbone: Backbone, dataset: ImageDataset, split: Split = "train", *, device: str = "cpu"
) -> Features:
    """Features of one split: centre crops through the network in evaluation mode.

    Computed in float32, so that processors with and without bfloat16 agree and features can be
    compared with prototypes made elsewhere. Cached on disk by extractor and content of the images;
    features of random weights are not.

    Args:
        backbone: its head's input is what is returned.
        dataset: images decoded for `backbone.input`.
        split: which of its images.
        device: where the network runs.

    Raises:
        DataError: the split is empty.
        IncomparableError: the images were decoded for another input.
        OptionError: the cache cannot be written.
    """
    _check_images(backbone, dataset, split)
    path = _cache_path(backbone, dataset, split)
    cached = _read(path) if backbone.weights_sha256 else None
    if cached is None:
        cached = _extract(backbone, dataset, split, device)
        if backbone.weights_sha256:
            _write(path, *cached)
    values, mean_confidence = cached
    return Features(
        values=values,
        labels=dataset.labels_of(split),
        classes=dataset.classes,
        extractor=backbone.extractor,
        mean_confidence=None if backbone.num_source_classes is None else mean_confidence,
    )


def _check_images(backbone: Backbone, dataset: ImageDataset, split: Split) -> None:
    if len(dataset.splits[split]) == 0:
        raise DataError(f"{dataset.source}: has no images in its {split} split.")
    if dataset.images.shorter_side != backbone.input.shorter_side:
        raise IncomparableError(
            f"{dataset.source} was decoded at {dataset.images.shorter_side} px, {backbone.name} "
            f"needs {backbone.input.shorter_side} px: load it with this network's input."
        )


def _extract(
    backbone: Backbone, dataset: ImageDataset, split: Split, device: str
) -> tuple[FeatureArray, float]:
    """Features float32 (n, d) and the head's mean confidence."""
    indices = dataset.splits[split]
    network = _for_inference(backbone.network, device)
    values = np.empty((len(indices), backbone.num_features), np.float32)
    confidences = np.empty(len(indices), np.float64)
    parts = [slice(start, start + BATCH_SIZE) for start in range(0, len(indices), BATCH_SIZE)]
    size = backbone.input.image_size
    cropped = (centre_crops(dataset.images, indices[rows], size) for rows in parts)
    with torch.inference_mode(), progress_bar("features", len(indices)) as advance:
        for rows, crops in zip(parts, one_ahead(cropped), strict=True):
            batch = normalised(crops.to(device), backbone.input)
            features, logits = penultimate_features(network, backbone.head_name, batch)
            values[rows] = features.cpu().numpy()
            confidences[rows] = logits.softmax(dim=1).amax(dim=1).cpu().numpy()
            advance(len(crops))
    return values, float(confidences.mean())


def _for_inference(network: nn.Module, device: str) -> nn.Module:
    # A copy, because the person's network keeps its place and layout.
    network = copy.deepcopy(network).eval().to(device)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _cache_path(backbone: Backbone, dataset: ImageDataset, split: Split) -> Path:
    key = content_id([backbone.extractor, dataset.content_hash, split], digits=32)
    return cache_root() / "features" / f"{key}.safetensors"


def _read(path: Path) -> tuple[FeatureArray, float] | None:
    """What was cached; None where nothing whole is there."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor("values"), float(file.get_tensor("mean_confidence"))
    except (OSError, SafetensorError):
        return None


def _write(path: Path, values: FeatureArray, mean_confidence: float) -> None:
    arrays = {"values": values, "mean_confidence": np.array(mean_confidence)}
    write_atomically(path, save(arrays))
