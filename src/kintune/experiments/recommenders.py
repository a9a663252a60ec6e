"""How good a recommendation is on data and networks it has not seen.

Every case, a fine-tuning whose best rate was measured, is left out with all others of its target
(or of its network). Family and inputs are chosen among the rest by leaving out again, so that
nothing of the left-out cases decides anything. Beside it stand simple rules, fitted to the same
rest.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Literal, NamedTuple

import numpy as np

from kintune.defaults import MOMENTUM, USUAL_LR
from kintune.experiments.rate_evidence import MEASURED, Study
from kintune.experiments.rate_families import FAMILIES, FamilyName, Predictor
from kintune.experiments.rate_models import Examples, Guess
from kintune.hyperparameters import effective_lr

MAX_INPUTS = 3
SHARE = 0.8
"""Share of the best rates, that a range is meant to hold."""
USUAL_RATE = effective_lr(USUAL_LR, MOMENTUM)
RULE_DEVIATION = 0.5
"""Decades that a rule without a fit claims: it says nothing of its doubt."""

LeftOut = Literal["target", "network", "architecture"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A fine-tuning whose best effective rate was measured."""

    target: str
    network: str
    """Architecture and source domain."""
    architecture: str = ""
    """Architecture of the network: what is alike in several."""
    inputs: Mapping[str, float]
    """Inputs known before training, by name."""
    log_rate: float
    """log10 of the best rate."""
    noise: float
    """Its standard deviation, decades."""
    study: Study = MEASURED
    log_unit: float = 0.0
    """log10 of what models divide a rate by (`kintune.experiments.rate_evidence.log_unit`)."""
    budget: str = ""
    """Which of several trainings of the same network on the same target."""
    regret: Callable[[float], float] | None = None
    """Regret of a rate in top-1 error, by which models are chosen; None where only the best rate
    is known."""
    final_regret: Callable[[float], float] | None = None
    """The same on images that nothing was chosen on, by which they are reported."""
    validation: tuple[Callable[[float], float], int] | None = None
    """Validation error at a rate, a fraction, and the images that it is measured on."""

    def miss(self, guess: Guess) -> float:
        """Distance of a guess from the best rate, decades."""
        return abs(guess.log_rate - self.log_rate)

    def holds(self, guess: Guess, share: float = SHARE) -> bool:
        """Whether the range that should hold `share` of the best rates holds this one, as uncertain
        as it was measured."""
        return guess.holds(self.log_rate, self.noise, share)


class Candidate(NamedTuple):
    """A family of models and the inputs that it is given."""

    family: FamilyName
    inputs: tuple[str, ...]

    def fit(self, cases: Sequence[Case]) -> "Recommender":
        """Fit to cases."""
        return Recommender(FAMILIES[self.family](examples(cases, self.inputs)), self.inputs)


SHIPPED = Candidate("studies", ("rank", "log_images_seen"))
"""Candidate that `kintune.recommend` uses (`kintune.experiments.rate_evidence`)."""


@dataclass(frozen=True)
class Recommender:
    """A fitted model that takes its inputs from a case."""

    predictor: Predictor
    inputs: tuple[str, ...]

    def __call__(self, case: Case) -> Guess:
        inputs = [case.inputs[name] for name in self.inputs]
        guess = self.predictor(inputs, case.network, case.study)
        return Guess(guess.log_rate + case.log_unit, guess.deviation)


class Outcome(NamedTuple):
    """A case that was left out, and what was guessed for it."""

    case: Case
    guess: Guess
    chosen: Candidate | None
    """None for a rule."""


Rule = Callable[[Case, Sequence[Case]], float]
"""An effective rate for a case, given the others."""
Score = Callable[[Case, Guess], float]


def examples(cases: Sequence[Case], inputs: Sequence[str]) -> Examples:
    """The cases as the models take them."""
    rows = [[case.inputs[name] for name in inputs] for case in cases]
    return Examples(
        inputs=np.array(rows, dtype=np.float64).reshape(len(cases), len(inputs)),
        log_rates=np.array([case.log_rate - case.log_unit for case in cases]),
        noise=np.array([case.noise for case in cases]),
        networks=tuple(case.network for case in cases),
        targets=tuple(case.target for case in cases),
        studies=tuple(case.study for case in cases),
    )


