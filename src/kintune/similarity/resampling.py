"""Error bars: the target's images are drawn again within each class."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kintune.base.arrays import CostArray, DrawArray, DrawnOffsets, UnitArray
from kintune.similarity.features import Features
from kintune.similarity.prototypes import Prototypes, class_prototypes
from kintune.similarity.relative import (
    SHIFT_WEIGHT,
    directions,
    mean_of,
    shifts,
    source_center,
    target_center,
)
from kintune.similarity.transport import TransportPlan

BOOTSTRAP_DRAWS = 200
INTERVAL = (0.05, 0.95)
CHUNK_ROWS = 2048

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Draws:
    """Values of resampled images, one a draw."""

    relative_distance: DrawArray
    distance: DrawArray | None
    """Cost of the optimal plan at the resampled class means: its change with them is, to first
    order, that of the distance (the plan's constraints do not move)."""


def bootstrap(
    source: Prototypes,
    features: Features,
    plan: TransportPlan | None = None,
    *,
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> Draws:
    """Resample the target's images with replacement within each class.

    Args:
        source: class prototypes of the source domain.
        features: the target's images.
        plan: optimal plan between the source's classes and the target's that have images.
        draws: how many resamples.
        seed: of the draws. The same images and seed give the same resamples, so that values against
            two sources can be compared draw by draw.
    """
    center = source_center(source)
    around = target_center(center, mean_of(class_prototypes(features)))
    units = directions(source.means, center).astype(np.float32)
    offsets = source.means - around
    relative, mean = np.zeros(draws), np.zeros((draws, len(center)))
    distance = None if plan is None else np.zeros(draws)
    for column, resample in enumerate(_resamples(features, around, draws, seed)):
        relative += resample.share * (1 - resample.largest_cosine(units))
        mean += resample.share * resample.offsets
        if plan is not None and distance is not None:
            distance += resample.work(offsets, plan.flow, column)
    if source.center is not None or source.origin != "head":
        relative += SHIFT_WEIGHT * shifts(mean + around, center)
    return Draws(relative, distance)


def interval_around(value: float, draws: DrawArray) -> Interval:
    """90 % interval: the spread of the draws, laid around the measured value.

    Class means of a resample are noisier than those of the sample, so every draw lies too far out;
    only their spread is used.
    """
    low, high = np.quantile(draws - draws.mean(), INTERVAL)
    return max(0.0, value + float(low)), value + float(high)


@dataclass(frozen=True, eq=False)
class _Resample:
    """One target class: the mean of each resample, around the target's center."""

    share: float
    offsets: DrawnOffsets
    parts: tuple[np.ndarray, np.ndarray] | None
    """Images around the center (n, d) and how often each was drawn (draws, n), over n; where there
    are fewer images than draws, products with these are cheaper than with the offsets."""

    def largest_cosine(self, units: UnitArray) -> DrawArray:
        """With the nearest source class, for each draw."""
        if self.parts is None:
            products = units @ self.offsets.T
        else:
            images, shares = self.parts
            products = (units @ images.T) @ shares.T
        lengths = np.linalg.norm(self.offsets, axis=1)
        largest = products.max(axis=0)
        cosine = np.divide(largest, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return np.clip(cosine, -1.0, 1.0).astype(np.float64)

    def work(self, source: np.ndarray, flow: CostArray, column: int) -> DrawArray:
        """Cost of the plan's flow into this class, for each draw."""
        senders = np.flatnonzero(flow[:, column])
        squared = (source[senders] ** 2).sum(axis=1)[:, None] + (self.offsets**2).sum(axis=1)
        squared = squared - 2 * source[senders] @ self.offsets.T
        return flow[senders, column] @ np.sqrt(np.maximum(squared, 0.0)).astype(np.float64)


def _resamples(
    features: Features, center: np.ndarray, draws: int, seed: int
) -> Iterator[_Resample]:
    rng = np.random.Generator(np.random.Philox(key=seed))
    order = np.argsort(features.labels, kind="stable")
    counts = np.bincount(features.labels)
    for end, count in zip(counts.cumsum(), counts, strict=True):
        if count:
            rows = order[end - count : end]
            yield _resample(features, rows, center, _drawn(rng, int(count), draws))


def _resample(
    features: Features,
    rows: np.ndarray,
    center: np.ndarray,
    drawn: Iterator[tuple[slice, np.ndarray]],
) -> _Resample:
    share, is_small = len(rows) / len(features.labels), len(rows) <= CHUNK_ROWS
    offsets, parts = np.float32(0), None
    for part, times in drawn:
        images = np.asarray(features.values[rows[part]]) - center
        shares = times.astype(np.float32) / np.float32(len(rows))
        offsets = offsets + shares @ images
        parts = (images, shares) if is_small and len(rows) < len(shares) else None
    return _Resample(share, np.asarray(offsets), parts)


def _drawn(rng: np.random.Generator, count: int, draws: int) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each of `count` images is drawn, int64 (draws, rows), some images at a time.

    First how many draws fall into each part, then within it: together exactly a multinomial.
    """
    starts = range(0, count, CHUNK_ROWS)
    sizes = np.array([min(CHUNK_ROWS, count - start) for start in starts])
    into = rng.multinomial(count, sizes / count, size=draws)
    for start, size, total in zip(starts, sizes, into.T, strict=True):
        yield slice(start, start + size), rng.multinomial(total, np.full(size, 1 / size))
