"""The draw of a validation split."""

import numpy as np

from kintune.arrays import IndexArray, LabelArray


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
