import dataclasses

import numpy as np
import pytest

from kintune.base.errors import DataError
from kintune.similarity.features import Features
from kintune.similarity.prototypes import class_prototypes, clustered


def unlabelled(values) -> Features:
    values = np.asarray(values, np.float32)
    return Features(
        values=values,
        labels=np.zeros(len(values), np.int64),
        classes=("unlabelled",),
        extractor="x",
    )


@pytest.fixture
def blobs():
    """Three groups of 40, 20 and 10 images, far apart."""
    rng = np.random.default_rng(0)
    centers = np.array([[10, 0, 0], [0, 10, 0], [0, 0, 10]])
    true = np.repeat([0, 1, 2], [40, 20, 10])
    return centers, true, unlabelled(centers[true] + 0.1 * rng.normal(size=(70, 3)))


def test_separate_groups_are_found(blobs):
    centers, _true, features = blobs
    made = class_prototypes(clustered(features, 3))
    assert made.origin == "clusters"
    assert sorted(made.counts.tolist()) == [10, 20, 40]
    order = np.argsort(made.counts)[::-1]
    np.testing.assert_allclose(made.means[order], centers, atol=0.1)


def test_the_same_seed_gives_the_same_clusters(blobs):
    _, _, features = blobs
    first, second = (clustered(features, 7, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)


def test_images_that_were_not_fitted_join_the_nearest_cluster(blobs, monkeypatch):
    _, true, features = blobs
    monkeypatch.setattr("kintune.similarity.prototypes.clusters.FITTED_ROWS", 30)
    labels = clustered(features, 3).labels
    assert all(len(set(labels[true == group])) == 1 for group in range(3))


def test_constant_images_are_one_cluster():
    made = clustered(unlabelled(np.ones((50, 4))), 5)
    assert made.classes == ("cluster 0",)
    assert not made.labels.any()


def test_more_clusters_than_images(blobs):
    _, _, features = blobs
    with pytest.raises(DataError, match="--clusters 71: there are 70 images"):
        clustered(features, 71)


def test_features_that_are_not_finite(blobs):
    _, _, features = blobs
    values = features.values.copy()
    values[3, 1] = np.nan
    with pytest.raises(DataError, match="not finite"):
        clustered(dataclasses.replace(features, values=values), 3)
