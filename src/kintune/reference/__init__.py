"""Reference tables: measured best effective learning rates, as data, each row with its origin."""

from kintune.reference.own import own_reference_tables, own_references_path, with_reference
from kintune.reference.tables import (
    Origin,
    ReferenceRow,
    ReferenceTable,
    images_seen,
    rank_among,
    reference_distances,
    shipped_reference_tables,
)


def load_reference_tables() -> tuple[ReferenceTable, ...]:
    """The tables that ship with Kintune, then the person's own.

    Raises:
        OptionError: the file of the person's own is damaged.
    """
    return shipped_reference_tables() + own_reference_tables()


__all__ = [
    "Origin",
    "ReferenceRow",
    "ReferenceTable",
    "images_seen",
    "load_reference_tables",
    "own_reference_tables",
    "own_references_path",
    "rank_among",
    "reference_distances",
    "shipped_reference_tables",
    "with_reference",
]