def candidates(first: str, others: Sequence[str] = ()) -> list[Candidate]:
    """Every family with every set of at most three inputs that fits it.

    Args:
        first: the input that grows with the distance from the source.
        others: further inputs.
    """
    found = [Candidate("constant", ()), Candidate("isotonic", (first,))]
    for count in range(1, MAX_INPUTS + 1):
        for inputs in itertools.combinations((first, *others), count):
            found += [Candidate(family, inputs) for family in ("nearest", "linear", "smooth")]
            found.append(Candidate("networks", inputs))
    return found


def miss_in_decades(case: Case, guess: Guess) -> float:
    """The score where no curves are known."""
    return case.miss(guess)


def regret(case: Case, guess: Guess) -> float:
    """The score where they are, top-1 error as a fraction.

    Raises:
        ValueError: the case has none.
    """
    return _known(case, case.regret)(guess.rate)


def final_regret(case: Case, guess: Guess) -> float:
    """Regret of a guess on images that nothing was chosen on, top-1 error as a fraction.

    Raises:
        ValueError: the case has none.
    """
    return _known(case, case.final_regret)(guess.rate)


def _known(case: Case, function: Callable[[float], float] | None) -> Callable[[float], float]:
    if function is None:
        raise ValueError(f"{case.target} on {case.network}: only the best rate is known")
    return function


def folds(cases: Sequence[Case], by: LeftOut) -> Iterator[tuple[list[Case], list[Case]]]:
    """The rest and the left-out cases, for each target or network in turn."""
    for name in sorted({getattr(case, by) for case in cases}):
        rest = [case for case in cases if getattr(case, by) != name]
        yield rest, [case for case in cases if getattr(case, by) == name]


def chosen(
    cases: Sequence[Case],
    tried: Sequence[Candidate],
    score: Score,
    support: Sequence[Case] = (),
) -> Candidate:
    """The candidate with the least mean score on targets left out; of equal ones the first."""
    if len(tried) == 1:
        return tried[0]
    return min(tried, key=lambda candidate: _left_out_score(candidate, cases, score, support))


def nested(
    cases: Sequence[Case],
    tried: Sequence[Candidate],
    by: LeftOut,
    score: Score,
    support: Sequence[Case] = (),
) -> list[Outcome]:
    """Each case left out once, with the family and the inputs that the rest chose.

    Args:
        cases: those that are left out in turn.
        tried: from which is chosen.
        by: what is left out together.
        score: less is better.
        support: of other targets and networks: fitted with the rest, never scored.
    """
    outcomes: list[Outcome] = []
    for rest, left_out in folds(cases, by):
        candidate = chosen(rest, tried, score, support)
        recommender = candidate.fit([*rest, *support])
        outcomes += [Outcome(case, recommender(case), candidate) for case in left_out]
    return outcomes


def prospective_outcomes(
    cases: Sequence[Case],
    earlier: Sequence[Case],
    by: LeftOut,
    support: Sequence[Case] = (),
) -> list[Outcome]:
    """Outcomes of `SHIPPED`, fitted to earlier cases, on later ones; what is left out with each of
    these is taken out of the earlier ones too.

    Args:
        cases: that came later.
        earlier: that the model was fitted to.
        by: what is left out together.
        support: as `nested` takes it.
    """
    outcomes: list[Outcome] = []
    for _, left_out in folds(cases, by):
        name = getattr(left_out[0], by)
        rest = [case for case in earlier if getattr(case, by) != name]
        recommender = SHIPPED.fit([*rest, *support])
        outcomes += [Outcome(case, recommender(case), SHIPPED) for case in left_out]
    return outcomes


