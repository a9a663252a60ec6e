"""The record, and class means of labeled features."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kintune.base.arrays import CenterArray, CountArray, MeanArray, WeightArray
from kintune.base.errors import DataError
from kintune.similarity.features import Features

Origin = Literal["images", "clusters", "head"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prototypes:
    """Class means of one domain, through one extractor."""

    means: MeanArray
    """Mean feature of each class, float32 (c, d). From a head: center plus the class's direction,
    whose length is a convention."""
    weights: WeightArray
    """Share of each class in the domain, float64 (c,), sum 1."""
    counts: CountArray | None
    """Images behind each mean; None where there were none."""
    classes: tuple[str, ...]
    center: CenterArray | None
    """Mean feature of the domain, float32 (d,); None where it is not known."""
    extractor: str
    """`Backbone.extractor` of the network that the features came through."""
    origin: Origin
    """From `images` with labels, from k-means `clusters` of images without, or from the rows of the
    source `head`."""
    domain: str
    """Domain that it stands for, e.g. `ImageNet-1k`."""
    min_images: int = 1
    """Classes with fewer images were left out."""
    notes: tuple[str, ...] = ()
    """Notes on how they were made."""

    def with_min_images(self, min_images: int) -> "Prototypes":
        """Without the classes that stand on fewer images; the others keep their proportions.

        Raises:
            DataError: the counts are not known, or no class is large enough.
        """
        if min_images <= self.min_images:
            return self
        if self.counts is None:
            raise DataError(
                f"--min-images {min_images}: the prototypes of {self.domain} do not say how many "
                "images are behind each class. Leave it out, or give --source images."
            )
        kept = np.flatnonzero(self.counts >= min_images)
        if len(kept) == 0:
            raise DataError(
                f"--min-images {min_images}: no class of {self.domain} has so many; the largest "
                f"has {self.counts.max()}."
            )
        weights = self.weights[kept] / self.weights[kept].sum()
        return replace(
            self,
            means=self.means[kept],
            weights=weights,
            center=(weights @ self.means[kept].astype(np.float64)).astype(np.float32),
            counts=self.counts[kept],
            classes=tuple(self.classes[index] for index in kept),
            min_images=min_images,
        )


def class_prototypes(features: Features, *, min_images: int = 1, domain: str = "") -> Prototypes:
    """Mean feature of each class, weighted by the class's share of the images (Appendix B).

    Reads the features a few thousand rows at a time, so any number of them fits into memory.

    Args:
        features: of images with labels.
        min_images: classes with fewer are left out; the code that the paper builds on asks 200 of a
            source class.
        domain: name of what the images stand for.

    Raises:
        DataError: no class has enough images.
    """
    counts = np.bincount(features.labels, minlength=len(features.classes))
    kept = np.flatnonzero(counts >= max(min_images, 1))
    if len(kept) == 0:
        largest = counts.max(initial=0)
        raise DataError(f"no class has {min_images} images; the largest has {largest}.")
    means = _class_sums(features)[kept] / counts[kept, None]
    weights = counts[kept] / counts[kept].sum()
    return Prototypes(
        means=means.astype(np.float32),
        weights=weights,
        counts=counts[kept],
        classes=tuple(features.classes[index] for index in kept),
        center=(weights @ means).astype(np.float32),
        extractor=features.extractor,
        origin="clusters" if features.origin == "clusters" else "images",
        domain=domain,
        min_images=max(min_images, 1),
    )


def _class_sums(features: Features) -> np.ndarray:
    """Sum of each class's features, float64 (c, d); float32 sums lose digits."""
    sums = np.zeros((len(features.classes), features.values.shape[1]))
    for rows, values in features.chunks():
        labels = features.labels[rows]
        order = np.argsort(labels, kind="stable")
        present, starts = np.unique(labels[order], return_index=True)
        sums[present] += np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
    return sums
