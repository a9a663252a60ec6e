"""From what is known before training to a distribution over the log of the best effective rate.

A Gaussian process with offsets of networks and studies. Other families of models, and which of all
did best on data that it had not seen, are in `kintune.experiments.rate_families` and
`kintune.experiments.recommenders`.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]
Part = Literal["level", "linear", "smooth", "network", "study", "study slopes"]

STUDY_PARTS: tuple[Part, ...] = ("linear", "study", "study slopes", "network")
"""Parts of a model of several studies."""
MIN_DEVIATION = 0.1
"""Decades: no best rate is known better."""
LEVEL_DEVIATION = 1.0
"""Prior of the general level around the mean of the examples, decades."""
AMPLITUDES = (0.15, 0.5)
"""Prior deviations of a part that are tried, decades, for one standard deviation of an input."""
RESIDUALS = (0.15, 0.3, 0.6)
"""Deviations of a best rate from all that the inputs explain that are tried, decades."""
MIN_SHARE = 0.002
"""Smallest share of all likelihood: what is less likely is not averaged over."""
ROUNDING = 1e-9
"""Relative spread of an input up to which it does not vary."""
LENGTH = 1.5
"""Length scale of the smooth part, standard deviations of the inputs."""


class Guess(NamedTuple):
    """A normal distribution over log10 η'."""

    log_rate: float
    deviation: float
    """Decades."""

    @property
    def rate(self) -> float:
        """The effective rate in its middle."""
        return 10**self.log_rate

    def interval(self, share: float) -> tuple[float, float]:
        """The effective rates that hold `share` of it, around the middle.

        >>> tuple(round(rate, 4) for rate in Guess(-1.0, 0.5).interval(0.8))
        (0.0229, 0.4373)
        """
        reach = NormalDist().inv_cdf(0.5 + share / 2) * self.deviation
        return 10 ** (self.log_rate - reach), 10 ** (self.log_rate + reach)

    def holds(self, log_rate: float, noise: float, share: float) -> bool:
        """Whether the range that should hold `share` of the best log rates holds this one, known as
        well as `noise` (decades) says."""
        reach = NormalDist().inv_cdf(0.5 + share / 2) * math.hypot(self.deviation, noise)
        return abs(log_rate - self.log_rate) <= reach


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Facts about n fine-tunings whose best rate was measured."""

    inputs: Floats
    """(n, k), any unit; k may be 0."""
    log_rates: Floats
    """log10 of the best effective rate, (n,)."""
    noise: Floats
    """Standard deviation of each log rate, decades, (n,): a flat curve tells little."""
    networks: tuple[str, ...]
    targets: tuple[str, ...]
    """Not empty: a new target has no name here."""
    studies: tuple[str, ...]
    """Which were measured in one way. Other studies may measure distances on another scale, train
    differently, and find their best rates less precisely."""

    def where(self, kept: NDArray[np.bool_]) -> "Examples":
        """Those for which `kept`, bool (n,), holds."""
        return Examples(
            inputs=self.inputs[kept],
            log_rates=self.log_rates[kept],
            noise=self.noise[kept],
            networks=tuple(itertools.compress(self.networks, kept)),
            targets=tuple(itertools.compress(self.targets, kept)),
            studies=tuple(itertools.compress(self.studies, kept)),
        )


def fit_gaussian(examples: Examples, parts: Sequence[Part]) -> "AveragedFit":
    """A Gaussian process whose covariance is the sum of a constant, of `parts` and of scatter.

    `linear` is Bayesian linear regression, `smooth` a squared exponential, `network` an offset that
    the examples of one network share, `study` and `study slopes` an offset and a linear regression
    of each study's own. To these come, in each study, an offset of each target and noise
    (`Scatter`). A new target's offset is uncertain: without it, several networks on few targets
    would look like more than they are. Amplitudes and scatter are averaged over, weighted by
    marginal likelihood (Rasmussen and Williams 2006, equation 5.8): few examples do not settle
    them, and the likeliest alone may say that networks hardly differ where two of a kind are known.
    """
    scaled = _scaled(examples, scaling(examples.inputs))
    kernels = _kernels(parts, scaled, scaled)
    centered = examples.log_rates - examples.log_rates.mean()
    amplitudes = [
        dict(zip(parts, each, strict=True))
        for each in itertools.product(AMPLITUDES, repeat=len(parts))
    ]
    studies = sorted(set(examples.studies))
    one_study = list(itertools.starmap(Scatter, itertools.product(AMPLITUDES, RESIDUALS)))
    scatters = [
        dict(zip(studies, each, strict=True))
        for each in itertools.product(one_study, repeat=len(studies))
    ]
    noises = [_noise(scaled, each) for each in scatters]
    # A second thread helps matrices of a hundred rows little, and where the machine is busy all of
    # them wait for its turn.
    with threadpool_limits(1, "blas"):
        likelihoods = np.array(
            [
                _log_likelihood(explained + noise, centered)
                for explained in (_covariance(kernels, each) for each in amplitudes)
                for noise in noises
            ]
        )
        tried = list(itertools.product(amplitudes, scatters))
        shares = np.exp(likelihoods - likelihoods.max())
        kept = np.flatnonzero(shares >= MIN_SHARE * shares.sum())
        return AveragedFit(
            tuple(gaussian_fit(examples, *tried[index]) for index in kept),
            shares[kept] / shares[kept].sum(),
        )


class Scatter(NamedTuple):
    """How far best rates of one study stray from what its parts explain, standard deviations in
    decades."""

    target: float
    """All of one target together."""
    residual: float
    """Each by itself, beside the noise that it was measured with."""


@dataclass(frozen=True, kw_only=True)
class GaussianFit:
    """A Gaussian process given its examples."""

    examples: Examples
    """With standardized inputs."""
    scale: tuple[Floats, Floats]
    """Mean and spread of the inputs, (k,) each."""
    amplitudes: Mapping[Part, float]
    scatters: Mapping[str, Scatter]
    """By study."""
    level: float
    solved: Floats
    """Inverse covariance times the centered log rates, (n,)."""
    inverse: Floats
    """Inverse of the covariance, (n, n)."""
    log_likelihood: float

    def __call__(self, inputs: Sequence[float] | Floats, network: str, study: str = "") -> Guess:
        """Mean and deviation of the best rate on a new target, its own scatter included: of a study
        without examples the largest."""
        here, across = self._beside(inputs, network, study)
        own = _covariance(_kernels(self.amplitudes, here, here), self.amplitudes)[0, 0]
        spreads = {name: math.hypot(*scatter) for name, scatter in self.scatters.items()}
        spread = spreads.get(study, max(spreads.values()))
        variance = own - across @ self.inverse @ across + spread**2
        return Guess(
            self.level + float(across @ self.solved),
            max(MIN_DEVIATION, math.sqrt(max(0.0, float(variance)))),
        )

    def influences(self, inputs: Sequence[float] | Floats, network: str, study: str = "") -> Floats:
        """Derivative of the guess's log rate by each example's log rate, (n,)."""
        _, across = self._beside(inputs, network, study)
        weights = across @ self.inverse
        return weights + (1 - weights.sum()) / len(weights)  # the level is the mean log rate

    def _beside(
        self, inputs: Sequence[float] | Floats, network: str, study: str
    ) -> tuple[Examples, Floats]:
        """A new case as an example, and its covariance with each of the others, (n,)."""
        mean, spread = self.scale
        here = replace(
            self.examples,
            inputs=((np.asarray(inputs, dtype=np.float64) - mean) / spread)[None],
            networks=(network,),
            targets=("",),
            studies=(study,),
        )
        kernels = _kernels(self.amplitudes, here, self.examples)
        return here, _covariance(kernels, self.amplitudes)[0]


@dataclass(frozen=True)
class AveragedFit:
    """Gaussian processes of the same examples and several settings."""

    fits: tuple[GaussianFit, ...]
    shares: Floats
    """Share of each, in sum 1."""

    def __call__(self, inputs: Sequence[float] | Floats, network: str, study: str = "") -> Guess:
        """Mean and deviation of the mixture."""
        guesses = [fit(inputs, network, study) for fit in self.fits]
        log_rates = np.array([guess.log_rate for guess in guesses])
        variances = np.square([guess.deviation for guess in guesses])
        mean = float(self.shares @ log_rates)
        return Guess(mean, math.sqrt(self.shares @ (variances + np.square(log_rates - mean))))

    def influences(self, inputs: Sequence[float] | Floats, network: str, study: str = "") -> Floats:
        """Derivative of the guess's log rate by each example's log rate, (n,), the shares kept."""
        each = np.array([fit.influences(inputs, network, study) for fit in self.fits])
        return self.shares @ each


def gaussian_fit(
    examples: Examples, amplitudes: Mapping[Part, float], scatters: Mapping[str, Scatter]
) -> GaussianFit:
    """The Gaussian process of given amplitudes, decades, and of a scatter for each study."""
    scale = scaling(examples.inputs)
    scaled = _scaled(examples, scale)
    level = float(examples.log_rates.mean())
    centered = examples.log_rates - level
    kernels = _kernels(amplitudes, scaled, scaled)
    covariance = _covariance(kernels, amplitudes) + _noise(examples, scatters)
    inverse: Floats = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    return GaussianFit(
        examples=scaled,
        scale=scale,
        amplitudes=amplitudes,
        scatters=scatters,
        level=level,
        solved=inverse @ centered,
        inverse=inverse,
        log_likelihood=_log_likelihood(covariance, centered),
    )


def _log_likelihood(covariance: Floats, centered: Floats) -> float:
    """Log likelihood of centered log rates (n,) under a normal distribution."""
    factor = cho_factor(covariance, lower=True, check_finite=False)
    log_determinant = 2 * np.log(np.diag(factor[0])).sum()
    squares = centered @ cho_solve(factor, centered, check_finite=False)
    return -0.5 * float(squares + log_determinant + len(centered) * math.log(2 * math.pi))


def _noise(examples: Examples, scatters: Mapping[str, Scatter]) -> Floats:
    """Covariance of what no part explains, (n, n)."""
    own = [scatters[study] for study in examples.studies]
    targets = np.array([scatter.target for scatter in own])
    residuals = np.array([scatter.residual for scatter in own])
    shared = _same(examples.targets, examples.targets) * _same(examples.studies, examples.studies)
    return shared * np.outer(targets, targets) + np.diag(examples.noise**2 + residuals**2)


def _covariance(kernels: Mapping[Part, Floats], amplitudes: Mapping[Part, float]) -> Floats:
    level = LEVEL_DEVIATION**2 * kernels["level"]
    return sum((kernels[part] * amplitude**2 for part, amplitude in amplitudes.items()), level)


def _kernels(parts: Iterable[Part], one: Examples, other: Examples) -> dict[Part, Floats]:
    """Kernel of each part at unit amplitude, (n, m) each, and the level's."""
    return {part: _kernel(part, one, other) for part in ("level", *parts)}


def _kernel(part: Part, one: Examples, other: Examples) -> Floats:
    match part:
        case "level":
            return np.ones((len(one.networks), len(other.networks)))
        case "linear":
            return one.inputs @ other.inputs.T
        case "smooth":
            gaps = one.inputs[:, None] - other.inputs[None]
            return np.exp(-0.5 * np.square(gaps / LENGTH).sum(axis=2))
        case "network":
            return _same(one.networks, other.networks)
        case "study":
            return _same(one.studies, other.studies)
        case "study slopes":
            return _same(one.studies, other.studies) * (one.inputs @ other.inputs.T)


def _same(names: Sequence[str], others: Sequence[str]) -> Floats:
    """1 where they are equal, (n, m)."""
    return np.equal.outer(np.array(names), np.array(others)).astype(np.float64)


def _scaled(examples: Examples, scale: tuple[Floats, Floats]) -> Examples:
    mean, spread = scale
    return replace(examples, inputs=(examples.inputs - mean) / spread)


def scaling(inputs: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of each input; one that does not vary beyond rounding keeps its unit."""
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    return mean, np.where(spread > ROUNDING * np.maximum(1.0, abs(mean)), spread, 1.0)
