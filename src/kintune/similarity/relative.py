"""The relative distance: angles of classes around the source's mean, and the shift of that mean."""

import numpy as np

from kintune.base.arrays import (
    CenterArray,
    CostArray,
    DirectionArray,
    MeanArray,
)
from kintune.base.errors import DataError
from kintune.similarity.prototypes import Prototypes

SHIFT_WEIGHT = 0.5
"""Share of the domain's shift in the relative distance: see `docs/studies/similarity.md`."""


def relative_distance(source: Prototypes, target: Prototypes) -> float:
    """Distance of the target's classes from the source's, plus half of the shift of the whole.

        class_distance + domain_shift / 2

    0 for the source itself; about 1 for what has nothing to do with it. Depends neither on the size
    of the features nor on how many classes the target has. Where the source's mean feature is not
    known (a head behind a residual sum), the shift is left out.
    """
    shift = domain_shift(source, target)
    return class_distance(source, target) + (0.0 if shift is None else SHIFT_WEIGHT * shift)


def class_distance(source: Prototypes, target: Prototypes) -> float:
    """Mean over the target's classes of the cosine distance to the nearest source class.

    With ŝ_i and t̂_j the directions of the class means around a center,

        sum_j w_j min_i (1 - ŝ_i . t̂_j)

    which is optimal transport with the source's weights left free: a target pays for what the
    source does not cover, and not for the source classes that it lacks. 0 for a part of the
    source's classes; unrelated directions are at 1; the largest value is 2.
    """
    return float(target.weights @ class_costs(source, target).min(axis=0))


def domain_shift(source: Prototypes, target: Prototypes) -> float | None:
    """1 - cos of the angle between the mean features of source and target, seen from zero.

    What all images of the target have in common and the source has not: style, ground, noise.
    Between 0 and 1 for features that are not negative, as behind a ReLU. None where the source's
    mean feature is not known.
    """
    if source.center is None and source.origin == "head":
        return None
    return float(shifts(mean_of(target)[None], source_center(source))[0])


def shifts(means: np.ndarray, center: CenterArray) -> np.ndarray:
    """1 - cos between each mean (b, d) and the center, float64 (b,).

    Two means at zero are alike; a mean at zero and another one are unrelated.
    """
    means, center = means.astype(np.float64), center.astype(np.float64)
    own, other = np.linalg.norm(means, axis=1), np.linalg.norm(center)
    alike = np.where(own + other > 0, 0.0, 1.0)
    cosine = np.divide(means @ center, own * other, out=alike, where=own * other > 0)
    return np.clip(1 - cosine, 0.0, 2.0)


def class_costs(source: Prototypes, target: Prototypes) -> CostArray:
    """1 - ŝ_i . t̂_j, float64 (s, t), between 0 and 2; 1 for a mean at its center."""
    center = source_center(source)
    around = target_center(center, mean_of(target))
    cosine = directions(source.means, center) @ directions(target.means, around).T
    return np.clip(1 - cosine, 0.0, 2.0)


def target_center(center: CenterArray, mean: np.ndarray) -> CenterArray:
    """Point from which the target's directions are seen: the source's center c, as long as the
    target's mean feature m reaches along it, c (m . c) / |c|².

    Images of another size or sharpness make all features longer or shorter. Seen from the source's
    own center, they would all lie in the direction of that difference.
    """
    square = float(center.astype(np.float64) @ center)
    reach = max(0.0, float(mean @ center.astype(np.float64)) / square) if square > 0 else 0.0
    return (reach * center).astype(np.float32)


def mean_of(target: Prototypes) -> np.ndarray:
    """Mean feature of a domain's images, float64 (d,)."""
    return target.weights @ target.means.astype(np.float64)


def directions(means: MeanArray, center: CenterArray) -> DirectionArray:
    """Unit vectors from the center to each mean, float64 (c, d); zero for a mean at the center."""
    offset = means.astype(np.float64) - center.astype(np.float64)
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    # What remains of equal float32 values after summation is no direction.
    least = 1e-6 * max(float(np.linalg.norm(center)), float(np.abs(means).max(initial=0.0)))
    return np.divide(offset, length, out=np.zeros_like(offset), where=length > least)


def source_center(source: Prototypes) -> CenterArray:
    """The source's mean feature; the weighted mean of its classes where it is not known."""
    if source.center is not None:
        return source.center
    return (source.weights @ source.means.astype(np.float64)).astype(np.float32)


def refuse_without_directions(source: Prototypes) -> None:
    """Angles around the source's mean need classes that lie away from it.

    Raises:
        DataError: a mean is not finite, there is one class only, or all classes have one mean.
    """
    if not np.isfinite(source.means).all():
        raise DataError(
            f"the prototypes of {source.domain} hold values that are not finite: make them again."
        )
    if len(source.means) < 2:
        raise DataError(
            f"the source {source.domain} has one class only, and directions around its mean need "
            "two. Give a source with more classes (for images without class folders: --clusters 2 "
            "or more)."
        )
    if not directions(source.means, source_center(source)).any():
        raise DataError(
            f"all {len(source.means)} classes of the source {source.domain} have the same mean "
            "feature: the images are constant, or the network does not see them apart."
        )
