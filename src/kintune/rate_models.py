"""From what is known before training to a distribution over the log of the best effective rate.

Six families, from a constant to a Gaussian process with an offset a network. Which of them is used,
and with which inputs, is decided by data that it has not seen (`kintune.experiments.recommenders`).
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FamilyName = Literal["constant", "nearest", "isotonic", "linear", "smooth", "networks"]
Part = Literal["linear", "smooth", "network", "target"]

LEAST_DEVIATION = 0.1
"""Decades: no best rate is known better."""
LEVEL_DEVIATION = 1.0
"""Prior of the general level around the mean of the examples, decades."""
AMPLITUDES = (0.15, 0.5)
"""Prior deviations of a part that are tried, decades, for one standard deviation of an input."""
RESIDUALS = (0.15, 0.3, 0.6)
"""Deviations of a best rate from all that the inputs explain that are tried, decades."""
ROUNDING = 1e-9
"""Relative spread of an input up to which it does not vary."""
LENGTH = 1.5
"""Of the smooth part, standard deviations of the inputs."""


class Guess(NamedTuple):
    """A normal distribution over log10 η'."""

    place: float
    deviation: float
    """Decades."""

    @property
    def rate(self) -> float:
        """The effective rate in its middle."""
        return 10**self.place

    def interval(self, share: float) -> tuple[float, float]:
        """The effective rates that hold `share` of it, around the middle.

        >>> tuple(round(rate, 4) for rate in Guess(-1.0, 0.5).interval(0.8))
        (0.0229, 0.4373)
        """
        reach = NormalDist().inv_cdf(0.5 + share / 2) * self.deviation
        return 10 ** (self.place - reach), 10 ** (self.place + reach)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What is known of n fine-tunings whose best rate was measured."""

    inputs: Floats
    """(n, k), any unit; k may be 0."""
    places: Floats
    """log10 of the best effective rate, (n,)."""
    noise: Floats
    """Standard deviation of each place, decades, (n,): a flat valley tells little."""
    networks: tuple[str, ...]
    targets: tuple[str, ...]
    """Not empty: a new target has no name here."""

    def where(self, kept: NDArray[np.bool_]) -> "Examples":
        """Those for which `kept`, bool (n,), holds."""
        return Examples(
            inputs=self.inputs[kept],
            places=self.places[kept],
            noise=self.noise[kept],
            networks=tuple(itertools.compress(self.networks, kept)),
            targets=tuple(itertools.compress(self.targets, kept)),
        )


class Predictor(Protocol):
    """A fitted model: the guess for a target that is in none of its examples."""

    def __call__(self, inputs: Sequence[float] | Floats, network: str) -> Guess: ...


def fit_constant(examples: Examples) -> Predictor:
    """The median place, whatever the inputs."""
    return _with_left_out_deviation(_constant, examples)


def fit_nearest(examples: Examples) -> Predictor:
    """The place of the example with the nearest inputs, each in units of its spread."""
    return _with_left_out_deviation(_nearest, examples)


def fit_isotonic(examples: Examples) -> Predictor:
    """Never falling in the first input: pooled neighbours, straight lines between them.

    Pool adjacent violators (Ayer et al. 1955), weighted by the precision of the places.
    """
    return _with_left_out_deviation(_isotonic, examples)


def fit_gaussian(examples: Examples, parts: Sequence[Part]) -> "GaussianFit":
    """A Gaussian process whose covariance is the sum of a constant, of `parts` and of noise.

    `linear` is Bayesian linear regression, `smooth` a squared exponential, `network` and `target`
    offsets that the examples of one network or target share. A new target's offset is uncertain:
    without that part, several networks on few targets would look like more than they are.
    Amplitudes and residual are those of the highest marginal likelihood (Rasmussen and Williams
    2006, equation 5.8) among `AMPLITUDES` and `RESIDUALS`.
    """
    tried = itertools.product(*(AMPLITUDES for _ in parts), RESIDUALS)
    fits = (
        gaussian_fit(examples, dict(zip(parts, amplitudes, strict=True)), residual)
        for *amplitudes, residual in tried
    )
    return max(fits, key=lambda fit: fit.log_likelihood)


FAMILIES: Mapping[FamilyName, Callable[[Examples], Predictor]] = {
    "constant": fit_constant,
    "nearest": fit_nearest,
    "isotonic": fit_isotonic,
    "linear": partial(fit_gaussian, parts=("linear", "target")),
    "smooth": partial(fit_gaussian, parts=("linear", "smooth", "target")),
    "networks": partial(fit_gaussian, parts=("linear", "network", "target")),
}


@dataclass(frozen=True, kw_only=True)
class GaussianFit:
    """A Gaussian process given its examples."""

    examples: Examples
    """With standardised inputs."""
    scaling: tuple[Floats, Floats]
    amplitudes: Mapping[Part, float]
    residual: float
    level: float
    solved: Floats
    """Inverse covariance times the centred places, (n,)."""
    inverse: Floats
    """Of the covariance, (n, n)."""
    log_likelihood: float

    def __call__(self, inputs: Sequence[float] | Floats, network: str) -> Guess:
        """Mean and deviation of a new best rate, its own residual included."""
        here, across = self._beside(inputs, network)
        own = _covariance(here, here, self.amplitudes)[0, 0]
        variance = own - across @ self.inverse @ across + self.residual**2
        return Guess(
            self.level + float(across @ self.solved),
            max(LEAST_DEVIATION, math.sqrt(max(0.0, float(variance)))),
        )

    def influences(self, inputs: Sequence[float] | Floats, network: str) -> Floats:
        """Derivative of the guess's place by each example's place, (n,)."""
        _, across = self._beside(inputs, network)
        weights = across @ self.inverse
        return weights + (1 - weights.sum()) / len(weights)  # the level is the mean of the places

    def _beside(self, inputs: Sequence[float] | Floats, network: str) -> tuple[Examples, Floats]:
        """A new case as an example, and its covariance with each of the others, (n,)."""
        mean, spread = self.scaling
        here = replace(
            self.examples,
            inputs=((np.asarray(inputs, dtype=np.float64) - mean) / spread)[None],
            networks=(network,),
            targets=("",),
        )
        return here, _covariance(here, self.examples, self.amplitudes)[0]


def gaussian_fit(
    examples: Examples, amplitudes: Mapping[Part, float], residual: float
) -> GaussianFit:
    """The Gaussian process of given amplitudes and residual, decades."""
    scaling = _scaling(examples.inputs)
    scaled = replace(examples, inputs=(examples.inputs - scaling[0]) / scaling[1])
    level = float(examples.places.mean())
    centred = examples.places - level
    noise = np.diag(examples.noise**2 + residual**2)
    covariance = _covariance(scaled, scaled, amplitudes) + noise
    inverse: Floats = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    solved = inverse @ centred
    _, log_determinant = np.linalg.slogdet(covariance)
    return GaussianFit(
        examples=scaled,
        scaling=scaling,
        amplitudes=amplitudes,
        residual=residual,
        level=level,
        solved=solved,
        inverse=inverse,
        log_likelihood=-0.5
        * float(centred @ solved + log_determinant + len(centred) * math.log(2 * math.pi)),
    )


def _covariance(one: Examples, other: Examples, amplitudes: Mapping[Part, float]) -> Floats:
    shape = len(one.networks), len(other.networks)
    total = np.full(shape, LEVEL_DEVIATION**2)
    for part, amplitude in amplitudes.items():
        match part:
            case "linear":
                kernel = one.inputs @ other.inputs.T
            case "smooth":
                gaps = one.inputs[:, None] - other.inputs[None]
                kernel = np.exp(-0.5 * np.square(gaps / LENGTH).sum(axis=2))
            case "network":
                kernel = np.equal.outer(np.array(one.networks), np.array(other.networks))
            case "target":
                kernel = np.equal.outer(np.array(one.targets), np.array(other.targets))
        total += amplitude**2 * kernel
    return total


_Places = Callable[[Sequence[float] | Floats], float]


def _with_left_out_deviation(make: Callable[[Examples], _Places], examples: Examples) -> Predictor:
    """A predictor of places whose deviation is its root mean square error on targets left out."""
    place, targets = make(examples), np.array(examples.targets)
    misses: list[float] = []
    for target in sorted(set(examples.targets)):
        left_out = targets == target
        if not left_out.all():
            others = make(examples.where(~left_out))
            own = examples.where(left_out)
            misses += [others(row) - at for row, at in zip(own.inputs, own.places, strict=True)]
    rms = math.sqrt(sum(miss**2 for miss in misses) / max(1, len(misses)))
    deviation = max(LEAST_DEVIATION, rms)

    def guess(inputs: Sequence[float] | Floats, network: str) -> Guess:  # noqa: ARG001 - a Predictor has it
        return Guess(place(inputs), deviation)

    return guess


def _constant(examples: Examples) -> _Places:
    middle = float(np.median(examples.places))
    return lambda _: middle


def _nearest(examples: Examples) -> _Places:
    _, spread = _scaling(examples.inputs)

    def place(inputs: Sequence[float] | Floats) -> float:
        gaps = np.square((examples.inputs - np.asarray(inputs)) / spread).sum(axis=1)
        return float(examples.places[gaps == gaps.min()].mean())

    return place


def _isotonic(examples: Examples) -> _Places:
    order = np.argsort(examples.inputs[:, 0], kind="stable")
    at = examples.inputs[order, 0]
    precision = 1 / (examples.noise[order] ** 2 + LEAST_DEVIATION**2)
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(examples.places[order], precision, strict=True):
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


def _scaling(inputs: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of each input; one that does not vary beyond rounding keeps its unit."""
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    return mean, np.where(spread > ROUNDING * np.maximum(1.0, abs(mean)), spread, 1.0)
