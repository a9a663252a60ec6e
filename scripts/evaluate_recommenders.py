"""How far recommendations miss on targets and networks they have not seen.

    python scripts/evaluate_recommenders.py [--study results/reference_study] [--plot]

First the paper's Table 4: each target, then each column, is left out once. `decades` is the mean of
|log10(guess / best)|, `points` the mean top-1 error above the full search's that the paper's
Tables 2 and 8 imply for ImageNet ResNet-101, `held` how many 80 % ranges hold the best rate, with a
95 % interval. Seconds.

Then units: what recommendations lose on the study with an architecture left out, all its networks
and targets, by what rates are divided by (`kintune.experiments.rate_units`); and how large best
rates are over the trust ratio, and rates at which the first trainings break.

Then the curves of the reference study that have their best rate inside, and what of it falls to the
long and to the short budget and to whole sets: `points` is regret on the smoothed test errors, with
a 95 % bootstrap interval over targets; the noise floor is printed where curves have several seeds.
Models are chosen by validation errors.

`as recommended` is the model that `kintune recommend` uses, fitted to the rest of the study and to
Table 4; `after 2 runs` and `after 4 runs` is what is lost after so many runs of `kintune tune` from
there, drawn on the curves (`kintune.experiments.few_runs`), then the same search from 0.1; beside
each what is lost where the lowest error is kept, whatever was recommended.
Below it what was really run (`scripts/run_baselines.py`): the test error of those runs
above the least of the smoothed curve, on so many curves, and beside it what the recommendation
loses on the same curves, and the interval over targets of what it is better by; then each curve.

`--earlier DIR`, a former state of the study, comes last: what a model fitted to that loses on the
curves that it did not have. What was known beforehand and the runs `--beside` are those of now.

`--quick` leaves out, on the study, the families that are not used: two minutes instead of ten.

`--plot` writes docs/_static/calibration.svg: the share of left-out best rates that ranges hold,
against the share that they should hold.
"""

import argparse
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import get_args

from kintune.experiment import RunArchive
from kintune.experiments.baselines.methods import METHODS
from kintune.experiments.baselines.records import BaselineArchive
from kintune.experiments.baselines.regrets import compared, regrets
from kintune.experiments.calibration import calibration_chart
from kintune.experiments.few_runs import mean_lost_after
from kintune.experiments.known_facts import FACTS, FactsFile, read_facts
from kintune.experiments.paper_cases import paper_cases
from kintune.experiments.rate_units import SHIPPED_UNIT
from kintune.experiments.recommenders import (
    SHIPPED,
    Candidate,
    Case,
    LeftOut,
    Outcome,
    Rule,
    Score,
    always_usual,
    binomial_interval,
    candidates,
    final_regret,
    held,
    interval_over_targets,
    middle,
    miss_in_decades,
    momentum_by_similarity,
    nearest_reference,
    nested,
    prospective_outcomes,
    regret,
    ruled,
)
from kintune.experiments.study_cases import StudyCurve, study_cases, study_curves
from kintune.experiments.study_sources import BudgetName
from kintune.report.charts import drawn
from kintune.report.drawing import as_svg

ROOT = Path(__file__).parent.parent
STUDY, REPRODUCTION = ROOT / "results/reference_study", ROOT / "results/iclr2020"
BASELINES = ROOT / "results/baselines"
PLOT = ROOT / "docs/_static/calibration.svg"
OTHER_INPUTS = ("log_images_seen", "log_trust_ratio", "log_images_per_class", "probe")
CHOSE_UNIT = ("pocket", "mobilenetv2_100")
"""Architectures whose curves chose what rates are divided by; those of others only judge it."""
BROKEN = 0.3
"""Validation error above the best run's, at a larger rate than the best."""
LEFT_OUT: tuple[LeftOut, ...] = ("target", "architecture")
BUDGETS: Mapping[str, tuple[BudgetName, ...]] = {
    "all budgets": get_args(BudgetName),
    "long budget": ("long",),
    "short budget": ("short",),
    "whole sets": ("whole",),
}
RECOMMENDED, CHOSEN = "as recommended", "chosen inside each fold"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=STUDY)
    parser.add_argument("--beside", nargs="*", type=Path, default=[REPRODUCTION])
    parser.add_argument("--baselines", type=Path, default=BASELINES)
    parser.add_argument("--earlier", type=Path, help="a former state of the study")
    parser.add_argument("--plot", action="store_true", help="draw the calibration")
    parser.add_argument("--quick", action="store_true", help="rules and what is recommended alone")
    args = parser.parse_args()
    plotted = on_table_4()
    if args.earlier and not RunArchive(args.earlier).paths():
        parser.error(f"--earlier {args.earlier}: holds no runs. Give a former state of {STUDY}.")
    beside = [RunArchive(path) for path in args.beside]
    curves = list(study_curves(RunArchive(args.study), *beside))
    facts = read_facts(args.study / FACTS)
    tried = [] if args.quick else candidates("rank", OTHER_INPUTS)
    on_units(curves, facts)
    on_ends(curves, facts)
    plotted |= on_study(curves, facts, BaselineArchive(args.baselines), tried)
    if args.earlier:
        earlier = list(study_curves(RunArchive(args.earlier), *beside))
        on_later_curves(study_cases(curves, facts), study_cases(earlier, facts))
    if args.plot:
        PLOT.write_text(as_svg(drawn(calibration_chart(plotted))))
        print(f"\nwritten: {PLOT.relative_to(ROOT)}")


