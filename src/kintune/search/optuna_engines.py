"""`tpe` and `gp`: Optuna's samplers, asked anew each time.

No study is kept: the history is given to a fresh one in memory, and the sampler is seeded by the
proposal's number, so that a proposal is a function of the history alone. A recommendation enters as
the first points; a pending point counts as the mean of what is finished.
"""

import warnings
from statistics import fmean
from typing import TYPE_CHECKING

from kintune.search.history import History, Proposal, from_widest_gap, is_new
from kintune.search.space import Point, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

MAX_DRAWS = 4
"""Most draws of one proposal, before the widest gap between the tried rates is taken."""
STARTUP = 4
"""Drawn points, or the recommendation's, before the model is used."""


class TpeEngine:
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """See `SearchEngine.ask`."""
        return _ask("tpe", space, history)


class GpEngine:
    """Gaussian process with expected improvement."""

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """See `SearchEngine.ask`."""
        return _ask("gp", space, history)


def _ask(name: str, space: SearchSpace, history: History) -> Proposal | None:
    for point, reason in _first_points(space):
        if history.number < STARTUP and is_new(space, point, history.points):
            return Proposal(point=point, reason=reason)
    for attempt in range(MAX_DRAWS):
        point = _sampled(name, space, history, attempt)
        if is_new(space, point, history.points):
            return Proposal(point=point, reason=f"proposed by {name}")
    return from_widest_gap(space, history)


def _first_points(space: SearchSpace) -> list[tuple[Point, str]]:
    if space.prior is None:
        return []
    first = (
        (space.prior.best, "the recommendation's best guess, to begin with"),
        (space.prior.low, "the low end of the recommended range"),
        (space.prior.high, "the high end of the recommended range"),
    )
    return [(space.rounded(Point(effective_lr=rate)), reason) for rate, reason in first]


def _sampled(name: str, space: SearchSpace, history: History, attempt: int) -> Point:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = history.generator(attempt).randrange(2**31)
    study = optuna.create_study(sampler=_sampler(name, seed))
    study.add_trials(_trials(space, history))
    with warnings.catch_warnings():
        # Equal errors leave its fit without information, which is no fault of ours.
        warnings.simplefilter("ignore")
        trial = study.ask(_distributions(space))
    low, high = space.bounds
    rate = min(max(trial.params["effective_lr"], low), high)
    return space.rounded(Point(effective_lr=rate, variant=trial.params.get("variant", 0)))


def _sampler(name: str, seed: int) -> "BaseSampler":
    from optuna.samplers import GPSampler, TPESampler

    if name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=STARTUP)
    return GPSampler(seed=seed, n_startup_trials=STARTUP)


def _distributions(space: SearchSpace) -> dict[str, "BaseDistribution"]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    low, high = space.bounds
    found: dict[str, BaseDistribution] = {"effective_lr": FloatDistribution(low, high, log=True)}
    if len(space.variants) > 1:
        found["variant"] = CategoricalDistribution(list(range(len(space.variants))))
    return found


def _trials(space: SearchSpace, history: History) -> list["FrozenTrial"]:
    from optuna.trial import create_trial

    low, high = space.bounds
    distributions = _distributions(space)
    expected = fmean(o.error for o in history.finished) if history.finished else 1.0
    values = [(o.point, o.error) for o in history.finished]
    values += [(point, expected) for point in history.pending]
    return [
        create_trial(
            params={
                name: value for name, value in point.model_dump().items() if name in distributions
            },
            distributions=distributions,
            value=value,
        )
        for point, value in values
        if low <= point.effective_lr <= high
    ]
