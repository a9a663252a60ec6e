"""How far recommendations miss on targets and networks they have not seen.

    python scripts/evaluate_recommenders.py [--study results/reference_study]

First the paper's Table 4: each target, then each column, is left out once. `decades` is the mean of
|log10(guess / best)|, `points` the mean top-1 error above the full search's that the paper's
Tables 2 and 8 imply for ImageNet ResNet-101, `held` how many 80 % ranges hold the best rate, with a
95 % interval. Seconds.

Then the curves of the reference study that have their best rate inside, long and short budgets
apart: `points` is regret on the smoothed test errors, with a 95 % bootstrap interval over targets;
the noise floor is printed where curves have several seeds. Models are chosen by validation errors.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from kintune.experiment import RunArchive
from kintune.experiments.known_facts import FACTS, read_facts
from kintune.experiments.paper_cases import paper_cases
from kintune.experiments.recommenders import (
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
    regret,
    ruled,
)
from kintune.experiments.study_cases import StudyCurve, study_cases, study_curves

STUDY = Path(__file__).parent.parent / "results/reference_study"
OTHER_INPUTS = ("log_steps", "log_norm", "log_images_per_class", "probe")
LEAST_TARGETS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=STUDY)
    args = parser.parse_args()
    for by in ("target", "network"):
        print_heading(f"Table 4, each {by} left out")
        rules = {"nearest reference": nearest_reference("unlikeness"), **shared_rules("rank")}
        print_rows(paper_cases(), by, rules, candidates("rank"), miss_in_decades)
    curves = list(study_curves(RunArchive(args.study)))
    facts = read_facts(args.study / FACTS)
    for name, which in budgets(curves):
        cases = study_cases(which, facts)
        for by in ("target", "network"):
            if len({getattr(case, by) for case in cases}) >= LEAST_TARGETS:
                print_heading(f"Reference study, {name}, {len(cases)} curves, each {by} left out")
                rules = {
                    "nearest reference": nearest_reference("distance"),
                    **shared_rules("distance"),
                }
                print_rows(cases, by, rules, candidates("distance", OTHER_INPUTS), regret)
        floors = [curve.noise_floor for curve in which]
        known = [floor for floor in floors if floor is not None]
        if known:
            print(f"noise floor{100 * mean(known):31.2f} points, {len(known)} curves")


def budgets(curves: Sequence[StudyCurve]) -> list[tuple[str, list[StudyCurve]]]:
    return [
        ("both budgets", list(curves)),
        ("long budget", [curve for curve in curves if curve.budget == "long"]),
        ("short budget", [curve for curve in curves if curve.budget == "short"]),
    ]


def shared_rules(distance: str) -> dict[str, Rule]:
    return {
        "always 0.1": always_usual,
        "median": middle,
        "momentum by similarity": momentum_by_similarity(distance),
    }


def print_heading(text: str) -> None:
    print(f"\n{text}\n{'':26}{'decades':>8}{'points':>8}{'interval':>16}    held")


def print_rows(
    cases: Sequence[Case],
    by: LeftOut,
    rules: dict[str, Rule],
    tried: Sequence[Candidate],
    score: Score,
) -> None:
    for name, rule in rules.items():
        print_row(name, ruled(cases, rule, by), ranges=False)
    for family in dict.fromkeys(candidate.family for candidate in tried):
        only = [candidate for candidate in tried if candidate.family == family]
        print_row(family, nested(cases, only, by, score))
    print_row("chosen inside each fold", nested(cases, tried, by, score))


def print_row(name: str, outcomes: Sequence[Outcome], *, ranges: bool = True) -> None:
    misses = mean(outcome.case.miss(outcome.guess) for outcome in outcomes)
    known = [outcome for outcome in outcomes if outcome.case.final_regret is not None]
    points = 100 * mean(final_regret(o.case, o.guess) for o in known)
    low, high = interval_over_targets(known, final_regret)
    interval = f"{100 * low:.2f} to {100 * high:.2f}"
    print(
        f"{name:26}{misses:8.2f}{points:8.2f}{interval:>16}{held_text(outcomes) if ranges else ''}"
    )


def held_text(outcomes: Sequence[Outcome]) -> str:
    count, total = held(outcomes)
    low, high = binomial_interval(count, total)
    return f"    {count}/{total} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
