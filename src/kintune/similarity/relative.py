"""The relative distance: angles around the source's mean, and the source's weights left free."""

import numpy as np

from kintune.arrays import (
    CentreArray,
    CostArray,
    DirectionArray,
    MeanArray,
    SourceMeans,
    TargetMeans,
    TargetWeights,
)
from kintune.errors import DataError
from kintune.prototypes import Prototypes


def relative_distance(
    source: SourceMeans, target: TargetMeans, weights: TargetWeights, centre: CentreArray
) -> float:
    """Mean over the target's classes of the cosine distance to the nearest source class.

    With x̂ = (x - c) / |x - c| for class means x and the source's mean feature c,

        sum_j w_j min_i (1 - ŝ_i . t̂_j)

    which is optimal transport with the source's weights left free: a target pays for what the
    source does not cover, and not for the source classes that it lacks. Angles around the source's
    mean make it independent of the size of the features. 0 for the source itself; two unrelated
    directions are at 1; the largest value is 2.

    Args:
        source: float32 (s, d).
        target: float32 (t, d).
        weights: float64 (t,), sum 1.
        centre: float32 (d,), the source's mean feature.
    """
    return float(weights @ cosine_costs(source, target, centre).min(axis=0))


def cosine_costs(source: SourceMeans, target: TargetMeans, centre: CentreArray) -> CostArray:
    """1 - ŝ_i . t̂_j, float64 (s, t), between 0 and 2; 1 for a mean at the centre."""
    cosine = directions(source, centre) @ directions(target, centre).T
    return np.clip(1 - cosine, 0.0, 2.0)


def directions(means: MeanArray, centre: CentreArray) -> DirectionArray:
    """Unit vectors from the centre to each mean, float64 (c, d); zero for a mean at the centre."""
    offset = means.astype(np.float64) - centre.astype(np.float64)
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    # What remains of equal float32 values after summation is no direction.
    least = 1e-6 * max(float(np.linalg.norm(centre)), float(np.abs(means).max(initial=0.0)))
    return np.divide(offset, length, out=np.zeros_like(offset), where=length > least)


def source_centre(source: Prototypes) -> CentreArray:
    """The source's mean feature; the weighted mean of its classes where it is not known."""
    if source.centre is not None:
        return source.centre
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
    if not directions(source.means, source_centre(source)).any():
        raise DataError(
            f"all {len(source.means)} classes of the source {source.domain} have the same mean "
            "feature: the images are constant, or the network does not see them apart."
        )
