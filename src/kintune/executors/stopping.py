"""When a run is clearly lost, so that its time is better spent on another."""

import math
from collections.abc import Callable, Sequence

from kintune.base.records import Record
from kintune.runs import RunConfig
from kintune.training import EpochMetrics

FIRST_SHARE = 0.6
"""Share of the epochs before which nothing is stopped: behind the step schedule's first drop, at
1/2, where large rates fall most."""
TOLERANCE = 2.0
"""A run is credited with this multiple of the most that any finished run still fell from there."""
MIN_MARGIN = 0.05
"""Fraction by which a run must still miss the lowest error."""
DEVIATIONS = 4.0
"""The same in standard deviations of an error on the validation images."""


class LearningCurve(Record):
    """Validation error of a finished run over its epochs, which may leave some out."""

    errors: dict[int, float]
    """Epoch from 1 -> error; the last is the one at the end of training."""

    @property
    def final(self) -> float:
        """At the end of training."""
        return self.errors[max(self.errors)]


class StopRule(Record):
    """Decide from the finished runs whether one that is going on is lost; without any, none is."""

    curves: tuple[LearningCurve, ...] = ()
    epochs: int
    validation_images: int

    def __call__(self, rows: Sequence[EpochMetrics]) -> str | None:
        """The reason why the run is lost after its last epoch so far; None where it may still win.

        Even if its error fell by twice as much, or twice as often by the same factor, as that of
        any finished run from this epoch on, it would end clearly above the lowest.
        """
        row = rows[-1]
        error = row.validation_top1_error
        alike = [curve for curve in self.curves if row.epoch in curve.errors]
        if error is None or not alike or row.epoch < FIRST_SHARE * self.epochs:
            return None
        lowest = min(curve.final for curve in self.curves)
        hoped = min(_hoped(error, curve, row.epoch) for curve in alike)
        if hoped <= lowest + self._margin(lowest):
            return None
        return (
            f"clearly lost after epoch {row.epoch} of {self.epochs}: validation error {error:.1%}, "
            f"at best {hoped:.1%} in the end, and the lowest so far is {lowest:.1%}"
        )

    def _margin(self, error: float) -> float:
        deviation = math.sqrt(max(error * (1 - error), 0.01) / self.validation_images)
        return max(MIN_MARGIN, DEVIATIONS * deviation)


def _hoped(error: float, curve: LearningCurve, epoch: int) -> float:
    """The error in the end, if it fell `TOLERANCE` times as far as a finished run did from here."""
    then, final = curve.errors[epoch], curve.final
    fall = TOLERANCE * max(0.0, then - final)
    factor = (min(1.0, final / then) if then else 1.0) ** TOLERANCE
    return max(0.0, min(error - fall, error * factor))


StopRules = Callable[[RunConfig], StopRule | None]
"""Gives the rule for a run when it begins."""


def never(_: RunConfig) -> StopRule | None:
    """No run is stopped."""
    return None
