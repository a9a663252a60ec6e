"""Regret of each method on the study's curves, beside what a recommendation loses on the same."""

from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from kintune.experiments.baselines.methods import MethodName
from kintune.experiments.baselines.records import BaselineArchive
from kintune.experiments.baselines.work import USUAL_QUARTER
from kintune.experiments.recommenders import Outcome, bootstrap_over_targets, final_regret
from kintune.experiments.reference_study import Point, settings
from kintune.experiments.study_cases import StudyCurve
from kintune.experiments.targets import set_of


class Regret(NamedTuple):
    """Regret of a method on one curve, top-1 error as a fraction."""

    target: str
    regret: float
    """Test error of its runs, the mean over its seeds, above the least of the smoothed curve. Below
    0 where chance or another update did better than any rate of the study."""
    recommended: float
    """Regret of the rate that was recommended with this target left out, read off the curve."""
    curve: str
    """Network, target and budget."""


class Comparison(NamedTuple):
    """A method over all curves on which it was run, top-1 error as a fraction."""

    curves: int
    regret: float
    interval: tuple[float, float]
    """95 %, over targets."""
    recommended: float
    """Mean regret of the recommendations on the same curves."""
    gain: tuple[float, float]
    """95 % interval over targets of what the recommendation is better by."""


def regrets(
    method: MethodName,
    outcomes: Sequence[Outcome],
    curves: Sequence[StudyCurve],
    archive: BaselineArchive,
) -> list[Regret]:
    """A regret for each recommendation on whose curve the method was run too."""
    by_name = {(curve.source, set_of(curve.target), curve.budget): curve for curve in curves}
    found: list[Regret] = []
    for outcome in outcomes:
        case = outcome.case
        curve = by_name[case.network, case.target, case.budget]
        errors = _test_errors(method, curve, archive)
        if errors:
            lost = mean(errors) - curve.test.lowest_error
            name = f"{case.network} {case.target} {case.budget}"
            found.append(Regret(case.target, lost, final_regret(case, outcome.guess), name))
    return found


def compared(found: Sequence[Regret]) -> Comparison | None:
    """Means and intervals; None where a method was run on none of the curves."""
    if not found:
        return None
    return Comparison(
        curves=len(found),
        regret=mean(each.regret for each in found),
        interval=bootstrap_over_targets((each.target, each.regret) for each in found),
        recommended=mean(each.recommended for each in found),
        gain=bootstrap_over_targets((e.target, e.regret - e.recommended) for e in found),
    )


def _test_errors(method: MethodName, curve: StudyCurve, archive: BaselineArchive) -> list[float]:
    if method == "usual":
        like = settings(curve.source, curve.budget, Point(USUAL_QUARTER))
        runs = [run for run in curve.runs if run.config.hyperparameters == like]
        return [run.test_error for run in runs]
    found = archive.find(curve.source, curve.target, curve.budget, method)
    return [run.test_error for run in found]
