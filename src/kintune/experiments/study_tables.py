"""Results of the reference study, as rows: for a page, and for the recommendation to use."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import mean, median

from kintune.curves import FLAT
from kintune.experiments.known_facts import FactsFile, KnownFacts
from kintune.experiments.rate_units import SHIPPED_UNIT
from kintune.experiments.recommenders import USUAL_RATE
from kintune.experiments.reference_study import BATCH_SIZE
from kintune.experiments.study_cases import StudyCurve
from kintune.experiments.study_sources import SOURCES, BudgetName, network_file
from kintune.experiments.targets import set_of
from kintune.reference import ReferenceRow, ReferenceTable

ORIGIN = "scripts/reference_study.py --tables: least smoothed validation error"
LENGTHENED: tuple[tuple[BudgetName, BudgetName], ...] = (("short", "long"), ("long", "whole"))
"""Budgets whose best rates are compared."""
HEADER = (
    "| source | target | steps | best rate | within 1 point | test error there | default loses | "
    "noise floor | runs | seeds |\n|---|---|---|---|---|---|---|---|---|---|"
)


def markdown_row(curve: StudyCurve) -> str:
    """A curve as a row below `HEADER`: rates from validation errors, the rest from test errors."""
    best = curve.validation.best_rate
    low, high = curve.validation.within(FLAT)
    inside = "" if curve.is_inside else " (at the edge)"
    floor = curve.noise_floor
    seeds = len({run.config.seed for run in curve.runs})
    cells = (
        curve.source,
        curve.target,
        curve.steps,
        f"{best:.2g}{inside}",
        f"{low:.2g} to {high:.2g}",
        f"{100 * float(curve.test.at([best])[0]):.1f} %",
        f"{100 * curve.test.regret(USUAL_RATE):.1f}",
        "" if floor is None else f"{100 * floor:.1f}",
        len(curve.runs),
        seeds,
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def summary(curves: Sequence[StudyCurve]) -> str:
    """One sentence: what the usual default loses on the curves whose best rate lies inside."""
    inside = [curve for curve in curves if curve.is_inside]
    if not inside:
        return "No curve has its best rate inside yet."
    losses = [100 * curve.test.regret(USUAL_RATE) for curve in inside]
    return (
        f"On {len(inside)} curves whose best rate lies inside, an effective rate of {USUAL_RATE:g} "
        f"loses {mean(losses):.1f} points of top-1 error on average, at most {max(losses):.1f}."
    )


def devices(curves: Sequence[StudyCurve]) -> str:
    """One sentence: how many runs the curves are made of, and what trained them."""
    runs = {run.config.id: run.device for curve in curves for run in curve.runs}
    counts = ", ".join(f"{count:,} on {device}" for device, count in Counter(runs.values()).items())
    return f"{len(runs):,} runs: {counts}."


def shifts(curves: Sequence[StudyCurve]) -> Iterator[str]:
    """A line for each source and pair of budgets: how much smaller best rates of the longer are."""
    inside = [curve for curve in curves if curve.is_inside]
    rates = {(c.source, set_of(c.target), c.budget): c.validation.best_rate for c in inside}
    for source in dict.fromkeys(curve.source for curve in inside):
        for shorter, longer in LENGTHENED:
            found = [
                rates[source, target, shorter] / rate
                for (other, target, budget), rate in rates.items()
                if (other, budget) == (source, longer) and (source, target, shorter) in rates
            ]
            if found:
                yield (
                    f"{source}: best rates of the {shorter} budget over those of the {longer} one: "
                    f"{median(found):.1f} (median; {min(found):.1f} to {max(found):.1f}, "
                    f"{len(found)} sets)"
                )


def reference_tables(curves: Sequence[StudyCurve], facts: FactsFile) -> Iterator[ReferenceTable]:
    """A table for each source that is a reference, of its curves whose best rate lies inside."""
    usable = [
        (curve, known)
        for curve in curves
        if curve.is_inside and SOURCES[curve.source].is_reference
        for known in [facts.find(curve.source, curve.target)]
        if known is not None
    ]
    for _, pairs in groupby(usable, key=lambda pair: pair[0].source):
        rows = list(pairs)
        curve, known = rows[0]
        yield ReferenceTable(
            source=known.domain,
            network=network_file(curve.source).model,
            origin=ORIGIN,
            prototypes_from=known.prototypes_from,
            extractor=known.extractor,
            weights_sha256=known.weights_sha256,
            trust_ratio=known.units[SHIPPED_UNIT],
            rows=tuple(_row(each, fact) for each, fact in rows),
        )


def _row(curve: StudyCurve, known: KnownFacts) -> ReferenceRow:
    return ReferenceRow(
        target=set_of(curve.target),
        relative_distance=known.relative_distance,
        effective_lr=float(f"{curve.validation.best_rate:.3g}"),
        batch_size=BATCH_SIZE,
        epochs=SOURCES[curve.source].epochs[curve.budget],
        images=known.images,
        classes=known.classes,
        rate_noise=round(curve.validation.rate_noise, 3),
    )
