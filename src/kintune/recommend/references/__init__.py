"""Measured fine-tunings as data, each with its origin, and the distances of known targets."""

from kintune.recommend.references.ranks import (
    Origin,
    origin_of,
    rank_among,
    rank_of,
    reference_distances,
)
from kintune.recommend.references.recipes import (
    Quality,
    ShippedReferences,
    load_recipe_references,
    own_references,
    own_references_path,
    recipe_deviations,
    recipe_quality,
    with_reference,
)

__all__ = [
    "Origin",
    "Quality",
    "ShippedReferences",
    "load_recipe_references",
    "origin_of",
    "own_references",
    "own_references_path",
    "rank_among",
    "rank_of",
    "recipe_deviations",
    "recipe_quality",
    "reference_distances",
    "with_reference",
]
