"""Four claims of the paper, held against the recorded runs by rules that were written beforehand.

Validation errors choose, test errors decide. A claim without the runs that its rule needs is not
yet measured; what a rule cannot decide stays undecided.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from statistics import mean
from typing import Literal

from kintune.base.records import Record
from kintune_paper.curves import MIN_RATES, RunError, error_curve
from kintune_paper.engine.declaration import (
    CellKind,
    Choice,
    DeclaredRun,
    Measurement,
    Protocol,
)
from kintune_paper.engine.known import KnownRuns, Outcome, outcome
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.iclr2020.axes import core, decays, lrs, rates, repeated
from kintune_paper.iclr2020.protocols import MOMENTA
from kintune_paper.iclr2020.table5 import KIND, METHODS, searched
from kintune_paper.iclr2020.table8 import (
    SOURCES,
    Chooser,
    default,
    scratch_default,
    scratch_searched,
)
from kintune_paper.iclr2020.table8 import searched as searched_source

Word = Literal["holds", "holds in part", "does not hold", "undecided", "not yet measured"]
LEVEL = 0.05
"""Significance level of a permutation test."""
MIN_SETS = 4
"""For a correlation: of three sets no order is rarer than one in six."""
FEW_IMAGES = 300
"""Number of images of a test split whose size is not recorded: the smallest one."""
REAL = 2.0
"""Standard errors that make a difference."""


class Verdict(Record):
    """A claim and what the runs say of it."""

    claim: str
    rule: str
    word: Word
    evidence: str


def verdicts(
    protocol: Protocol, known: KnownRuns, measurements: MeasurementArchive
) -> tuple[Verdict, ...]:
    """All four."""
    return (
        momentum_acts_through_the_rate(protocol, known),
        rate_falls_with_similarity(protocol, known, measurements),
        l2sp_helps_near_and_not_far(protocol, known),
        defaults_mislead(protocol, known),
    )


def momentum_acts_through_the_rate(protocol: Protocol, known: KnownRuns) -> Verdict:
    """Claim 1."""
    word: Word = "not yet measured"
    differences = {
        target: (_momentum_effect(protocol, target, known, at_equal_rate=True), found)
        for target in protocol.sets
        for found in [_momentum_effect(protocol, target, known, at_equal_rate=False)]
        if found is not None
    }
    pairs = {key: (a, b) for key, (a, b) in differences.items() if a is not None and b is not None}
    kept = [target for target, (equal, other) in pairs.items() if equal <= other / 2]
    if len(pairs) > 1:
        word = "holds" if len(kept) == len(pairs) else "holds in part" if kept else "does not hold"
    said = "; ".join(
        f"{protocol.title(target)} {100 * equal:.1f} against {100 * other:.1f} points"
        + _at_the_largest_rate(protocol, target, known)
        for target, (equal, other) in pairs.items()
    )
    return Verdict(
        claim="Momentum acts through the effective learning rate.",
        rule=(
            "Mean absolute difference of test error between momentum 0.9 and 0, over the rates "
            "that both have: at equal η' and equal decay per step it is at most half of what it is "
            "at equal η and λ. Holds on every set, in part on some; at least two sets."
        ),
        word=word,
        evidence=said,
    )


def _momentum_effect(
    protocol: Protocol, target: str, known: KnownRuns, *, at_equal_rate: bool
) -> float | None:
    """Mean |difference| between the momenta over the recorded pairs of settings that are to be
    compared."""
    found = _differences(protocol, target, known, at_equal_rate=at_equal_rate)
    return mean(difference for _, difference in found) if found else None


def _differences(
    protocol: Protocol, target: str, known: KnownRuns, *, at_equal_rate: bool
) -> list[tuple[float, float]]:
    """η' with momentum 0.9, and |difference| of test error to momentum 0, of each recorded pair."""
    found: list[tuple[float, float]] = []
    for first, second in momentum_pairs(protocol, target, at_equal_rate=at_equal_rate):
        one, other = outcome((first,), known), outcome((second,), known)
        if one is not None and other is not None:
            found.append((first.settings.effective_lr, abs(one.mean() - other.mean())))
    return found


def _at_the_largest_rate(protocol: Protocol, target: str, known: KnownRuns) -> str:
    """Parts of the mean at equal η': below the largest rate, and at it."""
    found = _differences(protocol, target, known, at_equal_rate=True)
    largest = max(rate for rate, _ in found)
    below = [difference for rate, difference in found if rate < largest]
    at = [difference for rate, difference in found if rate == largest]
    if not below:
        return ""
    return f" (below η' {largest:.2g} {100 * mean(below):.1f}, at it {100 * mean(at):.1f})"


