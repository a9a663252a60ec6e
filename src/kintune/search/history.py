"""Inputs and outputs of engines: one ask/tell interface, without state.

An engine is asked with a history and answers with a proposal; telling it a result is adding an
observation to the history. A proposal is a function of the space and the history alone, so a search
that was interrupted goes on as if it had not been.
"""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from pydantic import Field

from kintune.base.records import Record
from kintune.search.choice import Mistakes
from kintune.search.space import Point, SearchSpace

WORTH = 0.001
"""Expected fall of the error, a fraction, below which another run is not worth it."""


class Observation(Record):
    """Outcome of one setting: the mean over its seeds."""

    point: Point
    error: float = Field(ge=0, le=1)
    """1.0 where the run diverged; where it was stopped early, its error when it was stopped."""
    is_lost: bool = False
    """It diverged, failed or was stopped early: no error at the end of training."""
    mistakes: tuple[Mistakes, ...] = ()
    """Mistakes of each seed; empty where they are not known."""
    too_fast: bool = False
    """The first epoch was worse than guessing, or the run diverged."""


class History(Record):
    """Everything that a proposal may depend on besides the space."""

    finished: tuple[Observation, ...] = ()
    """In the order in which their settings were proposed."""
    pending: tuple[Point, ...] = ()
    """Proposed and not finished: runs of other workers."""
    seed: int = 0

    @property
    def number(self) -> int:
        """Number of the next proposal, from 0."""
        return len(self.finished) + len(self.pending)

    @property
    def points(self) -> tuple[Point, ...]:
        """Every point that has been proposed."""
        return (*(observation.point for observation in self.finished), *self.pending)

    @property
    def best(self) -> Observation | None:
        """Lowest error, ties to the smaller rate."""
        return min(self.finished, key=lambda o: (o.error, o.point.effective_lr), default=None)

    def told(self, observation: Observation) -> "History":
        """The history with one more result; its point is no longer pending."""
        pending = tuple(point for point in self.pending if point != observation.point)
        return self.replace(finished=(*self.finished, observation), pending=pending)

    def asked(self, point: Point) -> "History":
        """The history with one more pending point."""
        return self.replace(pending=(*self.pending, point))

    def generator(self, attempt: int = 0) -> random.Random:
        """Random numbers of this proposal alone."""
        return random.Random(f"{self.seed} {self.number} {attempt}")


class Proposal(Record):
    """Point to try next, and the reason."""

    point: Point
    reason: str
    """One sentence for a person."""
    gain: float | None = None
    """Expected fall of the best error, a fraction; None where the engine has no expectation."""

    @property
    def is_worth_it(self) -> bool:
        """Whether the engine expects this run to pay."""
        return self.gain is None or self.gain >= WORTH


class SearchEngine(Protocol):
    """Proposes points. `kintune.testing.EngineSuite` tests one."""

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """The next point, different from every one that was proposed, within the space's bounds.

        None where every point of four digits has been proposed.
        """
        ...


def is_new(space: SearchSpace, point: Point, points: Sequence[Point]) -> bool:
    """Whether a point gives another setting than each of `points`."""
    setting = space.at(point)
    low, high = space.bounds
    is_inside = low <= point.effective_lr <= high
    return is_inside and all(space.at(other) != setting for other in points)


def from_widest_gap(
    space: SearchSpace, history: History, variant: int | None = None
) -> Proposal | None:
    """The middle of the widest gap between the proposed rates and the bounds.

    What every engine falls back to, so that none draws for ever in a space that is nearly used up.

    Args:
        space: what is searched.
        history: what was proposed.
        variant: where gaps are looked for; None looks in all.

    Returns:
        None where no gap is wide enough for another rate of four digits.
    """
    variants = range(len(space.variants)) if variant is None else (variant,)
    low, high = (math.log10(bound) for bound in space.bounds)
    gaps: list[tuple[float, int, float]] = []
    for index in variants:
        tried = (point.log_rate for point in history.points if point.variant == index)
        edges = sorted({low, *(log_rate for log_rate in tried if low < log_rate < high), high})
        gaps += [(one - other, index, (one + other) / 2) for one, other in pairwise(edges)]
        gaps += [(0.0, index, edge) for edge in (low, high)]
    for _, index, log_rate in sorted(gaps):
        point = space.rounded(Point(effective_lr=10**log_rate, variant=index))
        if is_new(space, point, history.points):
            return Proposal(point=point, reason="the widest gap between the rates tried")
    return None
