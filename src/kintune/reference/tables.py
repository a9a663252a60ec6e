"""Loading of the reference tables that ship beside this file."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, TypeAdapter

from kintune.records import Record

Origin = Literal["images", "head"]
"""Origin of a source's prototypes: each has a scale of known targets."""
BROAD_SOURCES: Mapping[Origin, str] = {"head": "ImageNet-1k", "images": "CIFAR-100, 80 classes"}
FOLDER = Path(__file__).parent


class ReferenceRow(Record):
    """One target data set: how near it lies to the source, and which rate was best for it."""

    target: str
    similarity: float | None = None
    """The paper's, of the extractor of its table: comparable inside that table alone."""
    relative_distance: float | None = None
    effective_lr: float = Field(gt=0)
    """Best effective learning rate η' found."""
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    images: int = Field(ge=1)
    """Training images."""
    classes: int = Field(ge=2)
    iterations: int | None = None
    """Steps after which training ended in its last epoch; None where it was whole."""
    rate_noise: float = Field(default=0.25, gt=0)
    """Decades by which the best rate is uncertain: a coarse grid, a flat optimum."""

    @property
    def images_seen(self) -> int:
        """Each image as often as training saw it."""
        return images_seen(self.images, self.epochs, self.batch_size, self.iterations)

    @property
    def nearness(self) -> float:
        """Grows as the target gets nearer to the source; orders the rows of one table."""
        if self.relative_distance is not None:
            return -self.relative_distance
        return self.similarity if self.similarity is not None else 0.0


def images_seen(images: int, epochs: int, batch_size: int, iterations: int | None) -> int:
    """Images that a training sees, each as often as it is seen.

    >>> images_seen(100, 3, 32, None), images_seen(100, 3, 32, 5)
    (300, 160)
    """
    whole = images * epochs
    return whole if iterations is None else min(whole, iterations * batch_size)


class ReferenceTable(Record):
    """Rows that share a source, a network and a way of measuring."""

    source: str
    network: str
    origin: str
    """Who measured it and how."""
    prototypes_from: Origin
    extractor: str | None = None
    """`Backbone.extractor` through which the distances were measured, where it is known."""
    weights_sha256: str = ""
    """`Backbone.weights_sha256` where it is known: the table of exactly this network, at whatever
    input size."""
    trust_ratio: float | None = Field(default=1.0, gt=0)
    """Trust ratio of the network (`kintune.backbones.trust_ratio`); 1 stands in for networks that
    cannot be measured. None: the table counts for exactly this network alone (`weights_sha256`), as
    if its ratio had been what it is where it is used: at another input size it is not."""
    rows: tuple[ReferenceRow, ...] = Field(min_length=1)

    def ranks(self) -> tuple[float, ...]:
        """Place of each row among the rows: 0 the nearest to the source, 1 the farthest."""
        order = sorted(range(len(self.rows)), key=lambda index: -self.rows[index].nearness)
        last = max(1, len(self.rows) - 1)
        return tuple(order.index(index) / last for index in range(len(self.rows)))


@cache
def shipped_reference_tables() -> tuple[ReferenceTable, ...]:
    """The paper's Table 4, column by column, and the best rates of the reference study."""
    tables = TypeAdapter(tuple[ReferenceTable, ...])
    names = ("paper_table4.json", "study.json")
    return tuple(
        table for name in names for table in tables.validate_json((FOLDER / name).read_bytes())
    )


@cache
def reference_distances(prototypes_from: Origin) -> Mapping[str, float]:
    """Relative distances of known targets, the nearest first: the scale on which a new one finds
    its place.

    From one broad source for each kind of prototypes, like the paper's: to a network of birds
    everything else is far, and among such values every target of a broad source would seem near.
    Made by `studies/recipes/distances.py`.
    """
    scale = TypeAdapter(dict[str, dict[str, dict[str, float]]])
    measured = scale.validate_json((FOLDER / "relative_distances.json").read_bytes())
    targets = measured[prototypes_from][BROAD_SOURCES[prototypes_from]]
    return {name: targets[name] for name in sorted(targets, key=lambda name: targets[name])}


def rank_among(known: Mapping[str, float], relative_distance: float) -> float:
    """Place of a target among known ones, 0 nearest to 1 farthest, straight lines between them.

    >>> rank_among({"a": 0.2, "b": 0.4, "c": 0.8}, 0.6)
    0.75
    """
    scale = sorted(known.values())
    return float(np.interp(relative_distance, scale, np.linspace(0, 1, len(scale))))
