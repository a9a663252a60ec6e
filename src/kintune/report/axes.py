"""From values to pixels: linear and logarithmic scales with round tick values."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from kintune.report.wording import number, percent

_FINE = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Tick:
    """A value on an axis: its pixel and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The plotting area within a figure in pixels, and its axes."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps [low, high] onto the pixels from start to end; other values fall outside of them."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self, at_most: int, *, in_percent: bool = False) -> tuple[Tick, ...]:
        """Round values within the range."""
        values = self._log_values(at_most) if self.is_log else self._linear_values(at_most)
        digits = 1 if len({round(100 * value) for value in values}) < len(values) else 0
        texts = (percent(value, digits) if in_percent else number(value) for value in values)
        return tuple(Tick(self(value), text) for value, text in zip(values, texts, strict=True))

    def _linear_values(self, at_most: int) -> list[float]:
        rough = (self.high - self.low) / at_most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [step * count for count in range(first, last + 1)]

    def _log_values(self, at_most: int) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        fine = [f * 10.0**power for power in powers for f in _FINE if self._holds(f * 10.0**power)]
        if len(fine) <= at_most:
            return fine
        decades = [10.0**power for power in powers if self._holds(10.0**power)]
        return decades[:: math.ceil(len(decades) / at_most)]

    def _holds(self, value: float) -> bool:
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


def log_scale(values: Iterable[float], start: float, end: float) -> Scale:
    """A logarithmic scale around positive values, with a margin of a tenth of a decade or more."""
    exponents = [math.log10(value) for value in values]
    low, high = min(exponents), max(exponents)
    margin = max(0.1, 0.06 * (high - low), (1 - (high - low)) / 2)
    return Scale(
        low=10 ** (low - margin), high=10 ** (high + margin), start=start, end=end, is_log=True
    )


def padded_scale(values: Iterable[float], start: float, end: float, *, least: float) -> Scale:
    """A linear scale around values that are not negative, spanning at least `least`."""
    found = list(values)
    low, high = min(found), max(found)
    margin = max(0.08 * (high - low), (least - (high - low)) / 2)
    bottom = max(0.0, low - margin)
    return Scale(low=bottom, high=max(high + margin, bottom + least), start=start, end=end)
