"""What is still lost after a few runs of the search that begins at a guess, on measured curves.

The runs are drawn: the validation error of a run is binomial around the smoothed curve, on as many
images as the curve was measured on, independent from run to run. Real runs share their validation
images, which makes rates easier to tell apart, so this is on the careful side. Beyond the rates
that were measured a curve stays at its ends.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from kintune.experiments.recommenders import SHARE, Case, Outcome, final_regret
from kintune.hyperparameters import Hyperparameters, RateRange
from kintune.rate_models import Guess
from kintune.search import ENGINES, History, Observation, SearchSpace

ENGINE = "bracket"
AFTER = (2, 4)
"""Runs."""
DRAWS = 20


def lost_after(outcome: Outcome, draws: int = DRAWS) -> dict[int, float]:
    """Mean test regret, a fraction, of the rate that validation chooses after so many runs.

    Raises:
        ValueError: the case has no curve.
    """
    case, guess = outcome.case, outcome.guess
    curves = [_losses(case, guess, seed) for seed in range(draws)]
    return {runs: fmean(curve[runs - 1] for curve in curves) for runs in AFTER}


def _losses(case: Case, guess: Guess, seed: int) -> list[float]:
    """After one run, two, ..."""
    if case.validation is None:
        raise ValueError(f"{case.target} on {case.network}: no curve is known")
    curve, images = case.validation
    low, high = guess.interval(SHARE)
    space = SearchSpace(
        base=Hyperparameters(lr=guess.rate, batch_size=1, epochs=1),
        prior=RateRange(low=low, best=guess.rate, high=high),
        validation_images=images,
    )
    generator, history = np.random.default_rng(seed), History(seed=seed)
    losses: list[float] = []
    for _ in range(max(AFTER)):
        point = ENGINES[ENGINE].ask(space, history).point
        error = generator.binomial(images, curve(point.effective_lr)) / images
        history = history.told(Observation(point=point, error=error))
        losses.append(_loss_of_best(case, history))
    return losses


def _loss_of_best(case: Case, history: History) -> float:
    assert history.best is not None  # a run has been told
    return final_regret(case, Guess(history.best.point.place, 0.0))


def mean_lost_after(outcomes: Sequence[Outcome], draws: int = DRAWS) -> dict[int, float]:
    """Over several cases."""
    each = [lost_after(outcome, draws) for outcome in outcomes]
    return {runs: fmean(losses[runs] for losses in each) for runs in AFTER}
