"""Reference tables as examples for a model of the best effective rate.

Two rates are comparable once batch size and network are taken out: `log_rate` is the logarithm of
η' / (batch size · trust ratio). In proportion to the batch size (Goyal et al. 2017,
arXiv:1706.02677), and to the rate at which a step would change the network's fastest layer by its
own length (`kintune.backbones.trust_ratio`). What is left is to be explained by how far the target
lies from the source and by how many images training sees.

Published and measured references are two studies to the model. A published table ranks its targets
among each other, with networks that cannot be measured any more and a search of its own; measured
ones lie on one scale of distances. What is published sets what to expect, and what is measured
corrects it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kintune.experiments.rate_models import (
    STUDY_PARTS,
    AveragedFit,
    Examples,
    fit_gaussian,
)
from kintune.reference import (
    Origin,
    ReferenceRow,
    ReferenceTable,
    rank_among,
    reference_distances,
)

Study = Literal["published", "measured"]
MEASURED: Study = "measured"
"""Study of a new training."""


@dataclass(frozen=True)
class RateExample:
    """One reference as the model takes it."""

    table: ReferenceTable
    row: ReferenceRow
    rank: float
    """Rank of its target among targets of a source like its own: 0 nearest, 1 farthest."""
    trust_ratio: float

    @property
    def log_rate(self) -> float:
        """log10 of η' / (batch size · trust ratio)."""
        return math.log10(self.row.effective_lr) - log_unit(self.row.batch_size, self.trust_ratio)

    @property
    def inputs(self) -> tuple[float, float]:
        """Inputs of the model: `inputs_of`."""
        return inputs_of(self.rank, self.row.images_seen)

    @property
    def study(self) -> Study:
        """Whether its distance was measured on the common scale."""
        return "published" if self.row.relative_distance is None else MEASURED

    @property
    def network(self) -> str:
        """Whose offset it shares."""
        table = self.table
        return table.weights_sha256 or f"{table.network} of {table.source}"


def log_unit(batch_size: int, trust_ratio: float) -> float:
    """log10 of what a rate is divided by to be comparable."""
    return math.log10(batch_size * trust_ratio)


def inputs_of(rank: float, images_seen: float) -> tuple[float, float]:
    """Rank and log10 of the images that training sees, each as often as it is seen."""
    return rank, math.log10(images_seen)


def rank_between(relative_distance: float, prototypes_from: Origin) -> float:
    """Place among the known targets of a broad source, 0 to 1."""
    return rank_among(reference_distances(prototypes_from), relative_distance)


def rate_examples(
    tables: Sequence[ReferenceTable], weights_sha256: str = "", trust_ratio: float = 1.0
) -> list[RateExample]:
    """All references that say something of a network.

    Args:
        tables: where they stand. One without a trust ratio counts for exactly its network alone.
        weights_sha256: of the network that is asked about; empty for none in particular.
        trust_ratio: of the same.
    """
    found: list[RateExample] = []
    for table in tables:
        ratio = table.trust_ratio
        if ratio is None and table.weights_sha256 and table.weights_sha256 == weights_sha256:
            ratio = trust_ratio
        if ratio is not None:
            found += [
                RateExample(table, row, _rank(table, row, rank), ratio)
                for row, rank in zip(table.rows, table.ranks(), strict=True)
            ]
    return found


def _rank(table: ReferenceTable, row: ReferenceRow, rank_in_table: float) -> float:
    """On the common scale where the distance is on it, else in the table."""
    if row.relative_distance is None:
        return rank_in_table
    return rank_between(row.relative_distance, table.prototypes_from)


def examples_of(found: Sequence[RateExample]) -> Examples:
    """As the models of `kintune.experiments.rate_models` take them."""
    return Examples(
        inputs=np.array([each.inputs for each in found], dtype=np.float64),
        log_rates=np.array([each.log_rate for each in found], dtype=np.float64),
        noise=np.array([each.row.rate_noise for each in found], dtype=np.float64),
        networks=tuple(each.network for each in found),
        targets=tuple(each.row.target for each in found),
        studies=tuple(each.study for each in found),
    )


def fit_rates(found: Sequence[RateExample]) -> AveragedFit:
    """The model of the best rate, given the references."""
    return fit_gaussian(examples_of(found), STUDY_PARTS)
