"""The space that is searched: effective learning rate, and what else may be chosen.

A point is an effective learning rate η' and one of the space's variants (momentum, decay, batch
size, regularizer, augmentation). Moving along η' keeps the weight decay λ; moving between momenta
keeps η' and the decay per step, so that what is compared is momentum alone.
"""

import math
from itertools import product
from typing import Any

from pydantic import Field

from kintune.base.records import Record
from kintune.recommend.model import RecipeTask
from kintune.runs.hyperparameters import (
    AugmentationName,
    Hyperparameters,
    RateRange,
    RegularizerName,
    lr_for,
)

LOWEST, HIGHEST = 1e-4, 10.0
"""Effective learning rates of the paper's grid (section 3.1): where a search without a
recommendation looks."""
OUTWARD = 100.0
"""A search with a recommendation may leave the recommended range by this factor."""
SAME = 1e-9
"""Relative: settings that differ by less are one."""


class Point(Record):
    """A point of a space: a rate and a variant."""

    effective_lr: float = Field(gt=0)
    variant: int = Field(default=0, ge=0)
    """Index into `SearchSpace.variants`."""

    @property
    def log_rate(self) -> float:
        """log10 η', decades."""
        return math.log10(self.effective_lr)


class Choices(Record):
    """Values to choose from beside the rate; empty keeps the base's value."""

    momentum: tuple[float, ...] = ()
    weight_decay: tuple[float, ...] = ()
    """λ at the base's momentum; at another momentum the decay per step stays."""
    batch_size: tuple[int, ...] = ()
    regularizer: tuple[RegularizerName, ...] = ()
    augmentation: tuple[AugmentationName, ...] = ()
    freeze_bn_stats: tuple[bool, ...] = ()
    """Batch statistics: the source's (True) or those of each batch."""

    def __len__(self) -> int:
        return math.prod(len(values) or 1 for values in self.model_dump().values())


class SearchSpace(Record):
    """Effective learning rates and variants to try, and everything that stays the same."""

    base: Hyperparameters
    """Settings that are not searched. The rate is replaced."""
    prior: RateRange | None = None
    """Where the best is expected; None leaves engines without an expectation."""
    highest_rate: float | None = Field(default=None, gt=0)
    """Effective rate above which nothing is tried; None leaves it to the prior or the grid."""
    choices: Choices = Choices()
    validation_images: int | None = Field(default=None, ge=1)
    """How many images an error was measured on: the noise of a comparison."""
    task: RecipeTask | None = None
    """Facts about the task for the recipe model; None without a recommendation."""

    @property
    def variants(self) -> tuple[Hyperparameters, ...]:
        """Every combination of the choices, at the base's lr."""
        return _variants(self.base, self.choices)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest effective learning rate that an engine may propose."""
        low, high = LOWEST, HIGHEST
        if self.prior is not None:
            low, high = self.prior.low / OUTWARD, self.prior.high * OUTWARD
        if self.highest_rate is not None:
            low, high = min(low, self.highest_rate), min(high, self.highest_rate)
        return low, high

    def at(self, point: Point) -> Hyperparameters:
        """The hyperparameters of a point, rounded to the 10 digits that identity knows."""
        variant = self.variants[point.variant]
        lr = lr_for(point.effective_lr, self.base.momentum)
        setting = variant.replace(lr=lr, momentum=self.base.momentum)
        if variant.momentum != self.base.momentum:
            setting = setting.with_momentum(variant.momentum)
        rates = {name: getattr(setting, name) for name in _RATES}
        rounded = {n: rounded_to_identity(rate) for n, rate in rates.items() if rate is not None}
        return setting.replace(**rounded)

    def point_of(self, setting: Hyperparameters) -> Point | None:
        """Where a setting lies in this space; None where it does not."""
        rate = rounded_to_identity(setting.effective_lr)
        for index in range(len(self.variants)):
            point = Point(effective_lr=rate, variant=index)
            if is_same(self.at(point), setting):
                return point
        return None

    def rounded(self, point: Point) -> Point:
        """The point with a rate of four digits, which people can read and type.

        A rate within the bounds stays there: at a bound it is rounded inwards, and kept as it is
        where no number of four digits lies between them.
        """
        low, high = self.bounds
        exact = point.effective_lr
        digit = 10 ** (math.floor(math.log10(exact)) - 3)
        near = (float(f"{exact + step:.4g}") for step in (0, -digit, digit))
        rate = next(near)
        if low <= exact <= high:
            rate = next((each for each in (rate, *near) if low <= each <= high), exact)
        return point.replace(effective_lr=rate)

    def within(self, rate: float) -> float:
        """The nearest effective rate between the bounds."""
        low, high = self.bounds
        return min(max(rate, low), high)


def _variants(base: Hyperparameters, choices: Choices) -> tuple[Hyperparameters, ...]:
    given = {name: tuple(dict.fromkeys(values)) for name, values in choices if values}
    return tuple(
        base.replace(**dict(zip(given, values, strict=True))) for values in product(*given.values())
    )


_RATES = ("lr", "weight_decay", "new_part_decay")


def rounded_to_identity(value: float) -> float:
    """A value at the 10 significant digits that run ids are made of.

    >>> rounded_to_identity(0.1 + 0.2)
    0.3
    """
    return float(f"{value:.10g}")


def is_same(one: Hyperparameters, other: Hyperparameters) -> bool:
    """Whether two settings are one, up to the digits that identity knows."""
    return all(_equal(value, getattr(other, name)) for name, value in one)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME)
    return one == other
