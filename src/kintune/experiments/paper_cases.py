"""The paper's best rates (Table 4) as cases, with errors (Tables 2 and 8) where it prints them."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from kintune.experiments.recommenders import Case
from kintune.reference import ReferenceRow, ReferenceTable, load_reference_tables

TABLE_NOISE = 0.25
"""Decades by which a best rate of the paper's grid is uncertain."""

# Table 2: top-1 errors in percent, ImageNet ResNet-101, by effective rate: momentum 0 and 0.9 with
# learning rate 0.005 and 0.01, at weight decay 1e-4.
_TABLE_2: Mapping[str, Mapping[float, float]] = {
    "Dogs": {0.005: 10.21, 0.01: 11.00, 0.05: 14.14, 0.1: 17.20},
    "Caltech": {0.005: 11.86, 0.01: 12.11, 0.05: 13.42, 0.1: 14.85},
    "Indoor": {0.005: 21.96, 0.01: 21.14, 0.05: 24.59, 0.1: 23.76},
    "Birds": {0.005: 18.24, 0.01: 17.41, 0.05: 17.24, 0.1: 18.10},
    "Cars": {0.005: 13.22, 0.01: 11.07, 0.05: 9.08, 0.1: 9.10},
    "Aircrafts": {0.005: 24.39, 0.01: 20.58, 0.05: 18.21, 0.1: 17.55},
    "Flowers": {0.005: 7.03, 0.01: 5.48, 0.05: 3.50, 0.1: 3.12},
}
# Table 8: the errors that the full search found, percent.
_TABLE_8: Mapping[str, float] = {
    "Dogs": 9.83,
    "Caltech": 11.61,
    "Indoor": 20.54,
    "Birds": 16.34,
    "Cars": 7.61,
    "Aircrafts": 12.33,
    "Flowers": 2.91,
}
_WITH_ERRORS = ("ImageNet", "ResNet-101-V2")


def paper_cases() -> list[Case]:
    """The 35 pairs of Table 4.

    Inputs: `rank` in the column, 0 nearest to 1 farthest; and `unlikeness`, minus the similarity,
    for what compares inside one column only: those of different extractors have no common scale.
    """
    return [
        _case(table, row, rank)
        for table in load_reference_tables()
        if table.extractor is None
        for row, rank in zip(table.rows, table.ranks(), strict=True)
    ]


def _case(table: ReferenceTable, row: ReferenceRow, rank: float) -> Case:
    has_errors = (table.source, table.network) == _WITH_ERRORS
    regret = implied_regret(row.target, row.effective_lr) if has_errors else None
    return Case(
        target=row.target,
        network=f"{table.network} of {table.source}",
        inputs={"rank": rank, "unlikeness": -row.nearness},
        place=math.log10(row.effective_lr),
        noise=TABLE_NOISE,
        regret=regret,
        final_regret=regret,
    )


def implied_regret(target: str, best_rate: float) -> Callable[[float], float]:
    """What a rate loses by the paper's own numbers, as a fraction.

    Straight lines in log rate through the four errors of Table 2 and, at the best rate of Table 4,
    the error of Table 8, which the search reached with the best momentum and decay; beyond the
    first and the last of these rates the error stays. The grid has no repeated runs, so no noise is
    known.
    """
    # Where the search's best rate is one of Table 2's, its error replaces that of the fixed decay.
    points = sorted({**_TABLE_2[target], best_rate: _TABLE_8[target]}.items())
    places, errors = np.log10([rate for rate, _ in points]), [error for _, error in points]

    def regret(rate: float) -> float:
        return float(np.interp(math.log10(rate), places, errors) - _TABLE_8[target]) / 100

    return regret
