"""Error of the frozen features alone: a linear classifier on them, each image left out once."""

import numpy as np
from numpy.typing import NDArray

from kintune.similarity.features import Features

MAX_IMAGES = 3000
"""Most images that are used: of more, so many are drawn: a training image more or less changes
little then."""
STRENGTHS = (0.003, 0.03, 0.3, 3.0)
"""Ridge penalties that are tried, over the mean of the features' squared singular values."""

Floats = NDArray[np.float64]


def probe_error(features: Features, seed: int = 0) -> float:
    """Top-1 error of ridge regression onto the classes, each image predicted by all others.

    Features are standardized. The predictions come from one decomposition (leave-one-out residuals
    are (y - ŷ) / (1 - h); Allen 1974), so nothing is held back from a small data set. The penalty
    with the least error is taken: among four, which flatters little. It is never worse than
    guessing the commonest class: where features tell nothing, an image that is left out makes its
    own class the less likely one.

    Args:
        features: of labeled images, two or more.
        seed: of the draw where there are more than `MAX_IMAGES`.

    Returns:
        A fraction.
    """
    rows = np.arange(len(features.values))
    if len(rows) > MAX_IMAGES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_IMAGES, replace=False))
    labels = features.labels[rows]
    values = np.asarray(features.values[rows], dtype=np.float64)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    guessing = 1 - np.bincount(labels).max() / len(labels)
    return min(float(guessing), _least_left_out_error(values, labels, len(features.classes)))


def _least_left_out_error(values: Floats, labels: NDArray[np.int64], classes: int) -> float:
    """Over the penalties; `values` (n, d) has mean zero."""
    onehot = np.eye(classes)[labels]
    means = onehot.mean(axis=0)
    left, squared = _directions(values)
    scale = squared.sum() / max(1, len(squared))
    projected = left.T @ (onehot - means)
    errors: list[float] = []
    for strength in STRENGTHS:
        shrunk = squared / (squared + strength * scale)
        fitted = means + left @ (shrunk[:, None] * projected)
        leverage = np.square(left) @ shrunk + 1 / len(labels)
        residuals = (onehot - fitted) / np.maximum(1 - leverage, 1e-12)[:, None]
        guesses = (onehot - residuals).argmax(axis=1)
        errors.append(float(np.mean(guesses != labels)))
    return min(errors)


def _directions(values: Floats) -> tuple[Floats, Floats]:
    """Left singular vectors (n, k) and squared singular values (k,), from the smaller product."""
    is_wide = values.shape[0] <= values.shape[1]
    squared, vectors = np.linalg.eigh(values @ values.T if is_wide else values.T @ values)
    kept = squared > squared[-1] * 1e-10
    squared, vectors = squared[kept], vectors[:, kept]
    return (vectors if is_wide else values @ vectors / np.sqrt(squared)), squared
