"""Error against effective learning rate, read off a smooth curve and never off one noisy run.

The lowest of several noisy errors is too low and its rate is chance, so a regret measured from it
rewards luck. Here all seeds are pooled into one local quadratic in the log of the rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH = 0.35
"""Standard deviation of the kernel, decades."""
JUMP_ODDS, JUMP_ERROR = 1.5, 0.2
"""Between neighboring rates that differ by more than both, in log odds and in error, there is a
jump: beyond it training breaks down, and that says nothing of the errors before it."""
MIN_RATES = 4
"""Distinct rates that a curve needs."""
_STEP = 0.01  # decades between the log rates where the least error is looked for


class RunError(NamedTuple):
    """Score of one run of a curve."""

    effective_lr: float
    error: float
    """Top-1 error, a fraction; 1 for a diverged run."""
    seed: int = 0


@dataclass(frozen=True)
class ErrorCurve:
    """A local quadratic in log10 η' through the log odds of the errors.

    Log odds, because they vary about equally at 2 and at 50 % and know no error below 0. Each side
    of a jump is smoothed by itself, with a straight line between. Outside the rates that were
    measured the curve stays at its ends, so a regret there is a lower bound.
    """

    log_rates: Floats
    """log10 of the rates of all runs, (n,)."""
    odds: Floats
    """Log odds of their errors, (n,)."""
    width: float = WIDTH

    def at(self, rates: Sequence[float] | Floats) -> Floats:
        """The smoothed error at effective rates, fractions."""
        log_rates = np.log10(np.asarray(rates, dtype=np.float64))
        inside = np.clip(log_rates, self.log_rates.min(), self.log_rates.max())
        return 1 / (1 + np.exp(-self._odds_at(np.atleast_1d(inside))))

    def error(self, rate: float) -> float:
        """The same at one rate."""
        return float(self.at([rate])[0])

    @cached_property
    def best_rate(self) -> float:
        """The effective rate with the lowest smoothed error."""
        grid = self._grid()
        return float(grid[np.argmin(self.at(grid))])

    @cached_property
    def lowest_error(self) -> float:
        """The lowest smoothed error."""
        return float(self.at(self._grid()).min())

    def regret(self, rate: float) -> float:
        """Loss of a rate against the best one, top-1 error as a fraction, at least 0."""
        return max(0.0, self.error(rate) - self.lowest_error)

    def within(self, margin: float) -> tuple[float, float]:
        """The lowest and the highest rate whose regret is at most `margin`."""
        grid = self._grid()
        good = grid[self.at(grid) <= self.lowest_error + margin]
        return float(good.min()), float(good.max())

    def _grid(self) -> Floats:
        low, high = self.log_rates.min(), self.log_rates.max()
        return 10 ** np.linspace(low, high, 1 + max(1, round((high - low) / _STEP)))

    def _odds_at(self, log_rates: Floats) -> Floats:
        """In the order of the rates: the smoothed sides of the jumps, and lines between them."""
        odds = np.full_like(log_rates, np.nan)
        ends: list[tuple[float, float]] = []
        for side in self._sides:
            first, last = self.log_rates[side].min(), self.log_rates[side].max()
            within = (first <= log_rates) & (log_rates <= last)
            odds[within] = self._fits(log_rates[within], side)
            edges = np.array([first, last])
            ends += zip(edges, self._fits(edges, side), strict=True)
        between = np.isnan(odds)
        odds[between] = np.interp(log_rates[between], *np.array(ends).T)
        return odds

    @cached_property
    def _sides(self) -> list[NDArray[np.bool_]]:
        """Which runs lie on each side of the jumps, bool (n,) each."""
        rates = np.unique(self.log_rates)
        means = np.array([self.odds[self.log_rates == rate].mean() for rate in rates])
        jumps = np.abs(np.diff(means)) > JUMP_ODDS
        falls = np.abs(np.diff(1 / (1 + np.exp(-means)))) > JUMP_ERROR
        parts = np.split(rates, np.flatnonzero(jumps & falls) + 1)
        return [np.isin(self.log_rates, part) for part in parts]

    def _fits(self, log_rates: Floats, side: NDArray[np.bool_]) -> Floats:
        """At each log rate the value of the quadratic that fits the runs of a side best around it;
        a line or a mean where two rates or one are all there is."""
        away = self.log_rates[side] - log_rates[:, None]
        root = np.exp(-0.25 * (away / self.width) ** 2)  # of the kernel, for least squares
        terms = min(3, len(np.unique(self.log_rates[side])))
        design = np.stack([away**power for power in range(terms)], axis=2) * root[:, :, None]
        solved = np.linalg.pinv(design) @ (self.odds[side] * root)[:, :, None]
        return solved[:, 0, 0]


def error_curve(
    runs: Sequence[RunError], images: int, width: float = WIDTH, min_rates: int = MIN_RATES
) -> ErrorCurve:
    """Smooth the errors of runs at different rates, all seeds pooled.

    Args:
        runs: of at least `min_rates` distinct rates.
        images: how many each error was measured on; e errors count as (e + 1/2) of (images + 1), so
            that none has infinite odds.
        width: of the kernel, decades.
        min_rates: three give a parabola through the runs, which smooths nothing.

    Raises:
        ValueError: too few rates.
    """
    rates = {run.effective_lr for run in runs}
    if len(rates) < min_rates:
        raise ValueError(f"a curve needs {min_rates} distinct rates, got {len(rates)}")
    shares = (np.array([run.error for run in runs]) * images + 0.5) / (images + 1)
    return ErrorCurve(
        log_rates=np.log10([run.effective_lr for run in runs]),
        odds=np.log(shares / (1 - shares)),
        width=width,
    )
