"""Engines propose the next effective learning rate from what the finished runs gave."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from kintune.recommend import RateRange

LOWEST, HIGHEST = 1e-6, 10.0
LEAST_STEP = math.log10(2)
LEAST_GAP = 0.08
"""Decades: two rates nearer than this teach the same."""


@dataclass(frozen=True)
class Observation:
    """What one run taught. `error` is a fraction, 1.0 for a run that diverged."""

    effective_lr: float
    error: float
    too_fast: bool = False
    """The first epoch was worse than guessing."""


class SearchEngine(Protocol):
    """A pure function of the finished runs: the same runs give the same proposal."""

    def propose(self, rates: RateRange, finished: Sequence[Observation]) -> float:
        """The effective learning rate to try next, different from every finished one."""
        ...


class Bracket:
    """Error against log rate is a valley: unfinished training on one side, damage on the other.

    Starts at the best guess, goes down where that was too fast and else to the side with more room,
    walks outward while the edge is the best point, then refines inside the bracket: at the vertex
    of the parabola through the best point and its neighbours.
    """

    def propose(self, rates: RateRange, finished: Sequence[Observation]) -> float:
        """See `SearchEngine.propose`."""
        if not finished:
            return rates.best
        tried = sorted((math.log10(o.effective_lr), o.error) for o in finished)
        places = [place for place, _ in tried]
        # min() takes the first of equals: ties go to the smaller rate.
        best = min(range(len(tried)), key=lambda index: tried[index][1])
        for candidate in self._candidates(rates, tried, best, finished[0].too_fast):
            inside = math.log10(LOWEST) <= candidate <= math.log10(HIGHEST)
            if inside and min(abs(candidate - place) for place in places) >= LEAST_GAP:
                return 10**candidate
        return 10 ** _middle_of_widest_gap(places, around=places[best])

    def _candidates(
        self, rates: RateRange, tried: Sequence[tuple[float, float]], best: int, too_fast: bool
    ) -> list[float]:
        """Logarithms of rates worth trying, the most promising first."""
        low, high = math.log10(rates.low), math.log10(rates.high)
        step = max(LEAST_STEP, (high - low) / 4)
        place = tried[best][0]
        up, down = place + step, place - step
        if len(tried) == 1:
            return [down, up] if too_fast or high - place < place - low else [up, down]
        if best == len(tried) - 1:
            return [up]
        if best == 0:
            return [down]
        before, after = tried[best - 1][0], tried[best + 1][0]
        halves = sorted(((place + before) / 2, (place + after) / 2), key=lambda x: -abs(x - place))
        return [_vertex(tried[best - 1 : best + 2]), *halves]


def _vertex(points: Sequence[tuple[float, float]]) -> float:
    """Minimum of the parabola through three points of a valley; the middle one where it is flat."""
    (x0, y0), (x1, y1), (x2, y2) = points
    left, right = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    if left == right:
        return x1
    return x1 - 0.5 * ((x1 - x0) * left - (x1 - x2) * right) / (left - right)


def _middle_of_widest_gap(places: Sequence[float], around: float) -> float:
    """Middle of a gap between neighbours that is worth a run: the nearest to the best place whose
    width is at least half the widest gap between tried places."""
    gaps = [(b - a, (a + b) / 2) for a, b in pairwise(places)]
    widest = max(width for width, _ in gaps)
    return min(
        (middle for width, middle in gaps if width >= widest / 2),
        key=lambda middle: abs(middle - around),
    )
