"""Clouds of class means and features around them, made up."""

import numpy as np
import pytest

from kintune.similarity.features import Features
from kintune.similarity.prototypes import Prototypes


def _cloud(rng, classes, dimensions=6):
    return rng.normal(size=(classes, dimensions)).astype(np.float32)


def _features_of(rng, centers, images_per_class=20, noise=0.3):
    labels = np.repeat(np.arange(len(centers)), images_per_class)
    values = centers[labels] + noise * rng.normal(size=(len(labels), centers.shape[1]))
    return Features(
        values=values.astype(np.float32),
        labels=labels.astype(np.int64),
        classes=tuple(f"class {k}" for k in range(len(centers))),
        extractor="x",
    )


def _prototypes_of(means, weights=None, origin="images"):
    count = len(means)
    return Prototypes(
        means=means,
        weights=np.full(count, 1 / count) if weights is None else weights,
        counts=None,
        classes=tuple(f"source {k}" for k in range(count)),
        center=None,
        extractor="x",
        origin=origin,
        domain="source",
    )


@pytest.fixture(scope="session")
def cloud():
    """Standard normal class means, float32 (classes, dimensions)."""
    return _cloud


@pytest.fixture(scope="session")
def features_of():
    """Images around class means."""
    return _features_of


@pytest.fixture(scope="session")
def prototypes_of():
    """Class means as the prototypes of a source, equal weights unless given."""
    return _prototypes_of
