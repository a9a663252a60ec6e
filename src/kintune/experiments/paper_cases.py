"""The paper's best rates (Table 4) as cases, with errors (Tables 2 and 8) where it prints them."""

import math
from collections.abc import Callable

import numpy as np

from kintune.defaults import WEIGHT_DECAY
from kintune.experiments.iclr2020.published import published
from kintune.experiments.rate_evidence import log_unit
from kintune.experiments.recommenders import Case
from kintune.hyperparameters import effective_lr
from kintune.reference import ReferenceRow, ReferenceTable, shipped_reference_tables

TRUST_RATIO = 1.0
"""That stands in for the paper's networks, which cannot be measured any more."""

_WITH_ERRORS = ("ImageNet", "ResNet-101-V2")


def paper_cases() -> list[Case]:
    """The 35 pairs of Table 4.

    Inputs: `rank` in the column, 0 nearest to 1 farthest; `log_images_seen`; and `unlikeness`,
    minus the similarity, for what compares inside one column only: those of different extractors
    have no common scale.
    """
    return [
        _case(table, row, rank)
        for table in shipped_reference_tables()
        if table.extractor is None
        for row, rank in zip(table.rows, table.ranks(), strict=True)
    ]


def _case(table: ReferenceTable, row: ReferenceRow, rank: float) -> Case:
    has_errors = (table.source, table.network) == _WITH_ERRORS
    regret = implied_regret(row.target, row.effective_lr) if has_errors else None
    return Case(
        target=row.target,
        network=f"{table.network} of {table.source}",
        inputs={
            "rank": rank,
            "log_images_seen": math.log10(row.images * row.epochs),
            "log_images_per_class": math.log10(row.images / row.classes),
            "unlikeness": -row.nearness,
        },
        log_rate=math.log10(row.effective_lr),
        noise=row.rate_noise,
        study="published",
        log_unit=log_unit(row.batch_size, TRUST_RATIO),
        regret=regret,
        final_regret=regret,
    )


def implied_regret(target: str, best_rate: float) -> Callable[[float], float]:
    """Regret of a rate by the paper's own numbers, as a fraction.

    Straight lines in log rate through the four errors of Table 2 and, at the best rate of Table 4,
    the error of Table 8, which the search reached with the best momentum and decay; beyond the
    first and the last of these rates the error stays. The grid has no repeated runs, so no noise is
    known.
    """
    # Where the search's best rate is one of Table 2's, its error replaces that of the fixed decay.
    found = searched_error(target)
    points = sorted({**fixed_decay_errors(target), best_rate: found}.items())
    log_rates, errors = np.log10([rate for rate, _ in points]), [error for _, error in points]

    def regret(rate: float) -> float:
        return float(np.interp(math.log10(rate), log_rates, errors) - found) / 100

    return regret


def fixed_decay_errors(target: str) -> dict[float, float]:
    """Table 2's errors at weight decay 0.0001, percent, by effective rate.

    >>> fixed_decay_errors("Dogs")
    {0.005: 10.21, 0.01: 11.0, 0.05: 14.14, 0.1: 17.2}
    """
    table = published()["table2"]
    rows = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    errors = {
        round(effective_lr(float(row["η"]), float(row["m"])), 10): float(row[target])
        for row in rows
        if row["λ"] == WEIGHT_DECAY
    }
    return dict(sorted(errors.items()))


def searched_error(target: str) -> float:
    """Table 8's error after the full search from ImageNet, percent."""
    return float(published()["table8"].row("FT HPO", "ImageNet")[target])
