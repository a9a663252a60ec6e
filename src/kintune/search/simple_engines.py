"""`grid` and `random`: what the other engines must beat."""

import math

from kintune.search.history import History, Proposal, from_widest_gap, is_new
from kintune.search.space import Point, SearchSpace

NORMAL_80 = 1.2816
"""Standard deviations from the middle to the edge of a range that holds 80 %."""
MAX_DRAWS = 100
"""Most draws of one proposal, before the widest gap between the tried rates is taken."""
FINEST_LEVEL = 6
"""Finest level of the grid: 128 rates a decade, some 300 runs in four decades."""


class GridEngine:
    """Half decades through the bounds, then quarters, and so on, for every variant.

    With a recommendation the rates nearest to its best guess come first; without one the order is
    drawn by the seed.
    """

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """See `SearchEngine.ask`."""
        for level in range(FINEST_LEVEL + 1):
            points = [space.rounded(point) for point in _lattice(space, level)]
            free = [point for point in points if is_new(space, point, history.points)]
            if free:
                return Proposal(
                    point=self._first(space, free, history),
                    reason=f"the grid's next point, {2 * 2**level} rates a decade",
                )
        return from_widest_gap(space, history)

    def _first(self, space: SearchSpace, free: list[Point], history: History) -> Point:
        if space.prior is None:
            return history.generator().choice(free)
        best = math.log10(space.prior.best)
        return min(free, key=lambda point: (abs(point.log_rate - best), point.variant))


def _lattice(space: SearchSpace, level: int) -> list[Point]:
    """Every variant at every step of 1/2, 1/4 ... decade around the best guess, or around 1."""
    step = 0.5 / 2**level
    low, high = (math.log10(edge) for edge in space.bounds)
    origin = math.log10(space.prior.best) if space.prior else 0.0
    first, last = math.ceil((low - origin) / step - 1e-9), math.floor((high - origin) / step + 1e-9)
    return [
        Point(effective_lr=10 ** (origin + step * index), variant=variant)
        for index in range(first, last + 1)
        for variant in range(len(space.variants))
    ]


class RandomEngine:
    """A rate drawn from the recommendation's range as a normal distribution of its logarithm, or
    evenly from the bounds without one; a variant drawn evenly."""

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """See `SearchEngine.ask`."""
        for attempt in range(MAX_DRAWS):
            point = self._draw(space, history, attempt)
            if is_new(space, point, history.points):
                return Proposal(point=point, reason="drawn at random")
        return from_widest_gap(space, history)

    def _draw(self, space: SearchSpace, history: History, attempt: int) -> Point:
        generator = history.generator(attempt)
        variant = generator.randrange(len(space.variants))
        if space.prior is None:
            low, high = (math.log10(edge) for edge in space.bounds)
            log_rate = generator.uniform(low, high)
        else:
            low, high = math.log10(space.prior.low), math.log10(space.prior.high)
            log_rate = generator.gauss((low + high) / 2, (high - low) / 2 / NORMAL_80)
        return space.rounded(Point(effective_lr=10**log_rate, variant=variant))
