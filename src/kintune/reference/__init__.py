"""Measured fine-tunings as data, each with its origin: references of recipes, and tables of best
effective learning rates."""

from kintune.reference.ranks import origin_of, rank_of
from kintune.reference.recipes import (
    Quality,
    ShippedReferences,
    load_recipe_references,
    own_references,
    own_references_path,
    recipe_deviations,
    recipe_quality,
    with_reference,
)
from kintune.reference.tables import (
    Origin,
    ReferenceRow,
    ReferenceTable,
    images_seen,
    rank_among,
    reference_distances,
    shipped_reference_tables,
)

__all__ = [
    "Origin",
    "Quality",
    "ReferenceRow",
    "ReferenceTable",
    "ShippedReferences",
    "images_seen",
    "load_recipe_references",
    "origin_of",
    "own_references",
    "own_references_path",
    "rank_among",
    "rank_of",
    "recipe_deviations",
    "recipe_quality",
    "reference_distances",
    "shipped_reference_tables",
    "with_reference",
]
