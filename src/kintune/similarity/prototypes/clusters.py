"""Images without labels: k-means clusters stand for classes."""

from dataclasses import replace

import numpy as np

from kintune.base.arrays import FeatureArray, LabelArray
from kintune.base.errors import DataError
from kintune.similarity.features import Features

IMAGES_A_CLUSTER = 20
MAX_CLUSTERS = 100
FITTED_ROWS = 20_000
"""k-means runs on at most so many images, drawn at random; the others join the nearest cluster."""


def default_clusters(images: int) -> int:
    """One cluster for twenty images, at least 1 and at most 100.

    >>> [default_clusters(images) for images in (7, 500, 50_000)]
    [1, 25, 100]
    """
    return max(1, min(MAX_CLUSTERS, images // IMAGES_A_CLUSTER))


def clustered(features: Features, clusters: int | None = None, *, seed: int = 0) -> Features:
    """The same features, labeled by k-means (scikit-learn, Euclidean, k-means++ starts).

    Args:
        features: their labels are not looked at.
        clusters: how many; None takes `default_clusters`. Fewer come out where fewer images differ.
        seed: of the starts and of the images that are fitted.

    Raises:
        DataError: more clusters than images, or a feature is not finite.
    """
    count = len(features.values)
    wanted = default_clusters(count) if clusters is None else clusters
    if not 1 <= wanted <= count:
        raise DataError(f"--clusters {wanted}: there are {count} images; at most so many.")
    labels, found = _k_means(features, wanted, seed)
    names = tuple(f"cluster {index}" for index in range(found))
    return replace(features, labels=labels, classes=names, origin="clusters")


def _k_means(features: Features, clusters: int, seed: int) -> tuple[LabelArray, int]:
    """The cluster of every image, and how many clusters there are."""
    from sklearn.cluster import KMeans  # a second of import, for unlabelled images only

    fitted = _fitted_rows(features, seed)
    if not np.isfinite(fitted).all():
        raise DataError("the features of some images are not finite: k-means cannot group them.")
    distinct = len(np.unique(fitted, axis=0)) if clusters > 1 else 1
    model = KMeans(min(clusters, distinct), random_state=seed).fit(fitted)
    labels = np.empty(len(features.values), np.int64)
    for rows, values in features.chunks():
        labels[rows] = model.predict(values)
    # A cluster may be empty where rounding moved its only image.
    present, labels = np.unique(labels, return_inverse=True)
    return labels.astype(np.int64), len(present)


def _fitted_rows(features: Features, seed: int) -> FeatureArray:
    count = len(features.values)
    if count <= FITTED_ROWS:
        return np.ascontiguousarray(features.values)
    rng = np.random.Generator(np.random.Philox(key=seed))
    chosen = np.sort(rng.choice(count, FITTED_ROWS, replace=False))
    return np.ascontiguousarray(features.values[chosen])
