"""How far simple rules miss the best effective learning rates of the paper's Table 4.

    python scripts/evaluate_nearest_reference.py

Each data set of each column is left out once; the error is in decades, |log10(guess / best)|.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median

from pydantic import TypeAdapter

from kintune import reference
from kintune.reference import ReferenceRow, ReferenceTable

Rule = Callable[[ReferenceRow, Sequence[ReferenceRow]], float]
TABLE_4 = Path(reference.__file__).parent / "paper_table4.json"


def nearest(left_out: ReferenceRow, others: Sequence[ReferenceRow]) -> float:
    """The best rate of the reference with the nearest similarity."""
    return min(others, key=lambda row: abs(row.nearness - left_out.nearness)).effective_lr


def middle(_left_out: ReferenceRow, others: Sequence[ReferenceRow]) -> float:
    """The median of the other best rates, in log rate."""
    return 10 ** median(math.log10(row.effective_lr) for row in others)


def always(_left_out: ReferenceRow, _others: Sequence[ReferenceRow]) -> float:
    """The usual default: learning rate 0.01 with momentum 0.9."""
    return 0.1


def errors(rule: Rule, tables: Sequence[ReferenceTable]) -> list[float]:
    """The rule's error for each row of each table, in decades."""
    return [
        abs(
            math.log10(rule(row, [other for other in table.rows if other is not row]))
            - math.log10(row.effective_lr)
        )
        for table in tables
        for row in table.rows
    ]


if __name__ == "__main__":
    tables = TypeAdapter(tuple[ReferenceTable, ...]).validate_json(TABLE_4.read_bytes())
    for name, rule in (("nearest reference", nearest), ("median", middle), ("always 0.1", always)):
        found = errors(rule, tables)
        print(f"{name:18} {mean(found):.2f} decades on average, {len(found)} pairs")
