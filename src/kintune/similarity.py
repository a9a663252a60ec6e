"""How near a target domain lies to a source domain, from the class prototypes of both.

`distance` and `similarity` are the paper's (Appendix B, equations 3 and 4; Cui et al. 2018,
arXiv:1806.06193, section 4.1): the Earth Mover's Distance between class means, and exp(-gamma d).
They depend on how large a network's features are and charge a target for the source classes that it
lacks. `relative_distance` depends on neither: see `relative_distance`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import ot
from pydantic import Field

from kintune.arrays import (
    CentreArray,
    CostArray,
    DirectionArray,
    MeanArray,
    SourceMeans,
    SourceWeights,
    TargetMeans,
    TargetWeights,
)
from kintune.errors import DataError, IncomparableError, SolverError
from kintune.features import Features
from kintune.prototypes import Prototypes, class_prototypes
from kintune.records import Record

GAMMA = 0.01
"""γ of equation (4)."""
BOOTSTRAP_DRAWS = 200
INTERVAL = (0.05, 0.95)
NEIGHBOURS = 3
MAX_PIVOTS = 1_000_000_000
RELATIVE_GAP = 1e-9


class Neighbour(Record):
    """A source class near a target class."""

    target_class: str
    source_class: str
    cost: float
    """Cosine distance between the two centred class means: 0 the same direction, 1 unrelated."""
    share: float
    """Share of the target's images in the target class."""


class Similarity(Record):
    """What was measured between a network's source domain and a target data set."""

    model: str
    extractor: str
    """Names network, weights and input: values of different extractors are not compared."""
    source: str
    target: str
    distance: float | None
    """Earth Mover's Distance of equation (3); None where prototypes have no scale of their own."""
    similarity: float | None
    """exp(-gamma * distance), equation (4)."""
    gamma: float = GAMMA
    relative_distance: float
    """0 = the source itself, about 1 = unrelated to every source class."""
    interval: tuple[float, float]
    """90 % bootstrap interval of `relative_distance` over the target's images."""
    prototypes_from: str
    """Where the source's prototypes come from: `images` or `head`."""
    images: int
    classes: int
    mean_confidence: float | None = None
    """Mean of the source head's largest softmax output on the target's images."""
    nearest_source_classes: tuple[Neighbour, ...] = Field(default=())
    notes: tuple[str, ...] = ()
    """How the source's prototypes were made."""


@dataclass(frozen=True)
class TransportPlan:
    """An optimal flow. `flow` is float64 (s, t); `cost` the least total work."""

    flow: CostArray
    cost: float


def domain_similarity(
    source: Prototypes, features: Features, *, model: str, target: str, gamma: float = GAMMA
) -> Similarity:
    """Measure a target data set against a source domain.

    Args:
        source: class prototypes of the source domain.
        features: the target's images through the same extractor.
        model: name of the network, for the record.
        target: name of the data set, for the record.
        gamma: γ of equation (4).

    Raises:
        IncomparableError: source and target went through different extractors.
        DataError: a feature is not finite, or the target has no images.
    """
    if source.extractor != features.extractor:
        raise IncomparableError(
            f"the prototypes of {source.domain} and the features of {target} come from different "
            f"networks or preprocessing ({source.extractor} and {features.extractor}); their "
            "distances cannot be compared. Measure both with the same --model, --weights and "
            "--image-size."
        )
    _refuse_unusable(features, target)
    prototypes = class_prototypes(features)
    distance = None if source.origin == "head" else earth_movers_distance(source, prototypes)
    centre = _centre(source)
    return Similarity(
        model=model,
        extractor=source.extractor,
        source=source.domain,
        target=target,
        distance=distance,
        similarity=None if distance is None else float(np.exp(-gamma * distance)),
        gamma=gamma,
        relative_distance=relative_distance(
            source.means, prototypes.means, prototypes.weights, centre
        ),
        interval=bootstrap_interval(source, features),
        prototypes_from=source.origin,
        images=len(features.labels),
        classes=len(prototypes.classes),
        mean_confidence=features.mean_confidence,
        nearest_source_classes=nearest_source_classes(source, prototypes),
        notes=source.notes,
    )


def earth_movers_distance(source: Prototypes, target: Prototypes) -> float:
    """d(S, T) of equation (3): Euclidean distances between class means, class-frequency weights."""
    cost = euclidean_costs(source.means, target.means)
    return optimal_transport(source.weights, target.weights, cost).cost