def momentum_pairs(
    protocol: Protocol, target: str, *, at_equal_rate: bool
) -> list[tuple[DeclaredRun, DeclaredRun]]:
    """Settings with momentum 0.9 and 0 that are equal otherwise: in η' and decay per step, or in η
    and λ."""
    one, other = (
        protocol.runs(
            protocol.main,
            target,
            momentum=momentum,
            lr=lrs(protocol, momentum),
            weight_decay=tuple(dict.fromkeys((0.0, *decays(protocol, momentum)))),
        )
        for momentum in MOMENTA
    )

    def place(run: DeclaredRun) -> tuple[str, str]:
        used = run.settings
        rate, decay = (
            (used.effective_lr, used.decay_per_step)
            if at_equal_rate
            else (used.lr, used.weight_decay)
        )
        return f"{rate:.6g}", f"{decay:.6g}"

    at = {place(run): run for run in other}
    return [(run, at[place(run)]) for run in one if place(run) in at]


def rate_falls_with_similarity(
    protocol: Protocol, known: KnownRuns, measurements: MeasurementArchive
) -> Verdict:
    """Claim 2."""
    found = [
        (target, far, best)
        for target in protocol.sets
        for far in [_distance(protocol, target, measurements)]
        for best in [best_rate(protocol, target, known)]
        if far is not None and best is not None
    ]
    word: Word = "not yet measured"
    evidence = "; ".join(
        f"{protocol.title(target)} δ {far:.2f}: η' {best:.2g}" for target, far, best in found
    )
    if len(found) >= MIN_SETS:
        correlation, p = rank_correlation([f for _, f, _ in found], [b for _, _, b in found])
        word = "holds" if p <= LEVEL else "undecided" if correlation > 0 else "does not hold"
        evidence += f". Rank correlation {correlation:.2f}, p {p:.3f}"
    return Verdict(
        claim="The best effective learning rate falls as the similarity grows.",
        rule=(
            "Spearman's rank correlation over the sets between the relative distance δ and the "
            "best η' (momentum 0.9 and 0 pooled, smoothed validation errors): holds where a "
            f"one-sided permutation test gives p ≤ {LEVEL:g}, does not where it is not positive; "
            f"at least {MIN_SETS} sets."
        ),
        word=word,
        evidence=evidence,
    )


def _distance(protocol: Protocol, target: str, measurements: MeasurementArchive) -> float | None:
    own = Measurement(kind="similarity", network=protocol.main, target=target)
    found = measurements.read(own)
    return None if found is None else found["relative_distance"]


