"""Why a distance is what it is: where the target's classes go, and which go nowhere near."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from kintune.base.arrays import CostArray
from kintune.base.records import Record
from kintune.similarity.prototypes import Prototypes
from kintune.similarity.relative import class_costs, directions, source_center
from kintune.similarity.transport import TransportPlan

NEIGHBORS = 3
FLOWS = 5
FAR_QUANTILE = 0.95
MAX_SPACED = 1000
"""Source classes whose distance to the nearest other one is looked at."""


class Neighbor(Record):
    """A source class near a target class."""

    target_class: str
    source_class: str
    cost: float
    """Cosine distance between the two centered class means: 0 the same direction, 1 unrelated."""
    share: float
    """Share of the target's images in the target class."""


class Flow(Record):
    """Mass that the optimal plan sends from a source class to a target class."""

    target_class: str
    source_class: str
    share: float
    """Share of all mass; the flows into a target class sum to its share of the images."""
    cost: float
    """Euclidean distance of the two class means; share times cost, summed, is `distance`."""


def nearest_source_classes(source: Prototypes, target: Prototypes) -> tuple[Neighbor, ...]:
    """For each target class its three nearest source classes, nearest first."""
    cost = class_costs(source, target)
    order = np.argsort(cost, axis=0, kind="stable")[:NEIGHBORS]
    return tuple(
        Neighbor(
            target_class=target.classes[j],
            source_class=source.classes[i],
            cost=float(cost[i, j]),
            share=float(target.weights[j]),
        )
        for j in range(len(target.classes))
        for i in cast("Sequence[int]", order[:, j])
    )


def transport_flows(
    source: Prototypes, target: Prototypes, plan: TransportPlan, cost: CostArray
) -> tuple[Flow, ...]:
    """For each target class the five largest flows of the optimal plan, largest first."""
    order = np.argsort(-plan.flow, axis=0, kind="stable")[:FLOWS]
    return tuple(
        Flow(
            target_class=target.classes[j],
            source_class=source.classes[i],
            share=float(plan.flow[i, j]),
            cost=float(cost[i, j]),
        )
        for j in range(len(target.classes))
        for i in cast("Sequence[int]", order[:, j])
        if plan.flow[i, j] > 0
    )


def far_cost(source: Prototypes) -> float:
    """Cosine distance beyond which a target class lies far from everything in the source.

    The 95 % quantile of the distances from a source class to the nearest other one: what is farther
    would be an outlier among the source's own classes. Of many classes, a thousand are looked at.
    """
    step = max(1, len(source.means) // MAX_SPACED)
    chosen = np.arange(0, len(source.means), step)
    units = directions(source.means, source_center(source))
    cost = np.clip(1 - units @ units[chosen].T, 0.0, 2.0)
    cost[chosen, np.arange(len(chosen))] = np.inf
    return float(np.quantile(cost.min(axis=0), FAR_QUANTILE))
