"""From measured fine-tunings to the error that a recipe will have on new images.

A recipe is what is trained and how its batch normalization works (`Mode`), and an effective
learning rate. The log odds of its error are modeled as one linear regression with random effects,
a Gaussian process in closed form::

    logit(error) = β_mode · φ(x, task) + effects of network, task and setting + noise
    φ = (1, p, q, r, s, z, x, x r, x min(s, 0), x²),   x = log10(η' / η'₀)

with η'₀ = 0.1 √(batch size / 32), less where there are very few steps. p is the log odds of the
linear probe's error and q the number of classes over that of images: the probe is tested on images
that are left out, which makes its error too large where a class has few. r is the rank of the
target's distance from the source (the paper's finding is the sign of the x r term: far targets want
larger rates), s = log10(steps / 100), and z the base-2 logarithm of the image size over that of the
pretraining, whose batch statistics fit smaller images worse. Fewer steps want smaller rates, more
steps no larger ones. The head on frozen features depends on neither rate, steps nor size:
x = s = z = 0. Networks and tasks
shift the level and the slope of each mode; runs of the task itself are further observations, so
that the same posterior recommends before a search, guides it, and chooses after it.

The references are in `recommend/references/recipes.json`, measured by `studies/recipes/run.py`,
which also fits the deviations of the effects by marginal likelihood.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kintune.base.records import Record

Floats = NDArray[np.float64]
Mode = Literal["head", "frozen", "batch"]
"""`head`: a linear classifier on the frozen network. `frozen` and `batch`: everything is trained,
with the batch statistics of the source or those of each batch."""
MODES: tuple[Mode, ...] = ("head", "frozen", "batch")

UNIT_RATE, UNIT_STEPS, UNIT_BATCH = 0.1, 100, 32
PRIOR_MEANS: Floats = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
"""Without evidence fine-tuning is as good as the probe, and the best rate is the unit."""
PRIOR_DEVIATIONS: Floats = np.array([1.0, 0.3, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3])
GRID: Floats = np.linspace(-1.5, 1.0, 51)
"""x of the rates that are compared."""
BATCH_POWER = 0.5
"""Rates grow with this power of the batch size: between none and proportion (Goyal et al. 2017,
arXiv:1706.02677). The references, all with batches of 32, do not tell."""
FEW_STEPS = 40
"""Half of the least that the references have. With fewer the rates shrink in proportion: there is
no time for a warm-up, and trainings of 6 steps broke at the usual rates."""
BROKEN = 1.0
"""A training whose log odds of an error are by so much above the probe's is broken: it says nothing
about the errors of others, only that its rate is too large."""
MARGIN = 0.5
"""Decades below a rate that broke a network: what counts as stable on it."""
DRAWS = 2000
"""Samples from the posterior, for what has no closed form: the best rate, the best mode."""


class RecipeTask(Record):
    """Facts about a fine-tuning that the model uses."""

    network: str
    """SHA-256 of the weights: which references are of the same network."""
    target: str
    """References of the same network, target and size ratio share the effects of a task."""
    probe_top1_error: float = Field(ge=0, le=1)
    """Error of the linear probe (`kintune.similarity.probe`)."""
    images: int = Field(ge=1)
    """Training images: how well the probe's error is known."""
    classes: int = Field(default=2, ge=2)
    """Files of older versions do not say."""
    rank: float = Field(ge=0, le=1)
    """Rank of the distance from the source among known targets: 0 nearest, 1 farthest."""
    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    size_ratio: float = Field(default=1.0, gt=0)
    """Side of the images over that of the images that the network was pretrained on."""
    has_batch_norm: bool = True
    """A network without batch normalization counts as `frozen`."""


def grid_of_rates(task: RecipeTask) -> Floats:
    """Effective rates of `GRID` for the batch size and the steps of a task."""
    return _unit_rate(task) * 10**GRID


def _unit_rate(task: RecipeTask) -> float:
    shrunk = min(1.0, task.steps / FEW_STEPS)
    return UNIT_RATE * shrunk * (task.batch_size / UNIT_BATCH) ** BATCH_POWER


class RecipePoint(NamedTuple):
    """A recipe at a rate, whose error is asked for."""

    mode: Mode
    effective_lr: float | None = None
    """None for `head`."""
    setting: str = ""
    """As in `RecipeRun`."""


class RecipeRun(Record):
    """The error of one recipe."""

    mode: Mode
    effective_lr: float | None = Field(default=None, gt=0)
    """None for `head`."""
    setting: str = ""
    """Names what else differs between runs of one task, such as the augmentation."""
    top1_error: float = Field(ge=0, le=1)
    images: int = Field(ge=1)
    """That the error was measured on."""

    @property
    def point(self) -> RecipePoint:
        """Recipe and rate of the run."""
        return RecipePoint(self.mode, self.effective_lr, self.setting)