def euclidean_costs(source: SourceMeans, target: TargetMeans) -> CostArray:
    """Ground distances d_ij = |g(s_i) - g(t_j)| of Appendix B, float64 (s, t)."""
    a, b = source.astype(np.float64), target.astype(np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    # The expansion above cancels to a tiny value of either sign between equal points.
    scale = (a**2).sum(1).max() + (b**2).sum(1).max()
    return np.sqrt(np.where(squared > 1e-14 * scale, squared, 0.0))


def optimal_transport(
    source_weights: SourceWeights, target_weights: TargetWeights, cost: CostArray
) -> TransportPlan:
    """The exact optimal flow between two weighted clouds, by network simplex in float64 (POT).

    Args:
        source_weights: float64 (s,), non-negative, sum 1.
        target_weights: float64 (t,), non-negative, sum 1.
        cost: float64 (s, t), finite.

    Raises:
        DataError: a weight or a cost is not finite or is negative, or the masses differ.
        SolverError: the solver stopped early, or the dual gap exceeds 1e-9 of the cost.
    """
    _check_transport(source_weights, target_weights, cost)
    a, b = source_weights / source_weights.sum(), target_weights / target_weights.sum()
    solved = cast(
        "tuple[CostArray, dict[str, Any]]", ot.emd(a, b, cost, numItermax=MAX_PIVOTS, log=True)
    )
    flow, log = solved
    if log["result_code"] != 1:
        raise SolverError(f"optimal transport ended without an answer: {log['warning']}.")
    primal = float((flow * cost).sum())
    dual = float(log["u"] @ a + log["v"] @ b)
    allowed = RELATIVE_GAP * max(primal, float(cost.max()))
    infeasible = float((log["u"][:, None] + log["v"][None, :] - cost).max())
    if abs(primal - dual) > allowed or infeasible > allowed:
        raise SolverError(
            f"optimal transport is not certified: cost {primal:.12g}, dual {dual:.12g}, "
            f"dual infeasibility {infeasible:.3g}, allowed {allowed:.3g}."
        )
    return TransportPlan(flow=flow, cost=primal)


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
    return float(weights @ _cosine_costs(source, target, centre).min(axis=0))


def bootstrap_interval(
    source: Prototypes, features: Features, *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """90 % interval of `relative_distance`: images resampled within each class.

    Class means of a resample are noisier than those of the sample, so every draw lies too far out;
    the spread of the draws is therefore laid around the measured value.
    """
    measured = class_prototypes(features)
    centre = _centre(source)
    directions = _directions(source.means, centre)
    rng = np.random.Generator(np.random.Philox(key=seed))
    values = np.empty(draws)
    for draw in range(draws):
        means = _resampled_means(features, rng)
        nearest = (1 - directions @ _directions(means, centre).T).min(axis=0)
        values[draw] = measured.weights @ nearest
    point = float(
        measured.weights @ (1 - directions @ _directions(measured.means, centre).T).min(axis=0)
    )
    low, high = np.quantile(values - values.mean(), INTERVAL)
    return max(0.0, point + float(low)), point + float(high)


def nearest_source_classes(source: Prototypes, target: Prototypes) -> tuple[Neighbour, ...]:
    """For each target class its three nearest source classes, nearest first."""
    cost = _cosine_costs(source.means, target.means, _centre(source))
    order = np.argsort(cost, axis=0, kind="stable")[:NEIGHBOURS]
    return tuple(
        Neighbour(
            target_class=target.classes[j],
            source_class=source.classes[i],
            cost=float(cost[i, j]),
            share=float(target.weights[j]),
        )
        for j in range(len(target.classes))
        for i in cast("Sequence[int]", order[:, j])
    )


def _centre(source: Prototypes) -> CentreArray:
    """The source's mean feature; the weighted mean of its classes where it is not known."""
    if source.centre is not None:
        return source.centre
    return (source.weights @ source.means.astype(np.float64)).astype(np.float32)


def _directions(means: MeanArray, centre: CentreArray) -> DirectionArray:
    """Unit vectors from the centre to each mean, float64 (c, d); zero for a mean at the centre."""
    offset = means.astype(np.float64) - centre.astype(np.float64)
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    return np.divide(offset, length, out=np.zeros_like(offset), where=length > 0)


def _cosine_costs(source: SourceMeans, target: TargetMeans, centre: CentreArray) -> CostArray:
    cosine = _directions(source, centre) @ _directions(target, centre).T
    return np.clip(1 - cosine, 0.0, 2.0)


def _resampled_means(features: Features, rng: np.random.Generator) -> MeanArray:
    """Class means of images drawn with replacement within each class, float32 (t, d)."""
    means: list[np.ndarray] = []
    for label in np.unique(features.labels):
        rows = np.flatnonzero(features.labels == label)
        drawn = np.bincount(rng.integers(len(rows), size=len(rows)), minlength=len(rows))
        means.append(drawn @ features.values[rows] / len(rows))
    return np.stack(means).astype(np.float32)


def _refuse_unusable(features: Features, target: str) -> None:
    if len(features.labels) == 0:
        raise DataError(f"{target}: no training images to measure.")
    broken = np.flatnonzero(~np.isfinite(features.values).all(axis=1))
    if len(broken):
        raise DataError(
            f"{target}: the network's features of {len(broken)} of {len(features.labels)} images "
            "are not finite. Check --weights, --mean and --std."
        )


def _check_transport(a: SourceWeights, b: TargetWeights, cost: CostArray) -> None:
    for name, values in (("source weights", a), ("target weights", b), ("costs", cost)):
        if values.size == 0 or not np.isfinite(values).all() or (values < 0).any():
            raise DataError(f"optimal transport: {name} must be finite, non-negative, not empty.")
    if a.sum() <= 0 or b.sum() <= 0:
        raise DataError("optimal transport: the weights of both domains must not all be zero.")
    if abs(a.sum() - b.sum()) > 1e-6 * max(a.sum(), b.sum()):
        raise DataError(f"optimal transport: total weights differ, {a.sum():g} and {b.sum():g}.")