def on_table_4() -> dict[str, list[Outcome]]:
    """Print how recommendations do there; their outcomes by what was left out."""
    found: dict[str, list[Outcome]] = {}
    for by in ("target", "network"):
        print_heading(f"Table 4, each {by} left out")
        rules = {"nearest reference": nearest_reference("unlikeness"), **shared_rules("rank")}
        tried = candidates("rank")
        rows = outcome_rows(paper_cases(), by, rules, tried, miss_in_decades)
        print_rows(rows, rules)
        found[f"Table 4, {by} left out"] = rows[CHOSEN]
    return found


def on_study(
    curves: Sequence[StudyCurve],
    facts: FactsFile,
    baselines: BaselineArchive,
    tried: Sequence[Candidate],
) -> dict[str, list[Outcome]]:
    """The same on all curves, and what of it falls to each budget; the outcomes of all, by what was
    left out."""
    found: dict[str, list[Outcome]] = {}
    cases = study_cases(curves, facts)
    for by in LEFT_OUT:
        rules = {"nearest reference": nearest_reference("distance"), **shared_rules("distance")}
        rows = outcome_rows(cases, by, rules, tried, regret)
        # Table 4 tells of longer trainings than any in the study, on targets of its own.
        rows[RECOMMENDED] = nested(cases, [SHIPPED], by, regret, paper_cases())
        searched = ruled(cases, always_usual, by)
        for name, among in BUDGETS.items():
            kept = {row: [o for o in each if o.case.budget in among] for row, each in rows.items()}
            count = len(kept[RECOMMENDED])
            if not count:
                continue
            print_heading(f"Reference study, {name}, {count} curves, each {by} left out")
            print_rows(kept, rules)
            print_few_runs(kept[RECOMMENDED])
            print_each(kept[RECOMMENDED])
            print("always 0.1, searched on")
            print_few_runs([o for o in searched if o.case.budget in among])
            of_these = [curve for curve in curves if curve.budget in among]
            print_baselines(kept[RECOMMENDED], of_these, baselines)
        found[f"Reference study, {by} left out"] = rows[RECOMMENDED]
    for name, among in BUDGETS.items():
        print_floor(name, [curve for curve in curves if curve.budget in among])
    return found


def on_later_curves(cases: Sequence[Case], earlier: Sequence[Case]) -> None:
    """Print what the earlier ones said of those that came later."""

    def name(case: Case) -> tuple[str, str, str]:
        return case.network, case.target, case.budget

    known = set(map(name, earlier))
    for by in LEFT_OUT:
        later = prospective_outcomes(
            [c for c in cases if name(c) not in known], earlier, by, paper_cases()
        )
        usual = ruled([outcome.case for outcome in later], always_usual, by)
        for title, among in BUDGETS.items():
            rows = {
                row: [outcome for outcome in outcomes if outcome.case.budget in among]
                for row, outcomes in {"always 0.1": usual, RECOMMENDED: later}.items()
            }
            if rows[RECOMMENDED]:
                count = f"{len(rows[RECOMMENDED])} later curves, {len(earlier)} earlier"
                print_heading(f"Prospective, {title}, {count}, each {by} left out")
                print_rows(rows, {"always 0.1"})
                print_few_runs(rows[RECOMMENDED])


def on_units(curves: Sequence[StudyCurve], facts: FactsFile) -> None:
    """What recommendations lose with an architecture left out, by what rates are divided by."""
    outcomes = {
        unit: nested(
            study_cases(curves, facts, unit), [SHIPPED], "architecture", regret, paper_cases()
        )
        for unit in facts.units
    }
    for is_judge, text in ((False, "that chose the unit"), (True, "that did not")):
        print_heading(f"Units of rates, each architecture left out: curves of those {text}")
        for unit, found in outcomes.items():
            kept = [o for o in found if (o.case.architecture not in CHOSE_UNIT) == is_judge]
            if kept:
                print_row(unit, kept)


