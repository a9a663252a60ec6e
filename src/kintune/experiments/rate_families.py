"""Families of models of the best rate, from a constant to the Gaussian process that recommends.

Which of them is used, and with which inputs, is decided by data that it has not seen
(`kintune.experiments.recommenders`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, Protocol

import numpy as np

from kintune.experiments.rate_models import (
    MIN_DEVIATION,
    STUDY_PARTS,
    Examples,
    Floats,
    Guess,
    fit_gaussian,
    scaling,
)

FamilyName = Literal["constant", "nearest", "isotonic", "linear", "smooth", "networks", "studies"]


class Predictor(Protocol):
    """A fitted model: the guess for a target that is in none of its examples."""

    def __call__(
        self, inputs: Sequence[float] | Floats, network: str, study: str = "", /
    ) -> Guess: ...


def fit_constant(examples: Examples) -> Predictor:
    """The median log rate, whatever the inputs."""
    return _with_left_out_deviation(_constant, examples)


def fit_nearest(examples: Examples) -> Predictor:
    """The log rate of the example with the nearest inputs, each in units of its spread."""
    return _with_left_out_deviation(_nearest, examples)


def fit_isotonic(examples: Examples) -> Predictor:
    """Never falling in the first input: pooled neighbors, straight lines between them.

    Pool adjacent violators (Ayer et al. 1955), weighted by the precision of the log rates.
    """
    return _with_left_out_deviation(_isotonic, examples)


FAMILIES: Mapping[FamilyName, Callable[[Examples], Predictor]] = {
    "constant": fit_constant,
    "nearest": fit_nearest,
    "isotonic": fit_isotonic,
    "linear": partial(fit_gaussian, parts=("linear",)),
    "smooth": partial(fit_gaussian, parts=("linear", "smooth")),
    "networks": partial(fit_gaussian, parts=("linear", "network")),
    "studies": partial(fit_gaussian, parts=STUDY_PARTS),
}


_LogRates = Callable[[Sequence[float] | Floats], float]


def _with_left_out_deviation(
    make: Callable[[Examples], _LogRates], examples: Examples
) -> Predictor:
    """Predictor of log rates; its deviation is its root mean square error on targets left out."""
    log_rate, targets = make(examples), np.array(examples.targets)
    misses: list[float] = []
    for target in sorted(set(examples.targets)):
        left_out = targets == target
        if not left_out.all():
            others = make(examples.where(~left_out))
            own = examples.where(left_out)
            misses += [others(row) - at for row, at in zip(own.inputs, own.log_rates, strict=True)]
    rms = math.sqrt(sum(miss**2 for miss in misses) / max(1, len(misses)))
    deviation = max(MIN_DEVIATION, rms)

    def guess(inputs: Sequence[float] | Floats, _network: str, _study: str = "", /) -> Guess:
        return Guess(log_rate(inputs), deviation)

    return guess


def _constant(examples: Examples) -> _LogRates:
    middle = float(np.median(examples.log_rates))
    return lambda _: middle


def _nearest(examples: Examples) -> _LogRates:
    _, spread = scaling(examples.inputs)

    def log_rate(inputs: Sequence[float] | Floats) -> float:
        gaps = np.square((examples.inputs - np.asarray(inputs)) / spread).sum(axis=1)
        return float(examples.log_rates[gaps == gaps.min()].mean())

    return log_rate


def _isotonic(examples: Examples) -> _LogRates:
    order = np.argsort(examples.inputs[:, 0], kind="stable")
    at = examples.inputs[order, 0]
    precision = 1 / (examples.noise[order] ** 2 + MIN_DEVIATION**2)
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(examples.log_rates[order], precision, strict=True):
        block = (float(value), float(weight), 1)
        while blocks and blocks[-1][0] >= block[0]:
            block = _pooled(blocks.pop(), block)
        blocks.append(block)
    levels = np.repeat([value for value, *_ in blocks], [count for *_, count in blocks])
    return lambda inputs: float(np.interp(inputs[0], at, levels))


def _pooled(
    one: tuple[float, float, int], other: tuple[float, float, int]
) -> tuple[float, float, int]:
    weight = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / weight, weight, one[2] + other[2]
