"""`bracket`: error against the logarithm of the effective rate is U-shaped.

Training does not converge at rates that are too small; at those that are too large it damages what
the network knows, and in the end diverges. So: start at the recommendation's best guess, step
outward by the recommendation's interval until the best rate has a worse one on either side, then go
where a smooth fit through all runs expects most, and say so when it expects next to nothing. Other
augmentations come second where a rate is recommended, other variants when the first is bracketed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kintune.runs.hyperparameters import outward_step
from kintune.runs.setting_text import difference
from kintune.search.choice import difference_error
from kintune.search.history import WORTH, History, Observation, Proposal, from_widest_gap, is_new
from kintune.search.space import Point, SearchSpace
from kintune.search.surrogate import Floats, Surrogate, fit_surrogate

MIN_GAP = 0.08
"""Decades: two rates nearer than this count as the same."""
GROWTH, LONGEST_STEP = 1.5, 1.0
"""Each further step on the same side is longer, up to this."""
SETTLED_RUNS = 4
"""The other variants are tried when the first has been bracketed, or has had so many runs."""
FINE = 0.02
"""Decades between the log rates that the fit is asked about."""


class Bracket:
    """See the module."""

    def ask(self, space: SearchSpace, history: History) -> Proposal | None:
        """See `SearchEngine.ask`."""
        look = _Look(space, history)
        for proposal in look.proposals():
            point = space.rounded(proposal.point)
            if is_new(space, point, history.points):
                return proposal.replace(point=point)
        # The fit expects nothing more, and a number of runs was promised.
        last = from_widest_gap(space, history, look.variant) or from_widest_gap(space, history)
        return last and last.replace(gain=0.0)


@dataclass(frozen=True)
class _Look:
    """One look at the space and its history, at the variant with the lowest error so far."""

    space: SearchSpace
    history: History

    @property
    def variant(self) -> int:
        return self.history.best.point.variant if self.history.best else 0

    @cached_property
    def finished(self) -> tuple[Observation, ...]:
        """Finished runs of the variant, by rate."""
        mine = (o for o in self.history.finished if o.point.variant == self.variant)
        return tuple(sorted(mine, key=lambda o: o.point.effective_lr))

    @cached_property
    def pending(self) -> tuple[float, ...]:
        return tuple(p.log_rate for p in self.history.pending if p.variant == self.variant)

    @cached_property
    def log_rates(self) -> tuple[float, ...]:
        """Finished."""
        return tuple(o.point.log_rate for o in self.finished)

    @property
    def best(self) -> int:
        """Index of the lowest error; the smaller rate of equals."""
        return min(range(len(self.finished)), key=lambda index: self.finished[index].error)

    @property
    def worse(self) -> list[float]:
        """Places whose error lies above the lowest by more than a standard error."""
        best, images = self.finished[self.best], self.space.validation_images
        return [
            o.point.log_rate
            for o in self.finished
            if o.error - best.error
            > difference_error(best.error, o.mistakes, best.mistakes, images)
        ]

    @property
    def bounds(self) -> tuple[float, float]:
        low, high = self.space.bounds
        return math.log10(low), math.log10(high)

    @property
    def center(self) -> float:
        """Where to begin: the best guess, else the middle of the bounds."""
        prior = self.space.prior
        return math.log10(prior.best) if prior else sum(self.bounds) / 2

    @property
    def width(self) -> float:
        """Decades from the middle of the expected range to its edge."""
        low, high = self.expected
        return (math.log10(high) - math.log10(low)) / 2

    @property
    def expected(self) -> tuple[float, float]:
        """Effective rates: the recommended range, else the bounds."""
        prior = self.space.prior
        return (prior.low, prior.high) if prior else self.space.bounds

    @property
    def step(self) -> float:
        return outward_step(*self.expected)

    def proposals(self) -> Iterator[Proposal]:
        """The most promising first."""
        yield from self._first()
        yield from self._other_augmentations()
        yield from self._beside()
        yield from self._outward()
        yield from self._other_variants()
        yield from self._inside()

    def _first(self) -> Iterator[Proposal]:
        if not self.history.finished:
            known = "the recommendation's best guess" if self.space.prior else "the middle"
            yield self._propose(self.center, f"{known}, to begin with")

    def _other_augmentations(self) -> Iterator[Proposal]:
        """Each once, at the best rate so far, and before other rates: which one is better depends
        on the images, and moves the error by more than the rate does within a recommended range
        (`docs/decisions/0010-augmentation.md`)."""
        best, now = self.history.best, self.space.variants[self.variant]
        if self.space.prior is None or (best is not None and best.is_lost):
            return
        rate = best.point.effective_lr if best else self.space.prior.best
        tried = self._compared()
        for index, variant in enumerate(self.space.variants):
            is_other = variant.replace(augmentation=now.augmentation) == now
            if is_other and index not in tried:
                point = Point(effective_lr=rate, variant=index)
                yield Proposal(point=point, reason=f"the same {difference(variant, now)}")

    def _compared(self) -> set[int]:
        """Variants of which a run was, or is, worth comparing: at a rate that proved too fast for
        the present one too, a lost run says nothing of the variant."""
        sound = {o.point.effective_lr for o in self.finished if not (o.is_lost or o.too_fast)}
        seen = (o for o in self.history.finished if not o.is_lost or o.point.effective_lr in sound)
        return {o.point.variant for o in seen} | {p.variant for p in self.history.pending}

    def _beside(self) -> Iterator[Proposal]:
        """Other workers need something to do before the first result is there."""
        if not self.history.finished:
            for count in range(1, 1 + len(self.history.pending)):
                for log_rate in (self.center + count * self.step, self.center - count * self.step):
                    yield from self._if_apart(log_rate, "beside the best guess, while it runs")

    def _outward(self) -> Iterator[Proposal]:
        """Until the best rate has a worse one on either side."""
        if not self.finished:
            return
        last, log_rate = len(self.log_rates) - 1, self.log_rates[self.best]
        if last == 0:
            sides = [("up", log_rate + self.step), ("down", log_rate - self.step)]
            for side, there in reversed(sides) if self._prefers_down() else sides:
                yield from self._if_apart(there, f"{side} from the first run, to see the slope")
        elif self.best == last:
            there = log_rate + self._next_step(log_rate - self.log_rates[-2])
            yield from self._if_apart(there, "the largest rate is the best so far: further up")
        elif self.best == 0:
            there = log_rate - self._next_step(self.log_rates[1] - log_rate)
            yield from self._if_apart(there, "the smallest rate is the best so far: further down")

    def _prefers_down(self) -> bool:
        prior = self.space.prior
        if self.finished[0].too_fast:
            return True
        if prior is None:
            return False
        return prior.high / prior.best < prior.best / prior.low

    def _next_step(self, before: float) -> float:
        is_further = len(self.log_rates) > 2
        return min(LONGEST_STEP, max(self.step, GROWTH * before if is_further else self.step))

    def _other_variants(self) -> Iterator[Proposal]:
        """Each once, at the best rate so far, carried in proportion to the batch size."""
        best = self.history.best
        if best is None or (len(self.finished) < SETTLED_RUNS and not self._is_bracketed()):
            return
        tried = self._compared()
        images = self.space.variants[self.variant].batch_size
        for index, variant in enumerate(self.space.variants):
            if index not in tried:
                rate = self.space.within(best.point.effective_lr * variant.batch_size / images)
                point = Point(effective_lr=rate, variant=index)
                yield Proposal(point=point, reason="another variant at the best rate so far")

    def _is_bracketed(self) -> bool:
        return 0 < self.best < len(self.log_rates) - 1

    def _inside(self) -> Iterator[Proposal]:
        """Between the nearest rates that are worse, by expected improvement."""
        if not self.finished:
            return
        low, high = self.bounds
        left = max((p for p in self.worse if p < self.log_rates[self.best]), default=low)
        right = min((p for p in self.worse if p > self.log_rates[self.best]), default=high)
        log_rates = np.arange(left, right + FINE / 2, FINE)
        free = np.array([log_rate for log_rate in log_rates if self._is_apart(float(log_rate))])
        if not free.size:
            return
        gains = self._surrogate().gain(free)
        for index in np.argsort(-gains, kind="stable"):
            gain = float(gains[index])
            yield self._propose(float(free[index]), _say_gain(gain), gain)

    def _surrogate(self) -> Surrogate:
        """The fit; a run that is going on counts as what is expected of it."""

        def fit(log_rates: Sequence[float], errors: Sequence[float]) -> Surrogate:
            return fit_surrogate(
                log_rates,
                errors,
                images=self.space.validation_images,
                center=self.center if self.space.prior else None,
                width=self.width,
            )

        errors = [o.error for o in self.finished]
        surrogate = fit(self.log_rates, errors)
        if not self.pending:
            return surrogate
        pending: Floats = np.array(self.pending)
        expected: list[float] = surrogate.at(pending)[0].clip(0, 1).tolist()
        return fit([*self.log_rates, *self.pending], [*errors, *expected])

    def _propose(self, log_rate: float, reason: str, gain: float | None = None) -> Proposal:
        point = Point(effective_lr=10**log_rate, variant=self.variant)
        return Proposal(point=point, reason=reason, gain=gain)

    def _if_apart(self, log_rate: float, reason: str) -> Iterator[Proposal]:
        low, high = self.bounds
        if low <= log_rate <= high and self._is_apart(log_rate):
            yield self._propose(log_rate, reason)

    def _is_apart(self, log_rate: float) -> bool:
        return all(abs(log_rate - other) >= MIN_GAP for other in (*self.log_rates, *self.pending))


def _say_gain(gain: float) -> str:
    if gain < WORTH:
        return f"the fit expects {gain:.2%} at most: not worth a run"
    return f"the fit through all runs expects most here: {gain:.2%}"