class RecipeReference(Record):
    """The runs of one task."""

    task: RecipeTask
    network_name: str
    source: str
    relative_distance: float
    batch_size: int
    epochs: int
    image_size: int
    origin: str
    """Who measured it and how."""
    runs: tuple[RecipeRun, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _classes_of_task(cls, value: Any) -> Any:
        """Files written before the model used the number of classes have it beside the task."""
        if not isinstance(value, dict) or "classes" not in value:
            return cast("Any", value)
        older: dict[str, Any] = dict(cast("dict[str, Any]", value))
        classes = older.pop("classes")
        return {**older, "task": {"classes": classes, **older.get("task", {})}}


class Deviations(Record):
    """Standard deviations of the random effects, in log odds (slopes: per decade of rate)."""

    network_level: float = 0.2
    network_slope: float = 0.3
    task_level: float = 0.2
    """Shared by all modes but `head`."""
    mode_level: float = 0.2
    """Deviation of the level of a mode of a task, beside `task_level`."""
    task_slope: float = 0.3
    setting_level: float = 0.15
    noise: float = 0.15
    """Between seeds, beside what the number of images explains."""
    widening: float = 1.0
    """Factor on all deviations of a posterior, with which 80 % intervals hold 80 % of the errors of
    targets that were left out: few references make the others too sure."""


@dataclass(frozen=True)
class _Points:
    """Rows of the regression, m of them."""

    features: Floats
    """φ in the block of the row's mode, (m, 30)."""
    modes: NDArray[np.int64]
    x: Floats
    networks: NDArray[np.str_]
    tasks: NDArray[np.str_]
    settings: NDArray[np.str_]


class _Known(NamedTuple):
    """Measured runs: the points, what the prior mean leaves of them, and its covariance."""

    points: _Points
    residual: Floats
    covariance: Floats


class Posterior:
    """Joint normal distribution of log odds of the error over points."""

    def __init__(self, mean: Floats, covariance: Floats) -> None:
        self.mean = mean
        """(m,)"""
        self.covariance = covariance
        """(m, m)"""

    def draws(self, seed: int = 0) -> Floats:
        """Errors, (`DRAWS`, m): fractions."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(values.clip(min=0))
        normal = np.random.default_rng(seed).standard_normal((DRAWS, len(self.mean)))
        return _error(self.mean + normal @ root.T)


class RecipeModel:
    """The references, and the deviations that fit them."""

    def __init__(self, references: Sequence[RecipeReference], deviations: Deviations) -> None:
        self.references = tuple(references)
        self.deviations = deviations
        rows = [(each.task, run) for each in self.references for run in each.runs]
        self._rows = [row for row in rows if not is_broken(*row)]
        self._broken = [row for row in rows if is_broken(*row)]

    def posterior(
        self,
        task: RecipeTask,
        asked: Sequence[RecipePoint],
        observed: Sequence[RecipeRun] = (),
    ) -> Posterior:
        """The errors of recipes on a task.

        Args:
            task: of the images and the network.
            asked: m recipes.
            observed: runs of this task.
        """
        wanted = _points([(task, each) for each in asked])
        mean, covariance = wanted.features @ _PRIOR_MEAN, self._kernel(wanted, wanted)
        found = [(task, run) for run in observed if not is_broken(task, run)]
        if not self._rows and not found:
            return Posterior(mean, covariance)
        known = self._known(found)
        across = self._kernel(wanted, known.points)
        weights = np.linalg.solve(known.covariance, across.T).T.astype(np.float64)
        covariance = (covariance - weights @ across.T) * self.deviations.widening**2
        return Posterior(mean + weights @ known.residual, covariance)

    def is_stable(
        self, task: RecipeTask, asked: RecipePoint, observed: Sequence[RecipeRun] = ()
    ) -> bool:
        """Whether a recipe's rate is well below all that broke a training of the same mode: of the
        same network where the references have it, else of any.

        Args:
            task: of the images and the network.
            asked: the recipe.
            observed: runs of this task.
        """
        is_known = any(each.task.network == task.network for each in self.references)
        broken = [row for row in self._broken if not is_known or row[0].network == task.network]
        broken += [(task, run) for run in observed if is_broken(task, run)]
        limits = [_x(other, run.effective_lr) for other, run in broken if run.mode == asked.mode]
        return _x(task, asked.effective_lr) <= min(limits, default=math.inf) - MARGIN

    def influences(self, task: RecipeTask, asked: RecipePoint) -> list[float]:
        """Share of each reference in the weights, in absolute value, with which the residuals of
        all runs make the expected log odds of one recipe; they sum to 1, or are all 0."""
        known = self._known([])
        across = self._kernel(_points([(task, asked)]), known.points)
        weights: Floats = np.abs(np.linalg.solve(known.covariance, across.T).T.astype(np.float64))[
            0
        ]
        counts = [sum(not is_broken(each.task, r) for r in each.runs) for each in self.references]
        bounds = np.cumsum([0, *counts])
        sums = [float(weights[first:last].sum()) for first, last in pairwise(bounds.tolist())]
        total = sum(sums) or 1.0  # nothing is known of this mode
        return [each / total for each in sums]

    def log_likelihood(self) -> float:
        """Log marginal likelihood of the references, up to a constant."""
        known = self._known([])
        fit = known.residual @ np.linalg.solve(known.covariance, known.residual)
        return float(-0.5 * (fit + np.linalg.slogdet(known.covariance).logabsdet))

    def _known(self, observed: Sequence[tuple[RecipeTask, RecipeRun]]) -> _Known:
        rows = [*self._rows, *observed]
        points = _points([(task, run.point) for task, run in rows])
        errors = np.array([run.top1_error for _, run in rows])
        images = np.array([run.images for _, run in rows], dtype=np.float64)
        shares = (errors * images + 0.5) / (images + 1)
        variance = self.deviations.noise**2 + 1 / (images * shares * (1 - shares))
        own = self._kernel(points, points) + np.diag(variance)
        residual = np.log(shares / (1 - shares)) - points.features @ _PRIOR_MEAN
        return _Known(points, residual, own)

    def _kernel(self, one: _Points, other: _Points) -> Floats:
        """Prior covariance of the log odds, (m, n)."""
        d = self.deviations
        slopes = one.x[:, None] * other.x
        same_mode = one.modes[:, None] == other.modes
        trained = (one.modes > 0)[:, None] & (other.modes > 0)
        same_network = one.networks[:, None] == other.networks
        same_task = one.tasks[:, None] == other.tasks
        same_setting = one.settings[:, None] == other.settings
        found = (one.features * _PRIOR_VARIANCE) @ other.features.T
        found += same_network * same_mode * (d.network_level**2 + d.network_slope**2 * slopes)
        found += same_task * same_mode * (d.mode_level**2 + 0.5 * d.task_slope**2 * slopes)
        found += same_task * trained * (d.task_level**2 + 0.5 * d.task_slope**2 * slopes)
        found += same_task * same_mode * same_setting * d.setting_level**2
        return found


def _points(rows: Sequence[tuple[RecipeTask, RecipePoint]]) -> _Points:
    modes = np.array([MODES.index(point.mode) for _, point in rows])
    x = np.array([_x(task, point.effective_lr) for task, point in rows])
    p = np.array([_probe_log_odds(task) for task, _ in rows])
    q = np.array([task.classes / task.images for task, _ in rows])
    r = np.array([task.rank - 0.5 for task, _ in rows])
    s = np.array([np.log10(task.steps / UNIT_STEPS) for task, _ in rows])
    z = np.array([np.log2(task.size_ratio) for task, _ in rows])
    s, z = np.where(modes == 0, 0.0, [s, z])
    phi = np.stack(
        [np.ones(len(rows)), p, q, r, s, z, x, x * r, x * np.minimum(s, 0), x**2], axis=1
    )
    features = np.zeros((len(rows), len(MODES), phi.shape[1]))
    features[np.arange(len(rows)), modes] = phi
    return _Points(
        features=features.reshape(len(rows), -1),
        modes=modes,
        x=x,
        networks=np.array([task.network for task, _ in rows]),
        tasks=np.array([f"{task.network} {task.size_ratio:.4g} {task.target}" for task, _ in rows]),
        settings=np.array([point.setting for _, point in rows]),
    )


def _x(task: RecipeTask, rate: float | None) -> float:
    return 0.0 if rate is None else math.log10(rate / _unit_rate(task))


def _probe_log_odds(task: RecipeTask) -> float:
    return _log_odds(task.probe_top1_error, task.images)


def _log_odds(error: float, images: int) -> float:
    # Half an error and half a success more: no log odds are infinite.
    share = (error * images + 0.5) / (images + 1)
    return math.log(share / (1 - share))


def is_broken(task: RecipeTask, run: RecipeRun) -> bool:
    """Whether a training ended far above the probe: see `BROKEN`."""
    excess = _log_odds(run.top1_error, run.images) - _probe_log_odds(task)
    return run.mode != "head" and excess > BROKEN


def _error(log_odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-log_odds))


_PRIOR_MEAN: Floats = np.tile(PRIOR_MEANS, len(MODES))
_PRIOR_VARIANCE: Floats = np.tile(PRIOR_DEVIATIONS**2, len(MODES))
