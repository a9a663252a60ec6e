"""How far recommendations miss on targets and networks they have not seen.

    python scripts/evaluate_recommenders.py

The paper's Table 4: each target, then each column, is left out once. `decades` is the mean of
|log10(guess / best)|, `error` the mean top-1 error that the paper's own Tables 2 and 8 imply for
ImageNet ResNet-101, `held` how many 80 % ranges hold the best rate. Seconds.
"""

from collections.abc import Sequence
from statistics import mean

from kintune.experiments.paper_cases import paper_cases
from kintune.experiments.recommenders import (
    Case,
    LeftOut,
    Outcome,
    always_usual,
    binomial_interval,
    candidates,
    held,
    middle,
    miss_in_decades,
    momentum_by_similarity,
    nearest_reference,
    nested,
    regret,
    ruled,
)

RANK = "rank"
RULES = {
    "always 0.1": always_usual,
    "median": middle,
    "nearest reference": nearest_reference("unlikeness"),
    "momentum by similarity": momentum_by_similarity(RANK),
}


def main() -> None:
    cases = paper_cases()
    for by in ("target", "network"):
        print(f"\nTable 4, each {by} left out")
        print(f"{'':26}{'decades':>8}{'error, points above the best':>30}{'held':>8}")
        for name, rule in RULES.items():
            print_row(name, ruled(cases, rule, by), with_ranges=False)
        for family in dict.fromkeys(candidate.family for candidate in candidates(RANK)):
            tried = [c for c in candidates(RANK) if c.family == family]
            print_row(family, nested(cases, tried, by, miss_in_decades))
        print_row("chosen inside each fold", chosen_inside(cases, by))


def chosen_inside(cases: Sequence[Case], by: LeftOut) -> list[Outcome]:
    return nested(cases, candidates(RANK), by, miss_in_decades)


def print_row(name: str, outcomes: Sequence[Outcome], *, with_ranges: bool = True) -> None:
    misses = mean(outcome.case.miss(outcome.guess) for outcome in outcomes)
    known = [o for o in outcomes if o.case.regret is not None]
    points = 100 * mean(regret(o.case, o.guess) for o in known)
    ranges = ""
    if with_ranges:
        count, total = held(outcomes)
        low, high = binomial_interval(count, total)
        ranges = f"  {count}/{total} ({low:.0%} to {high:.0%})"
    print(f"{name:26}{misses:8.2f}{points:30.2f}{ranges}")


if __name__ == "__main__":
    main()