def best_rate(protocol: Protocol, target: str, known: KnownRuns) -> float | None:
    """The effective rate of the least smoothed validation error at the usual decay, all momenta and
    seeds pooled; None with fewer than four rates, and before all are recorded."""
    declared = [
        run for momentum in MOMENTA for run in rates(protocol, protocol.main, target, momentum)
    ]
    if any(run.setting_key not in known.seeds for run in declared):
        return None
    records = [record for run in declared for record in known.seeds[run.setting_key].values()]
    runs = [
        RunError(
            float(f"{record.config.hyperparameters.effective_lr:.6g}"),
            record.validation_error,
            record.config.seed,
        )
        for record in records
    ]
    if len({run.effective_lr for run in runs}) < MIN_RATES:
        return None
    file = known.files.get((protocol.main, target))
    return error_curve(runs, file.counts["val"] if file else protocol.usual_images).best_rate


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's correlation, and how often a random order has one as large.

    >>> rank_correlation([1, 2, 3, 4], [10, 20, 30, 40])
    (1.0, 0.041666666666666664)
    """
    ranks = _ranks(second)
    real = _correlation(_ranks(first), ranks)
    others = [_correlation(order, ranks) for order in permutations(_ranks(first))]
    return real, sum(other >= real - 1e-9 for other in others) / len(others)


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of theirs."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    a, b = ([value - mean(each) for value in each] for each in (first, second))
    scale = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / scale if scale else 0.0


def l2sp_helps_near_and_not_far(protocol: Protocol, known: KnownRuns) -> Verdict:
    """Claim 3."""
    sets = core(protocol)
    gains = {
        target: found for target in sets for found in [_gain(protocol, target, known)] if found
    }
    halves = [sets[: len(sets) // 2], sets[len(sets) // 2 :]]
    near, far = ([gains[target] for target in half if target in gains] for half in halves)
    word: Word = "not yet measured"
    is_whole = bool(near and far) and len(gains) == len(sets)
    if is_whole and all(error is not None for _, error in (*near, *far)):
        helps_near = all(gain > REAL * (error or 0.0) for gain, error in near)
        helps_far = any(gain > REAL * (error or 0.0) for gain, error in far)
        is_larger = mean(gain for gain, _ in near) > mean(gain for gain, _ in far)
        word = (
            "holds"
            if helps_near and not helps_far
            else "does not hold"
            if helps_far or not is_larger
            else "undecided"
        )
    elif is_whole:
        word = "undecided"
    said = "; ".join(
        f"{protocol.title(target)} {100 * gain:+.1f}"
        + ("" if error is None else f" ± {100 * error:.1f}")
        for target, (gain, error) in gains.items()
    )
    return Verdict(
        claim="L2-SP helps near the source and not far from it.",
        rule=(
            "What L2-SP lowers the average class error by against L2, each with its best setting: "
            f"more than {REAL:g} standard errors on both near sets and on neither far one. Does "
            "not hold where it helps a far set so, or where near sets gain no more than far ones; "
            "with one seed, undecided."
        ),
        word=word,
        evidence=f"Points gained: {said}" if said else "",
    )


def _gain(protocol: Protocol, target: str, known: KnownRuns) -> tuple[float, float | None] | None:
    """L2's error less that of L2-SP, and its standard error; None of the latter with one seed.
    None of both before all settings are recorded."""
    choices = (repeated(searched(protocol, target, method), protocol, KIND) for method in METHODS)
    first, second = (_complete(choice, known, KIND) for choice in choices)
    if first is None or second is None:
        return None
    gain = first.mean(KIND) - second.mean(KIND)
    spreads = [(each.spread(KIND), len(each.runs)) for each in (first, second)]
    known_ones = [spread**2 / runs for spread, runs in spreads if spread is not None]
    return gain, math.sqrt(sum(known_ones)) if len(known_ones) == len(spreads) else None


def _complete(choice: Choice, known: KnownRuns, kind: CellKind = "top-1 error") -> Outcome | None:
    """The outcome of a choice; None before all its settings are recorded."""
    found = outcome(choice, known, kind)
    return None if found is None or found.found < found.declared else found


def defaults_mislead(protocol: Protocol, known: KnownRuns) -> Verdict:
    """Claim 4."""
    sources = SOURCES[protocol.name]
    turned: list[str] = []
    compared = 0
    shrunk: dict[str, tuple[float, float]] = {}
    for target in protocol.sets:
        before, after = _column(protocol, target, known, sources)
        names = [name for name in before if name in after]
        file = known.files.get((protocol.main, target))
        images = file.counts["test"] if file else FEW_IMAGES
        for place, one in enumerate(names):
            for other in names[place + 1 :]:
                compared += 1
                if _is_turned(before, after, (one, other), images):
                    turned.append(f"{protocol.title(target)}: {one} and {other}")
        if "scratch" in names and protocol.main in names:
            shrunk[target] = (
                before["scratch"].mean() - before[protocol.main].mean(),
                after["scratch"].mean() - after[protocol.main].mean(),
            )
    word: Word = "not yet measured"
    evidence = ""
    if shrunk:
        gap, left = (mean(gaps) for gaps in zip(*shrunk.values(), strict=True))
        word = "holds" if turned or left <= gap / 2 else "undecided"
        if not turned and left > 0.75 * gap:
            word = "does not hold"
        evidence = (
            f"{len(turned)} of {compared} orders are turned around"
            + (f" ({'; '.join(turned)})" if turned else "")
            + ". Points by which random weights are behind, with default settings and after the "
            f"search: {_gaps(protocol, shrunk)}; mean {100 * gap:.1f} and {100 * left:.1f}"
        )
    return Verdict(
        claim="Default hyperparameters lead to wrong conclusions.",
        rule=(
            "On one set, two sources (or a source and random weights) whose test errors differ by "
            f"more than {REAL:g} binomial standard errors with default settings, and as much the "
            "other way after the search: holds where one order is turned around so, or where the "
            "mean gap between fine-tuning and random weights shrinks by half; does not hold where "
            "none is and the gap keeps three quarters."
        ),
        word=word,
        evidence=evidence,
    )


def _gaps(protocol: Protocol, gaps: Mapping[str, tuple[float, float]]) -> str:
    return ", ".join(
        f"{protocol.title(target)} {100 * before:.1f} and {100 * after:.1f}"
        for target, (before, after) in gaps.items()
    )


def _column(
    protocol: Protocol, target: str, known: KnownRuns, sources: Sequence[str]
) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Outcomes of one set with default settings and after the search, by source."""

    def found(fine_tuned: Chooser, scratch: Chooser) -> dict[str, Outcome]:
        choices = {name: fine_tuned(protocol, name, target) for name in sources}
        choices["scratch"] = scratch(protocol, protocol.scratch, target)
        outcomes = {name: _complete(choice, known) for name, choice in choices.items()}
        return {name: each for name, each in outcomes.items() if each is not None}

    return found(default, scratch_default), found(searched_source, scratch_searched)


def _is_turned(
    before: dict[str, Outcome], after: dict[str, Outcome], pair: tuple[str, str], images: int
) -> bool:
    first, second = (
        _clear_difference(found[pair[0]].mean(), found[pair[1]].mean(), images)
        for found in (before, after)
    )
    return first * second < 0


def _clear_difference(one: float, other: float, images: int) -> int:
    """-1, 0 or 1: whether one error on so many images is clearly lower or higher."""
    spread = math.sqrt(sum(error * (1 - error) / images for error in (one, other)))
    if abs(one - other) <= REAL * spread:
        return 0
    return 1 if one > other else -1