def on_ends(curves: Sequence[StudyCurve], facts: FactsFile) -> None:
    """Where in units of the trust ratio best rates end and trainings begin to break."""
    best: list[float] = []
    broken: list[tuple[float, str]] = []
    for curve in curves:
        known = facts.find(curve.source, curve.target)
        if known is not None and curve.is_inside:
            unit, place = known.units[SHIPPED_UNIT], curve.validation.best_rate
            most = min(run.validation_error for run in curve.runs) + BROKEN
            best.append(place / unit)
            broken += [
                (run.result.effective_lr / unit, f"{curve.source} {curve.target} {curve.budget}")
                for run in curve.runs
                if run.validation_error > most and run.result.effective_lr > place
            ]
    print(f"\nlargest best rate over the trust ratio {max(best):.2f}; broken first at")
    first = {name: min(rate for rate, at in broken if at == name) for _, name in broken}
    for name in sorted(first, key=lambda name: first[name])[:5]:
        print(f"    {name:34}{first[name]:8.2f}")


def print_floor(name: str, curves: Sequence[StudyCurve]) -> None:
    floors = [curve.noise_floor for curve in curves]
    known = [floor for floor in floors if floor is not None]
    if known:
        print(f"noise floor, {name:24}{100 * mean(known):13.2f} points, {len(known)} curves")


def shared_rules(distance: str) -> dict[str, Rule]:
    return {
        "always 0.1": always_usual,
        "median": middle,
        "momentum by similarity": momentum_by_similarity(distance),
    }


def print_heading(text: str) -> None:
    print(f"\n{text}\n{'':34}{'decades':>8}{'points':>8}{'interval':>16}    held")


def print_each(outcomes: Sequence[Outcome]) -> None:
    """What each case loses, the largest losses first."""
    for lost, case in sorted(
        ((final_regret(o.case, o.guess), o.case) for o in outcomes), key=lambda pair: -pair[0]
    ):
        print(f"    {case.network:14}{case.target:18}{case.budget:6}{100 * lost:8.2f}")


def print_few_runs(outcomes: Sequence[Outcome]) -> None:
    """After two and four runs, on average over the cases; and where the lowest error is kept."""
    lowest = mean_lost_after(outcomes, keeps_lowest=True)
    for runs, lost in mean_lost_after(outcomes).items():
        print(f"  after {runs} runs{'':22}{'':8}{100 * lost:8.2f}", end="")
        print(f"   (by the lowest error alone {100 * lowest[runs]:.2f})")


def outcome_rows(
    cases: Sequence[Case],
    by: LeftOut,
    rules: dict[str, Rule],
    tried: Sequence[Candidate],
    score: Score,
) -> dict[str, list[Outcome]]:
    """The outcomes of each rule and family, and of what is chosen among these inside each fold."""
    rows = {name: ruled(cases, rule, by) for name, rule in rules.items()}
    for family in dict.fromkeys(candidate.family for candidate in tried):
        only = [candidate for candidate in tried if candidate.family == family]
        rows[family] = nested(cases, only, by, score)
    if tried:
        rows[CHOSEN] = nested(cases, tried, by, score)
    return rows


def print_rows(rows: Mapping[str, Sequence[Outcome]], rules: Container[str]) -> None:
    """Rules have no ranges."""
    for name, outcomes in rows.items():
        print_row(name, outcomes, ranges=name not in rules)


def print_baselines(
    outcomes: Sequence[Outcome], curves: Sequence[StudyCurve], archive: BaselineArchive
) -> None:
    print(f"{'really run':34}{'curves':>8}{'points':>8}{'interval':>16}{'chosen':>8}  better by")
    for method in METHODS:
        found = regrets(method, outcomes, curves, archive)
        row = compared(found)
        if row is None:
            print(f"{method:34}{'not run':>8}")
            continue
        print(
            f"{method:34}{row.curves:8}{100 * row.regret:8.2f}{in_points(row.interval):>16}"
            f"{100 * row.recommended:8.2f}  {in_points(row.gain)}"
        )
        for each in found:
            print(f"    {each.curve:34}{100 * each.regret:8.2f}")


def in_points(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * low:.2f} to {100 * high:.2f}"


def print_row(name: str, outcomes: Sequence[Outcome], *, ranges: bool = True) -> None:
    misses = mean(outcome.case.miss(outcome.guess) for outcome in outcomes)
    known = [outcome for outcome in outcomes if outcome.case.final_regret is not None]
    points = 100 * mean(final_regret(o.case, o.guess) for o in known)
    interval = in_points(interval_over_targets(known, final_regret))
    print(
        f"{name:34}{misses:8.2f}{points:8.2f}{interval:>16}{held_text(outcomes) if ranges else ''}"
    )


def held_text(outcomes: Sequence[Outcome]) -> str:
    count, total = held(outcomes)
    low, high = binomial_interval(count, total)
    return f"    {count}/{total} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
