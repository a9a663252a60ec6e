"""The draw of a validation split, and its return to the training images."""

import hashlib
from dataclasses import replace

import numpy as np

from kintune.base.arrays import IndexArray, LabelArray
from kintune.data.images import ImageDataset


def with_validation_trained(dataset: ImageDataset) -> ImageDataset:
    """The data set whose training images are those of training and validation together.

    Validation stays where it was, and says nothing about unseen images any more; the content hash
    is another.
    """
    splits = dict(dataset.splits)
    splits["train"] = np.sort(np.concatenate([splits["train"], splits["val"]]))
    told = hashlib.sha256(f"{dataset.content_hash} training and validation".encode())
    return replace(dataset, splits=splits, content_hash=told.hexdigest())


def stratified_draw(
    labels: LabelArray, fraction: float, seed: int
) -> tuple[IndexArray, IndexArray]:
    """Part the images so that each class gives about the same share to the second part.

    A class of n images gives round(fraction * n) of them, at least one, and keeps at least one.

    Args:
        labels: class of each of m images, int64 (m,), each class at least twice.
        fraction: share that the second part gets, between 0 and 1.
        seed: of the draw, at least 0.

    Returns:
        Positions in `labels` of the images kept and of the images drawn, both ascending.
    """
    generator = np.random.default_rng(seed)
    drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share = np.clip(round(fraction * len(members)), 1, len(members) - 1)
        drawn[generator.permutation(members)[:share]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)
