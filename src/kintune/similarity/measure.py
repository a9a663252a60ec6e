"""Prototypes and features -> `Similarity`: every value with its interval and its reasons."""

from typing import Any

import numpy as np
from pydantic import Field

from kintune.base.errors import DataError, IncomparableError
from kintune.base.records import Record
from kintune.runs.defaults import GAMMA
from kintune.similarity.explanation import (
    Flow,
    Neighbor,
    far_cost,
    nearest_source_classes,
    transport_flows,
)
from kintune.similarity.features import Features
from kintune.similarity.prototypes import Prototypes, class_prototypes
from kintune.similarity.relative import (
    class_distance,
    domain_shift,
    refuse_without_directions,
    relative_distance,
)
from kintune.similarity.resampling import bootstrap, interval_around
from kintune.similarity.transport import TransportPlan, euclidean_costs, optimal_transport

NORMAL_95 = 1.645


class Similarity(Record):
    """Similarity measured between a network's source domain and a target data set."""

    model: str
    extractor: str
    """Names network, weights and input: values of different extractors are not compared."""
    source: str
    target: str
    distance: float | None
    """Earth Mover's Distance of class means, equation (3); None where the source's prototypes have
    directions but no lengths."""
    similarity: float | None
    """exp(-gamma * distance), equation (4)."""
    gamma: float = GAMMA
    relative_distance: float
    """0 = the source itself, about 1 = unrelated."""
    interval: tuple[float, float]
    """90 % bootstrap interval of `relative_distance` over the target's images."""
    bias: float | None = None
    """About how much too far `relative_distance` is because class means of few images are noisy: by
    how much a resample of the images is farther. Not taken off."""
    class_distance: float | None = None
    """Mean cosine distance of the target's classes to the nearest source class: the first part of
    `relative_distance`."""
    domain_shift: float | None = None
    """1 - cos between the mean features of source and target; half of it is the other part. None
    where the source's mean is not known."""
    distance_interval: tuple[float, float] | None = None
    """The same of `distance`."""
    similarity_interval: tuple[float, float] | None = None
    """The same of `similarity`."""
    prototypes_from: str
    """Where the source's prototypes come from: `images`, `clusters` of images, or `head`."""
    target_prototypes_from: str = "images"
    """`images` with labels, or `clusters` of images without."""
    min_images: int = 1
    """Source classes with fewer images were left out."""
    images: int
    classes: int
    mean_confidence: float | None = None
    """Mean of the source head's largest softmax output on the target's images."""
    confidence_interval: tuple[float, float] | None = None
    """90 % interval of `mean_confidence`."""
    nearest_source_classes: tuple[Neighbor, ...] = Field(default=())
    transport: tuple[Flow, ...] = ()
    """Largest flows of the optimal plan into each target class; empty where there is no plan."""
    far_cost: float | None = None
    """Cosine distance to the nearest other class that 5 % of the source's own classes exceed."""
    far_target_classes: tuple[str, ...] = ()
    """Target classes beyond `far_cost` from every source class, the farthest first."""
    notes: tuple[str, ...] = ()
    """How the source's prototypes were made."""


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
        DataError: a feature is not finite, the target has no images, or the source's classes have
            no directions around their mean.
    """
    _refuse_unusable(source, features, target)
    prototypes = class_prototypes(features)
    value = relative_distance(source, prototypes)
    cost = None if source.origin == "head" else euclidean_costs(source.means, prototypes.means)
    plan = None if cost is None else optimal_transport(source.weights, prototypes.weights, cost)
    draws = bootstrap(source, features, plan)
    neighbors = nearest_source_classes(source, prototypes)
    far = far_cost(source)
    return Similarity(
        model=model,
        extractor=source.extractor,
        source=source.domain,
        target=target,
        **_papers_values(plan, draws.distance, gamma),
        gamma=gamma,
        relative_distance=value,
        interval=interval_around(value, draws.relative_distance),
        bias=float(draws.relative_distance.mean()) - value,
        class_distance=class_distance(source, prototypes),
        domain_shift=domain_shift(source, prototypes),
        prototypes_from=source.origin,
        target_prototypes_from=prototypes.origin,
        min_images=source.min_images,
        images=len(features.labels),
        classes=len(prototypes.classes),
        mean_confidence=features.mean_confidence,
        confidence_interval=_confidence_interval(features),
        nearest_source_classes=neighbors,
        transport=()
        if plan is None or cost is None
        else transport_flows(source, prototypes, plan, cost),
        far_cost=far,
        far_target_classes=_beyond(far, neighbors),
        notes=source.notes,
    )


def _papers_values(
    plan: TransportPlan | None, draws: np.ndarray | None, gamma: float
) -> dict[str, Any]:
    """`distance` and `similarity` with their intervals."""
    if plan is None or draws is None:
        return {"distance": None, "similarity": None}
    low, high = interval_around(plan.cost, draws)
    return {
        "distance": plan.cost,
        "distance_interval": (low, high),
        "similarity": float(np.exp(-gamma * plan.cost)),
        "similarity_interval": (float(np.exp(-gamma * high)), float(np.exp(-gamma * low))),
    }


def _confidence_interval(features: Features) -> tuple[float, float] | None:
    """Confidence interval of the mean over images, by the normal approximation."""
    if features.outputs is None or features.mean_confidence is None:
        return None
    values = features.outputs[:, 0].astype(np.float64)
    half = NORMAL_95 * float(values.std(ddof=min(1, len(values) - 1))) / len(values) ** 0.5
    return max(0.0, features.mean_confidence - half), min(1.0, features.mean_confidence + half)


def _beyond(far: float, neighbors: tuple[Neighbor, ...]) -> tuple[str, ...]:
    nearest: dict[str, float] = {}
    for neighbor in neighbors:
        nearest.setdefault(neighbor.target_class, neighbor.cost)
    beyond = [name for name, cost in nearest.items() if cost > far]
    return tuple(sorted(beyond, key=lambda name: -nearest[name]))


def _refuse_unusable(source: Prototypes, features: Features, target: str) -> None:
    if source.extractor != features.extractor:
        raise IncomparableError(
            f"the prototypes of {source.domain} and the features of {target} come from different "
            f"networks or preprocessing ({source.extractor} and {features.extractor}); their "
            "distances cannot be compared. Measure both with the same --model, --weights and "
            "--image-size."
        )
    if len(features.labels) == 0:
        raise DataError(f"{target}: no training images to measure.")
    broken = sum(int((~np.isfinite(values).all(axis=1)).sum()) for _, values in features.chunks())
    if broken:
        raise DataError(
            f"{target}: the network's features of {broken} of {len(features.labels)} images "
            "are not finite. Check --weights, --mean and --std."
        )
    refuse_without_directions(source)
