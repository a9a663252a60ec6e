"""A smooth guess of the error between and beside the rates that were tried.

A Gaussian process over log10 η' whose mean is a parabola around the recommendation. It is small (a
dozen points), so it is written out: posterior mean and standard deviation by a Cholesky factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LENGTH = 0.5
"""Decades over which the error changes."""
SEED_NOISE = 0.005
"""Standard deviation between seeds beyond that of the validation images."""
CLIP_FACTOR = 2.0
"""Errors above this multiple of the lowest, plus `CLIP_MARGIN`, all count as that: how badly a
run diverges says nothing about the minimum."""
CLIP_MARGIN = 0.05
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Surrogate:
    """A fit to errors over log rates (log10 η')."""

    log_rates: Floats
    errors: Floats
    """Clipped: see `CLIP_FACTOR`."""
    noise: Floats
    """Standard deviation of each error."""
    center: float | None
    """Where the recommendation expects the minimum; None without one."""
    width: float
    """Decades from there to the edge of the recommended range."""

    @property
    def scale(self) -> float:
        """How far errors differ, a fraction."""
        return max(0.03, float(np.ptp(self.errors)), CLIP_MARGIN / 2)

    def at(self, log_rates: Floats) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation of the error at log rates."""
        own = self._kernel(self.log_rates, self.log_rates) + np.diag(self.noise**2)
        across = self._kernel(log_rates, self.log_rates)
        residual = self.errors - self._mean(self.log_rates)
        level = float(np.average(residual, weights=1 / (self.noise**2 + self.scale**2 / 4)))
        solved = np.linalg.solve(own, across.T)
        mean = level + self._mean(log_rates) + solved.T @ (residual - level)
        variance = self.scale**2 - np.einsum("ij,ji->i", across, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def gain(self, log_rates: Floats) -> Floats:
        """Expected improvement over the lowest posterior mean among the tried log rates."""
        lowest = float(np.min(self.at(self.log_rates)[0]))
        mean, deviation = self.at(log_rates)
        return np.array([_improvement(lowest - m, s) for m, s in zip(mean, deviation, strict=True)])

    def _mean(self, log_rates: Floats) -> Floats:
        if self.center is None:
            return np.zeros_like(log_rates)
        away = (log_rates - self.center) / max(self.width, LENGTH)
        return 0.5 * self.scale * np.minimum(away**2, 4.0)

    def _kernel(self, one: Floats, other: Floats) -> Floats:
        """Matérn 5/2."""
        r = math.sqrt(5) * np.abs(one[:, None] - other[None, :]) / LENGTH
        return self.scale**2 * (1 + r + r**2 / 3) * np.exp(-r)


def fit_surrogate(
    log_rates: Sequence[float],
    errors: Sequence[float],
    *,
    images: int | None,
    center: float | None,
    width: float,
) -> Surrogate:
    """Fit errors at log rates, each measured on `images` images."""
    values = np.asarray(errors, dtype=np.float64)
    limit = CLIP_FACTOR * values.min() + CLIP_MARGIN
    clipped = np.minimum(values, limit)
    variance = clipped * (1 - clipped) / images if images else np.full_like(clipped, 1e-4)
    return Surrogate(
        log_rates=np.asarray(log_rates, dtype=np.float64),
        errors=clipped,
        noise=np.sqrt(variance + SEED_NOISE**2),
        center=center,
        width=width,
    )


def _improvement(margin: float, deviation: float) -> float:
    z = margin / deviation
    return margin * _NORMAL.cdf(z) + deviation * _NORMAL.pdf(z)
