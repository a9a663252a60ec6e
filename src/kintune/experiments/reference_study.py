"""The reference study: measured curves of error against effective learning rate.

Protocol. Everything that decides which runs there are is in this file and in
`kintune.experiments.study_sources`.

- **Targets.** At most 480 training images a set, spread over at most 80 classes so that each has at
  least five, and as many again for validation (`kintune.experiments.targets`): validation on 480
  images tells 2 points apart, on the 120 that a 20 % draw leaves it would take 4. The test split is
  read once at the end of each run and recorded; nothing here is selected on it. The whole sets
  (`birds-whole`) are targets too: every class, all training images but a fifth to validate on.
- **Sources.** `pocket` at 32 px; MobileNetV2 of ImageNet-1k, of birds and of insects at 64 px; that
  of ImageNet on two sets also at 128 px, to see what is carried to other sizes and no reference;
  `dla46_c` and `tinynet_e`, two further kinds of networks, taught what `pocket` was taught
  (`scripts/train_pocket.py --architecture NAME --epochs 15`); `scratch`, the architecture of
  `pocket` from random weights.
- **Budgets.** 60 epochs (`pocket`, `scratch`) or 40 (MobileNetV2) of 15 steps of 32 images, and a
  fifth of that, which alone the two further kinds and the larger images get. The long one is meant
  to converge: `converged` tells which runs did. On whole sets 40 epochs on every network: 2,000
  steps for 1,600 images, the length of a fine-tuning at the defaults (`kintune.defaults`).
- **Held fixed.** Momentum 0.9, batch size 32, L2 with decay 1e-4 on all parameters, the paper's
  step schedule (a tenth at 1/2 and at 5/6), batch statistics trained. Augmentation is mirrored
  central crops: with the paper's random resized crop a training of 900 steps or fewer ends
  unfinished, and an unfinished curve ranks rates by how fast they are.
- **Rates.** On a grid of quarter decades (`rate`). First every half decade from 0.00316 to 1, for
  MobileNetV2 to 0.1; then half decades outwards until both ends are 1 point worse than the best;
  then the two quarter decades beside the best.
- **Seeds.** Three for every point within 3 points of the best, on which the two steps before are
  taken again: they follow the mean.
- **Decays.** 0 and 5e-4 at the best rate and the two grid points beside it, one seed. In equation
  (2) a decay of 5e-4 takes 1 - (1 - 0.01 * 5e-4)^900 = 0.4 % of a weight at an effective rate of
  0.1: no effect is expected that 480 images could show, so this comes last.
- **Threads.** One a run, two runs at a time: 387 images a second of `pocket` on two idle cores
  against 334 for one run of two threads; MobileNetV2 costs the same processor time either way.

A run's error for all of these is its validation error at the end of training, 1 where it diverged.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from statistics import mean
from typing import Literal, NamedTuple

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.experiment import RunArchive, RunRecord
from kintune.experiments.study_sources import SOURCES, BudgetName, SourceName
from kintune.hyperparameters import Hyperparameters, lr_for
from kintune.records import content_id
from kintune.runs import RunConfig
from kintune.training import start_of

MOMENTUM = 0.9
BATCH_SIZE = 32
DECAY = 1e-4
OTHER_DECAYS = (0.0, 5e-4)
SEEDS = (0, 1, 2)
THREADS = 1
NEAR = 0.03
"""Points this close to the best get all seeds, top-1 error."""
EDGE = 0.01
"""The curve is extended until both ends are this much worse than the best."""
LOWEST, HIGHEST = -16, 4
"""Quarter decades: effective rates of 1e-4 and 10."""
CONVERGED_SHARE, CONVERGED_LOSS = 0.05, 0.005
"""Change of the training loss after the last decay that counts as none: relative, or in nats."""

Stage = Literal["curve", "seeds", "decays"]
STAGES: tuple[Stage, ...] = ("curve", "seeds", "decays")

ORDER: tuple[tuple[SourceName, BudgetName, Stage], ...] = (
    ("pocket", "short", "curve"),
    ("pocket", "long", "curve"),
    ("in1k", "short", "curve"),
    ("in1k", "long", "curve"),
    ("in1k", "whole", "curve"),
    ("pocket", "whole", "curve"),
    ("dla46_c", "short", "curve"),
    ("tinynet_e", "short", "curve"),
    ("pocket", "long", "seeds"),
    ("inat_birds", "long", "curve"),
    ("inat_insects", "long", "curve"),
    ("scratch", "long", "curve"),
    ("pocket", "short", "seeds"),
    ("in1k", "long", "seeds"),
    ("inat_birds", "short", "curve"),
    ("inat_insects", "short", "curve"),
    ("scratch", "short", "curve"),
    ("in1k", "short", "seeds"),
    ("inat_birds", "long", "seeds"),
    ("inat_insects", "long", "seeds"),
    ("scratch", "long", "seeds"),
    ("pocket", "long", "decays"),
    ("inat_birds", "short", "seeds"),
    ("inat_insects", "short", "seeds"),
    ("scratch", "short", "seeds"),
    ("in1k", "long", "decays"),
    ("inat_birds", "whole", "curve"),
    ("inat_insects", "whole", "curve"),
    ("in1k_128px", "short", "curve"),
)
"""Most informative for its hours first: what is there when the time is up is of use. The short
budget of `pocket` costs one hour for all targets."""


class Point(NamedTuple):
    """One run of a curve."""

    quarter: int
    """Quarter decades above an effective learning rate of 1."""
    decay: float = DECAY
    seed: int = SEEDS[0]


class PlannedRun(NamedTuple):
    """One run of the study."""

    source: SourceName
    target: str
    budget: BudgetName
    stage: Stage
    point: Point


Errors = Mapping[Point, float]
"""Validation errors of the runs of one curve, fractions."""


def rate(quarter: int) -> float:
    """The effective learning rate of a grid point, three significant digits.

    >>> [rate(quarter) for quarter in (-8, -7, -6, 0)]
    [0.01, 0.0178, 0.0316, 1.0]
    """
    return float(f"{10 ** (quarter / 4):.3g}")


def quarter_of(effective_lr: float) -> int:
    """The grid point next to an effective learning rate.

    >>> quarter_of(0.0178)
    -7
    """
    return round(4 * math.log10(effective_lr))


def settings(source: SourceName, budget: BudgetName, point: Point) -> Hyperparameters:
    """The hyperparameters of a point of a curve."""
    return Hyperparameters.as_in_paper(
        lr=lr_for(rate(point.quarter), MOMENTUM),
        momentum=MOMENTUM,
        weight_decay=point.decay,
        batch_size=BATCH_SIZE,
        epochs=SOURCES[source].epochs[budget],
        regularizer="l2",
        schedule="step",
        augmentation="flip",
    )


def study_config(run: PlannedRun, backbone: Backbone, dataset: ImageDataset) -> RunConfig:
    """The configuration of a run of the study on its network and images."""
    start = start_of(backbone, dataset)
    random = run.source == "scratch"
    if random:
        start["weights_sha256"] = ""
    return RunConfig(
        **start,
        initialization="random" if random else "pretrained",
        hyperparameters=settings(run.source, run.budget, run.point),
        seed=run.point.seed,
    )


def pending(*archives: RunArchive) -> Iterator[PlannedRun]:
    """The runs that the protocol asks for, given those in the archives, most informative first.

    Which runs come after these depends on what these give.
    """

    @cache  # each file once
    def read(source: str, target: str) -> list[RunRecord]:
        return [run for archive in archives for run in archive.read(source, target)]

    for source, budget, last in ORDER:
        stages = STAGES[: STAGES.index(last) + 1]
        for target in SOURCES[source].targets_of(budget):
            errors = curve_errors(read(source, target), source, budget)
            for stage, point in due(errors, source, stages):
                if stage == last:  # else it came with an earlier entry
                    yield PlannedRun(source, target, budget, stage, point)


def curve_errors(
    runs: Sequence[RunRecord], source: SourceName, budget: BudgetName
) -> dict[Point, float]:
    """Validation errors of the runs that belong to a curve; others in the file are passed over."""
    return {point: run.validation_error for point, run in curve_runs(runs, source, budget).items()}


def curve_runs(
    runs: Sequence[RunRecord], source: SourceName, budget: BudgetName
) -> dict[Point, RunRecord]:
    """The runs that belong to a curve, by point."""
    return {
        point_of(run.config): run
        for run in runs
        if _identity(run.config.hyperparameters)
        == _identity(settings(source, budget, point_of(run.config)))
    }


def _identity(used: Hyperparameters) -> str:
    """Equal for settings that differ in the last bits alone: 0.1 (1 - 0.9) is 0.01."""
    return content_id(used.without_defaults())


def point_of(config: RunConfig) -> Point:
    """The grid point next to a configuration."""
    used = config.hyperparameters
    return Point(quarter_of(used.effective_lr), used.weight_decay, config.seed)


def due(
    errors: Errors, source: SourceName, stages: Sequence[Stage] = STAGES
) -> list[tuple[Stage, Point]]:
    """The next points of a curve: those of the first unfinished stage, none at the end."""
    for stage in stages:
        missing = [point for point in _RULES[stage](errors, source) if point not in errors]
        if missing:
            return [(stage, point) for point in missing]
    return []


def means(errors: Errors, decay: float = DECAY) -> dict[int, float]:
    """Mean error over the seeds at each rate, by quarter decade."""
    at: dict[int, list[float]] = {}
    for point, error in errors.items():
        if point.decay == decay:
            at.setdefault(point.quarter, []).append(error)
    return {quarter: mean(each) for quarter, each in sorted(at.items())}


def best_quarter(errors: Errors) -> int:
    """The rate with the lowest mean error; of equal ones the smallest."""
    at = means(errors)
    return min(at, key=lambda quarter: (at[quarter], quarter))


def converged(losses: Sequence[float]) -> bool:
    """Whether the training loss no longer moved after the last decay of the step schedule.

    The mean of the second half of the last sixth of training is compared with that of the first:
    single epochs are noisy. It says that going on at the last rate would change little, not that
    the network has learned what it can: at a low rate the decays freeze a training that was far
    from done, and its loss stands still at a high value.
    """
    last = losses[math.ceil(5 * len(losses) / 6) :]
    if len(last) < 2:
        return False
    before, after = mean(last[: len(last) // 2]), mean(last[len(last) // 2 :])
    return abs(before - after) <= max(CONVERGED_SHARE * before, CONVERGED_LOSS)


def _curve_points(errors: Errors, source: SourceName) -> list[Point]:
    """First rates; then outwards; then beside the best."""
    first = [Point(quarter) for quarter in SOURCES[source].first]
    if any(point not in errors for point in first):
        return first
    at = means(errors)
    least = min(at.values())
    ends = [(min(at), -2, LOWEST), (max(at), 2, HIGHEST)]
    outer = [
        Point(end + step) for end, step, limit in ends if at[end] <= least + EDGE and end != limit
    ]
    if outer:
        return outer
    best = best_quarter(errors)
    return [Point(quarter) for quarter in (best - 1, best + 1) if LOWEST <= quarter <= HIGHEST]


def _seed_points(errors: Errors, _source: SourceName) -> list[Point]:
    at = means(errors)
    near = [quarter for quarter, error in at.items() if error <= min(at.values()) + NEAR]
    return [Point(quarter, seed=seed) for seed in SEEDS for quarter in near]


def _decay_points(errors: Errors, _source: SourceName) -> list[Point]:
    best = best_quarter(errors)
    return [
        Point(quarter, decay) for decay in OTHER_DECAYS for quarter in (best - 1, best, best + 1)
    ]


_RULES: Mapping[Stage, Callable[[Errors, SourceName], list[Point]]] = {
    "curve": _curve_points,
    "seeds": _seed_points,
    "decays": _decay_points,
}