def ruled(cases: Sequence[Case], rule: Rule, by: LeftOut) -> list[Outcome]:
    """Each case left out once, with what a rule says given the rest."""
    return [
        Outcome(case, Guess(math.log10(rule(case, rest)), RULE_DEVIATION), None)
        for rest, left_out in folds(cases, by)
        for case in left_out
    ]


def always_usual(_case: Case, _others: Sequence[Case]) -> float:
    """Learning rate 0.01 with momentum 0.9."""
    return USUAL_RATE


def middle(_case: Case, others: Sequence[Case]) -> float:
    """The median of the other best rates, in log rate."""
    return 10 ** median(case.log_rate for case in others)


def nearest_reference(first: str) -> Rule:
    """The paper's: the best rate of the nearest other target of the same network, of any where the
    network has none."""

    def rule(case: Case, others: Sequence[Case]) -> float:
        same = [other for other in others if other.network == case.network] or others
        gap = min(abs(other.inputs[first] - case.inputs[first]) for other in same)
        near = [
            other.log_rate for other in same if abs(other.inputs[first] - case.inputs[first]) == gap
        ]
        return 10 ** mean(near)

    return rule


def momentum_by_similarity(first: str) -> Rule:
    """Learning rate 0.01 with momentum 0 for the nearer half of the targets, else 0.9 (Table 2)."""

    def rule(case: Case, others: Sequence[Case]) -> float:
        near = case.inputs[first] <= median(other.inputs[first] for other in others)
        return USUAL_LR if near else USUAL_RATE

    return rule


def interval_over_targets(
    outcomes: Sequence[Outcome], score: Score, share: float = 0.95, draws: int = 2000
) -> tuple[float, float]:
    """Bootstrap interval of the mean score, drawing whole targets: what is uncertain is how it goes
    on the next one, and the cases of one target are alike."""
    scores = ((o.case.target, score(o.case, o.guess)) for o in outcomes)
    return bootstrap_over_targets(scores, share, draws)


def bootstrap_over_targets(
    scores: Iterable[tuple[str, float]], share: float = 0.95, draws: int = 2000
) -> tuple[float, float]:
    """The same of scores, each with its target."""
    by_target: dict[str, list[float]] = {}
    for target, score in scores:
        by_target.setdefault(target, []).append(score)
    sums = np.array([[sum(each), len(each)] for each in by_target.values()])
    drawn = np.random.default_rng(0).integers(0, len(sums), (draws, len(sums)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def held(outcomes: Sequence[Outcome], share: float = SHARE) -> tuple[int, int]:
    """How many ranges that should hold `share` of the best rates do, and of how many."""
    return sum(outcome.case.holds(outcome.guess, share) for outcome in outcomes), len(outcomes)


def binomial_interval(successes: int, trials: int, share: float = 0.95) -> tuple[float, float]:
    """Interval of a share that was observed, after Clopper and Pearson (1934), by bisection.

    >>> tuple(round(edge, 3) for edge in binomial_interval(8, 10))
    (0.444, 0.975)
    """
    tail = (1 - share) / 2

    def at_least(p: float) -> float:
        return sum(
            math.comb(trials, k) * p**k * (1 - p) ** (trials - k)
            for k in range(successes, trials + 1)
        )

    def at_most(p: float) -> float:
        return (
            1
            - at_least(p)
            + math.comb(trials, successes) * p**successes * (1 - p) ** (trials - successes)
        )

    low = 0.0 if successes == 0 else _crossing(lambda p: at_least(p) - tail)
    high = 1.0 if successes == trials else _crossing(lambda p: tail - at_most(p))
    return low, high


def _crossing(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        center = (low + high) / 2
        low, high = (low, center) if rising(center) > 0 else (center, high)
    return low


def _left_out_score(
    candidate: Candidate, cases: Sequence[Case], score: Score, support: Sequence[Case]
) -> float:
    scores: list[float] = []
    for rest, left_out in folds(cases, "target"):
        recommender = candidate.fit([*rest, *support])
        scores += [score(case, recommender(case)) for case in left_out]
    return mean(scores)
