"""How good the recipe model is on what it has not seen: sets or networks left out in turn."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from kintune.recommend import LITTLE_LOSS, RANGE
from kintune.recommend.model import (
    Deviations,
    Mode,
    RecipeModel,
    RecipeReference,
    RecipeRun,
    grid_of_rates,
    is_broken,
)
from kintune.recommend.references import Quality


def fitted(found: Sequence[RecipeReference]) -> Deviations:
    """The deviations with the largest marginal likelihood, each with a weak pull to its default,
    and the widening with which 80 % intervals hold 80 % of the errors of sets left out."""
    names = [name for name in Deviations.model_fields if name != "widening"]
    start = np.log([getattr(Deviations(), name) for name in names])

    def loss(logs: np.ndarray) -> float:
        deviations = Deviations(**dict(zip(names, np.exp(logs).tolist(), strict=True)))
        pull = np.square(logs - start).sum() / 2
        return pull - RecipeModel(found, deviations).log_likelihood()

    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 600, "xatol": 0.05})
    values = [float(f"{value:.3g}") for value in np.exp(best.x)]
    deviations = Deviations(**dict(zip(names, values, strict=True)))
    while quality_of(left_out(found, set_of, deviations)).coverage < RANGE:
        deviations = deviations.replace(widening=round(deviations.widening + 0.05, 2))
    return deviations


class Judged(NamedTuple):
    """A reference that was left out, and what was expected of it."""

    reference: RecipeReference
    chosen: RecipeRun
    """The run that was expected to err least."""
    sure: float
    """Expected probability that it loses no more than a point."""
    rows: list[tuple[RecipeRun, float, float, float]]
    """Each run with its expected error and 80 % interval."""

    @property
    def loss(self) -> float:
        """Error of the chosen run minus that of the best one measured, a fraction."""
        return self.chosen.top1_error - min(run.top1_error for run in self.reference.runs)


def has_choice(reference: RecipeReference) -> bool:
    """Whether two trainings or more were measured. Beside the head alone one says how errors change
    with the budget, but nothing of a choice."""
    return len(reference.runs) > 2


def set_of(reference: RecipeReference) -> str:
    """Name of the image set."""
    return reference.task.target.split(",")[0]


def network_of(reference: RecipeReference) -> str:
    """Hash of the weights."""
    return reference.task.network


def left_out(
    found: Sequence[RecipeReference],
    group: Callable[[RecipeReference], str] = set_of,
    deviations: Deviations | None = None,
) -> list[Judged]:
    """What is expected of each reference by those of other groups (sets or networks).

    Args:
        found: the references.
        group: name of the group of a reference.
        deviations: of the model; None fits them to the other groups alone, each time anew.
    """
    judged: list[Judged] = []
    for name in dict.fromkeys(map(group, found)):
        others = [each for each in found if group(each) != name]
        model = RecipeModel(others, deviations or fitted(others))
        judged += [_judged(model, each) for each in found if group(each) == name]
    return judged


def _judged(model: RecipeModel, reference: RecipeReference) -> Judged:
    """A reference judged by a model that has not seen it. The chosen run has a rate that a
    recommendation may have; trainings that broke are not predicted."""
    task = reference.task.replace(target="left out")
    draws = model.posterior(task, [run.point for run in reference.runs]).draws()
    means = draws.mean(0)
    highest = 1.01 * grid_of_rates(task)[-1]
    choices = [
        i
        for i, run in enumerate(reference.runs)
        if (run.effective_lr or 0) <= highest and model.is_stable(task, run.point)
    ]
    best = min(choices, key=lambda i: means[i])
    tails = [(1 - RANGE) / 2, (1 + RANGE) / 2]
    rows = [
        (run, float(means[i]), *np.quantile(draws[:, i], tails).tolist())
        for i, run in enumerate(reference.runs)
        if not is_broken(reference.task, run)
    ]
    sure = float((draws[:, best] - draws[:, choices].min(1) <= LITTLE_LOSS).mean())
    return Judged(reference, reference.runs[best], sure, rows)


def quality_of(judged: Sequence[Judged]) -> Quality:
    held = [low <= run.top1_error <= high for each in judged for run, _, low, high in each.rows]
    losses = [each.loss for each in judged if has_choice(each.reference)]
    return Quality(
        coverage=float(np.mean(held)), mean_loss=float(np.mean(losses)), tasks=len(losses)
    )


def constant_loss(found: Sequence[RecipeReference], mode: Mode, rate: float) -> tuple[float, int]:
    """Mean loss of one mode at one rate against the best measured run, a fraction, and over how
    many tasks: the simplest rule that a recommendation has to beat."""
    losses = [
        run.top1_error - min(each.top1_error for each in reference.runs)
        for reference in filter(has_choice, found)
        for run in reference.runs
        if run.mode == mode and run.effective_lr == rate
    ]
    return float(np.mean(losses)), len(losses)
