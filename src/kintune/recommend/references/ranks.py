"""Where a measured distance lies among those of known targets."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter

from kintune.base.errors import IncomparableError
from kintune.similarity import Similarity

Origin = Literal["images", "head"]
"""Origin of a source's prototypes: each has a scale of known targets."""
BROAD_SOURCES: Mapping[Origin, str] = {"head": "ImageNet-1k", "images": "CIFAR-100, 80 classes"}
FOLDER = Path(__file__).parent


def rank_of(similarity: Similarity) -> float:
    """Place of a target among the known ones of a broad source: 0 nearest, 1 farthest.

    Raises:
        IncomparableError: the source's prototypes are clusters of images.
    """
    return rank_among(reference_distances(origin_of(similarity)), similarity.relative_distance)


def origin_of(similarity: Similarity) -> Origin:
    """Which scale of known targets a measured distance belongs to.

    Raises:
        IncomparableError: none; the source's prototypes are clusters of images.
    """
    match similarity.prototypes_from:
        case "images" | "head" as origin:
            return origin
        case other:
            raise IncomparableError(
                f"prototypes from {other!r} have no reference scale; use prototypes from images or "
                "from the head."
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
