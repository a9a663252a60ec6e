"""Reference tables: measured best effective learning rates, as data, each row with its origin."""

from kintune.reference.tables import (
    ReferenceRow,
    ReferenceTable,
    load_reference_tables,
    reference_distances,
)

__all__ = ["ReferenceRow", "ReferenceTable", "load_reference_tables", "reference_distances"]
