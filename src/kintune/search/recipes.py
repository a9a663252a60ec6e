"""`recipes`: run what the recipe model expects most of, given the references and the runs so far.

A variant of the space is a recipe (batch statistics, augmentation and what else is chosen), each
with a curve of error against the effective rate. `kintune.recommend.model` has a joint distribution
over all of them, which the runs of the search sharpen: the first proposal is the recommendation, a
further one is where the error is expected to fall most below that of the best run (expected
improvement), of another recipe or at another rate of the same one.
"""

import numpy as np

from kintune.recommend.model import (
    Floats,
    RecipeModel,
    RecipePoint,
    RecipeRun,
    RecipeTask,
    grid_of_rates,
)
from kintune.recommend.references import load_recipe_references, recipe_deviations
from kintune.search.bracket import Bracket
from kintune.search.history import WORTH, History, Observation, Proposal, is_new
from kintune.search.space import Point, SearchSpace

UNKNOWN_IMAGES = 100
"""Size of the validation split where it is not known."""
MIN_GAP = 0.1
"""Decades: two rates nearer than this count as the same."""


class Recipes:
    """See the module. Without a task that the model knows, `bracket` takes its place."""

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """See `SearchEngine.ask`."""
        if space.task is None:
            return Bracket().ask(space, history)
        if space.prior is not None and not history.points:
            first = space.rounded(Point(effective_lr=space.prior.best))
            return Proposal(point=first, reason="the recommendation, to begin with")
        model = RecipeModel(load_recipe_references(), recipe_deviations())
        points = _candidates(space, model, space.task, history)
        if not points:
            return Bracket().ask(space, history)
        draws = _draws(space, model, space.task, history, points)
        tried = [o.point for o in history.finished if not o.is_lost]
        if not tried:
            best = int(draws[:, : len(points)].mean(0).argmin())
            return Proposal(point=points[best], reason="the least expected error")
        reached = draws[:, len(points) :].mean(0).min()
        gains: Floats = np.maximum(0.0, reached - draws[:, : len(points)]).mean(0)
        best = int(gains.argmax())
        gain = float(gains[best])
        return Proposal(
            point=points[best],
            gain=gain,
            reason=f"expected to lower the error by {gain:.2%}"
            + ("" if gain >= WORTH else ": not worth a run"),
        )


def _candidates(
    space: SearchSpace, model: RecipeModel, task: RecipeTask, history: History
) -> list[Point]:
    """New points of all variants on the grid of rates, apart from those that were tried and well
    below those that broke a training."""
    low, high = space.bounds
    observed = _observed(space, history)
    found: list[Point] = []
    for variant in range(len(space.variants)):
        tried = [p.log_rate for p in history.points if p.variant == variant]
        for rate in grid_of_rates(task).tolist():
            point = space.rounded(Point(effective_lr=rate, variant=variant))
            apart = all(abs(point.log_rate - other) >= MIN_GAP for other in tried)
            stable = model.is_stable(task, _asked(space, point), observed)
            if apart and stable and low <= rate <= high and is_new(space, point, history.points):
                found.append(point)
    return found


def _draws(
    space: SearchSpace,
    model: RecipeModel,
    task: RecipeTask,
    history: History,
    points: list[Point],
) -> Floats:
    """Errors of the candidates, then of the finished runs that trained to their end; a run that is
    going on counts as what is expected of it."""
    observed = _observed(space, history)
    pending = [_asked(space, point) for point in history.pending]
    if pending:
        expected = model.posterior(task, pending, observed).draws().mean(0)
        for point, error in zip(pending, expected.tolist(), strict=True):
            observed.append(_run(space, point, error))
    tried = [o.point for o in history.finished if not o.is_lost]
    asked = [_asked(space, point) for point in [*points, *tried]]
    return model.posterior(task, asked, observed).draws()


def _observed(space: SearchSpace, history: History) -> list[RecipeRun]:
    return [_run(space, _asked(space, o.point), _counted(o)) for o in history.finished]


def _counted(observation: Observation) -> float:
    """A lost run counts as a bad one, not as a certain failure of all its neighbors."""
    return min(observation.error, 0.9)


def _run(space: SearchSpace, point: RecipePoint, error: float) -> RecipeRun:
    images = space.validation_images or UNKNOWN_IMAGES
    return RecipeRun(**point._asdict(), top1_error=error, images=images)


def _asked(space: SearchSpace, point: Point) -> RecipePoint:
    settings = space.variants[point.variant]
    is_frozen = settings.freeze_bn_stats or not (space.task and space.task.has_batch_norm)
    return RecipePoint(
        "frozen" if is_frozen else "batch",
        point.effective_lr,
        f"{settings.augmentation} {point.variant}" if point.variant else settings.augmentation,
    )
