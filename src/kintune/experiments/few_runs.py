"""Regret after a few runs of the search that begins at a guess, on measured curves.

The runs are drawn: the validation error of a run is binomial around the smoothed curve, on as many
images as the curve was measured on, independent from run to run. Real runs share their validation
images, which makes rates easier to tell apart, so this is on the careful side. Beyond the rates
that were measured a curve stays at its ends.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from kintune.experiments.rate_models import Guess
from kintune.experiments.recommenders import SHARE, Outcome, final_regret
from kintune.hyperparameters import Hyperparameters, RateRange
from kintune.search import (
    ENGINES,
    History,
    Observation,
    Point,
    SearchSpace,
    select_rate,
    standard_error,
)

ENGINE = "bracket"
AFTER = (2, 4)
"""Runs."""
DRAWS = 20


def lost_after(
    outcome: Outcome, draws: int = DRAWS, *, keeps_lowest: bool = False
) -> dict[int, float]:
    """Mean test regret, a fraction, of the rate that is kept after so many runs.

    Args:
        outcome: the guess to begin at.
        draws: of the errors that runs have.
        keeps_lowest: select the lowest error, whatever was recommended.

    Raises:
        ValueError: the case has no curve.
    """
    curves = [_losses(outcome, seed, keeps_lowest=keeps_lowest) for seed in range(draws)]
    return {runs: fmean(curve[runs - 1] for curve in curves) for runs in AFTER}


def _losses(outcome: Outcome, seed: int, *, keeps_lowest: bool) -> list[float]:
    """After one run, two, ..."""
    case, guess = outcome.case, outcome.guess
    if case.validation is None:
        raise ValueError(f"{case.target} on {case.network}: no curve is known")
    curve, images = case.validation
    low, high = guess.interval(SHARE)
    space = SearchSpace(
        base=Hyperparameters.as_in_paper(lr=guess.rate, batch_size=1, epochs=1),
        prior=RateRange(low=low, best=guess.rate, high=high),
        validation_images=images,
    )
    generator, history = np.random.default_rng(seed), History(seed=seed)
    losses: list[float] = []
    for _ in range(max(AFTER)):
        proposal = ENGINES[ENGINE].ask(space, history)
        assert proposal is not None  # a dozen runs do not use up four decades
        point = proposal.point
        error = generator.binomial(images, curve(point.effective_lr)) / images
        history = history.told(Observation(point=point, error=error))
        expected = None if keeps_lowest else guess.rate
        losses.append(
            final_regret(case, Guess(kept_point(history, expected, images).log_rate, 0.0))
        )
    return losses


def kept_point(history: History, expected: float | None, images: int | None) -> Point:
    """Point that a search that ended here would select (`kintune.search.select_rate`)."""
    points = [each.point for each in history.finished]
    rates, errors = [p.effective_lr for p in points], [each.error for each in history.finished]
    return points[
        select_rate(rates, errors, expected, [standard_error(min(errors), images)] * len(rates))
    ]


def mean_lost_after(
    outcomes: Sequence[Outcome], draws: int = DRAWS, *, keeps_lowest: bool = False
) -> dict[int, float]:
    """Over several cases."""
    each = [lost_after(outcome, draws, keeps_lowest=keeps_lowest) for outcome in outcomes]
    return {runs: fmean(losses[runs] for losses in each) for runs in AFTER}
