"""From what is known before training to a range of effective learning rates.

The paper's finding is a tendency (section 3.3, Table 4): the nearer the target, the smaller the
best effective learning rate. Its distances belong to its own extractors, so only the *order* of the
targets within a column is used: a new target finds its place on the scale of relative distances,
and the references near that place vote on the logarithm of the rate. A table measured with exactly
the user's network votes by relative distance itself, and weighs more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Literal

from pydantic import Field

from kintune import defaults
from kintune.advice import explanation
from kintune.errors import IncomparableError
from kintune.hyperparameters import (
    AugmentationName,
    Hyperparameters,
    RateRange,
    RegularizerName,
    ScheduleName,
    lr_for,
)
from kintune.records import Record
from kintune.reference import (
    ReferenceRow,
    ReferenceTable,
    load_reference_tables,
    reference_distances,
)
from kintune.similarity import Similarity

Confidence = Literal["low", "medium"]

RANGE = 0.8
"""Nominal share of cases in which the best rate lies in the range."""
RANK_WIDTH = 0.25
"""Kernel width over ranks (0 nearest, 1 farthest)."""
DISTANCE_WIDTH = 0.1
"""Kernel width over relative distances, within the table of the same network."""
OWN_TABLE_WEIGHT = 20.0
"""A vote of a table of exactly this network counts this much more than one of the paper's 35: two
near rows outvote them all."""
RATE_NOISE = 0.25
"""Decades by which a reference's best rate is uncertain: a coarse grid, a flat optimum."""
SHORTER, SHORTER_AT_MOST = 1 / 3, 1 / 2
"""Exponents of images seen by which a rate grows when the budget shrinks: best guess, high edge."""
NORM_NOISE = 0.25
"""Decades of doubt for each decade by which the squared filter norms differ."""
LEAST_TRAVEL, GOOD_TRAVEL = 10.0, 30.0
"""Effective rate times steps, over the squared filter norm: below the first, the low edge of every
range, training does not converge; the best guess keeps to the second."""
HIGHEST = 3.0
"""Largest effective rate recommended, over the squared filter norm."""

WIDE_INTERVAL = 0.1
"""Of the relative distance: wider ones are warned of."""


class TaskFacts(Record):
    """What is known of a fine-tuning before it starts."""

    images: int = Field(ge=1)
    """Training images."""
    classes: int = Field(ge=2)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    squared_filter_norm: float = Field(default=1.0, gt=0)
    """Size of the weights that a rate acts on: `kintune.backbones.squared_filter_norm`."""
    iterations: int | None = None
    """Steps after which training ends in the last epoch; None where it is whole."""

    @property
    def steps(self) -> int:
        """Optimisation steps."""
        return self.iterations or self.epochs * math.ceil(self.images / self.batch_size)


class Recipe(Record):
    """What is kept as the person wants it while the rate is recommended."""

    momentum: float = Field(default=defaults.MOMENTUM, ge=0, lt=1)
    """Any value serves at the same effective rate (section 3.3); `lr` follows it."""
    weight_decay: float = Field(default=defaults.WEIGHT_DECAY, ge=0)
    regularizer: RegularizerName = "l2"
    schedule: ScheduleName = "step"
    augmentation: AugmentationName | None = None
    """None leaves it to `kintune.defaults.augmentation_for`."""


class Evidence(Record):
    """One reference that voted."""

    source: str
    network: str
    target: str
    relative_distance: float | None
    reference_effective_lr: float
    """Best rate of the reference at its own batch size and budget."""
    effective_lr: float
    """The same carried to this task's batch size and budget."""
    weight: float
    """Share of the vote."""
    origin: str


class Recommendation(Record):
    """Hyperparameters to start from, with the reasons and the doubts."""

    similarity: Similarity
    effective_lr: RateRange
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    epochs: int
    regularizer: RegularizerName
    schedule: ScheduleName
    augmentation: AugmentationName
    confidence: Confidence
    """`medium` where references of exactly this network decide, else `low`."""
    reference_coverage: float
    """Share of the paper's 35 optima that a range made in this way holds, each left out."""
    explanation: str
    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]
    would_help: tuple[str, ...] = ()
    """What would raise the confidence."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The best guess as one run's hyperparameters."""
        return Hyperparameters(
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            epochs=self.epochs,
            regularizer=self.regularizer,
            schedule=self.schedule,
            augmentation=self.augmentation,
        )


@dataclass(frozen=True)
class _Vote:
    table: ReferenceTable
    row: ReferenceRow
    weight: float


def recommend(
    similarity: Similarity, task: TaskFacts, recipe: Recipe | None = None
) -> Recommendation:
    """A range of effective learning rates for a task, a best guess, and the evidence for both.

    Args:
        similarity: the target measured against the network's source domain.
        task: size and budget of the fine-tuning.
        recipe: what is kept as given.

    Raises:
        IncomparableError: the similarity was measured with prototypes no reference scale knows.
    """
    recipe = recipe or Recipe()
    place = rank_of(similarity)
    votes = _votes(similarity, place)
    rates = _rate_range(votes, task)
    return Recommendation(
        similarity=similarity,
        effective_lr=rates,
        lr=lr_for(rates.best, recipe.momentum),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        batch_size=task.batch_size,
        epochs=task.epochs,
        regularizer=recipe.regularizer,
        schedule=recipe.schedule,
        augmentation=recipe.augmentation or defaults.augmentation_for(task.steps),
        confidence=_confidence(votes),
        reference_coverage=leave_one_out_coverage(),
        explanation=explanation(
            similarity, _scale(similarity), rates, recipe.momentum, _confidence(votes)
        ),
        evidence=_evidence(votes, task),
        warnings=_warnings(similarity, task, votes),
        would_help=_would_help(similarity, votes),
    )


def rank_of(similarity: Similarity) -> float:
    """Share of the known targets that lie nearer to their source, 0 to 1."""
    scale = _scale(similarity)
    return sum(value < similarity.relative_distance for value in scale.values()) / len(scale)


def _scale(similarity: Similarity) -> Mapping[str, float]:
    if similarity.prototypes_from not in ("images", "head"):
        raise IncomparableError(
            f"prototypes from {similarity.prototypes_from!r} have no reference scale; "
            "use prototypes from images or from the head."
        )
    return reference_distances("head" if similarity.prototypes_from == "head" else "images")


def carried(
    table: ReferenceTable, row: ReferenceRow, task: TaskFacts, exponent: float = SHORTER
) -> float:
    """A reference's best effective rate at this task's batch size, budget and weights.

    In proportion to the batch size (Goyal et al. 2017, arXiv:1706.02677) and to the squared norm of
    the filters (with normalisation behind them η' / |θ|² is what acts, section 3.3), times
    (images the reference saw / images this task will see) ** exponent where this task sees fewer:
    a shorter training must travel as far in fewer steps. The exponent is a convention between "the
    rate stays" (0) and "the distance stays" (1).
    """
    shortage = max(1.0, row.epochs * row.images / (task.epochs * task.images))
    weights = _norm_ratio(table, task)
    return row.effective_lr * task.batch_size / row.batch_size * weights * shortage**exponent


def _norm_ratio(table: ReferenceTable, task: TaskFacts) -> float:
    """Squared filter norm of the task's network over that of the table's."""
    return task.squared_filter_norm / (table.squared_filter_norm or task.squared_filter_norm)


@cache
def leave_one_out_coverage() -> float:
    """Share of the paper's 35 optima that the range drawn from the other 34 holds, at their own
    batch size and budget and with their rank in their own column known."""
    tables = _paper_tables()
    held: list[bool] = []
    for table in tables:
        for row, place in zip(table.rows, table.ranks(), strict=True):
            votes = [vote for vote in _paper_votes(place) if vote.row is not row]
            task = TaskFacts(
                images=row.images,
                classes=row.classes,
                batch_size=row.batch_size,
                epochs=row.epochs,
            )
            rates = _rate_range(votes, task)
            held.append(rates.low <= row.effective_lr <= rates.high)
    return sum(held) / len(held)


def _paper_tables() -> tuple[ReferenceTable, ...]:
    return tuple(table for table in load_reference_tables() if table.extractor is None)


def _paper_votes(place: float) -> list[_Vote]:
    return [
        _Vote(table, row, _kernel(rank - place, RANK_WIDTH))
        for table in _paper_tables()
        for row, rank in zip(table.rows, table.ranks(), strict=True)
    ]


def _own_votes(similarity: Similarity) -> list[_Vote]:
    """Votes of tables of exactly this network, input and source, by relative distance."""
    votes: list[_Vote] = []
    for table in load_reference_tables():
        same_source = table.source == similarity.source
        same_measure = table.prototypes_from == similarity.prototypes_from
        if table.extractor == similarity.extractor and same_source and same_measure:
            for row in table.rows:
                if row.relative_distance is not None:
                    gap = row.relative_distance - similarity.relative_distance
                    weight = OWN_TABLE_WEIGHT * _kernel(gap, DISTANCE_WIDTH)
                    votes.append(_Vote(table, row, weight))
    return votes


def _votes(similarity: Similarity, place: float) -> list[_Vote]:
    votes = _own_votes(similarity) + _paper_votes(place)
    return sorted(votes, key=lambda vote: -vote.weight)


def _kernel(gap: float, width: float) -> float:
    return math.exp(-0.5 * (gap / width) ** 2)


def _rate_range(votes: Sequence[_Vote], task: TaskFacts) -> RateRange:
    """Weighted mean and spread of the carried log rates, above what can converge."""
    total = sum(vote.weight for vote in votes)
    shares = [vote.weight / total for vote in votes]
    logs = [math.log10(carried(vote.table, vote.row, task)) for vote in votes]
    highest = [math.log10(carried(vote.table, vote.row, task, SHORTER_AT_MOST)) for vote in votes]
    mean = sum(share * log for share, log in zip(shares, logs, strict=True))
    variance = sum(share * (log - mean) ** 2 for share, log in zip(shares, logs, strict=True))
    variance += RATE_NOISE**2 + _norm_doubt(votes, task) ** 2
    reach = NormalDist().inv_cdf(0.5 + RANGE / 2) * math.sqrt(variance)
    upwards = sum(s * (h - log) for s, h, log in zip(shares, highest, logs, strict=True))
    best = max(mean, math.log10(GOOD_TRAVEL * task.squared_filter_norm / task.steps))
    low = max(mean - reach, math.log10(LEAST_TRAVEL * task.squared_filter_norm / task.steps))
    high = max(mean + reach + upwards, best + reach)
    most = HIGHEST * task.squared_filter_norm
    return RateRange(low=min(10**low, most), best=min(10**best, most), high=min(10**high, most))


def _norm_doubt(votes: Sequence[_Vote], task: TaskFacts) -> float:
    """Decades of doubt from carrying rates between weights of different size."""
    total = sum(vote.weight for vote in votes)
    return NORM_NOISE * sum(
        vote.weight / total * abs(math.log10(_norm_ratio(vote.table, task))) for vote in votes
    )


def _evidence(votes: Sequence[_Vote], task: TaskFacts, most: int = 8) -> tuple[Evidence, ...]:
    total = sum(vote.weight for vote in votes)
    return tuple(
        Evidence(
            source=vote.table.source,
            network=vote.table.network,
            target=vote.row.target,
            relative_distance=vote.row.relative_distance,
            reference_effective_lr=vote.row.effective_lr,
            effective_lr=carried(vote.table, vote.row, task),
            weight=vote.weight / total,
            origin=vote.table.origin,
        )
        for vote in votes[:most]
    )


def _confidence(votes: Sequence[_Vote]) -> Confidence:
    own = [vote for vote in votes if vote.table.extractor is not None]
    return "medium" if sum(vote.weight for vote in own) > OWN_TABLE_WEIGHT / 2 else "low"


def _would_help(similarity: Similarity, votes: Sequence[_Vote]) -> tuple[str, ...]:
    found: list[str] = []
    if _confidence(votes) == "low":
        found.append(
            "References of this network: kintune reference build searches on data sets that you "
            "name, kintune reference add takes in a search that you have done."
        )
    if similarity.prototypes_from == "head":
        found.append("Images of the source, or prototypes made from them (--source).")
    low, high = similarity.interval
    if high - low > WIDE_INTERVAL:
        found.append(f"More images than these {similarity.images}.")
    return tuple(found)


def _warnings(similarity: Similarity, task: TaskFacts, votes: Sequence[_Vote]) -> tuple[str, ...]:
    found: list[str] = []
    if not any(vote.table.extractor for vote in votes):
        found.append(
            "No reference was measured with this network: the range rests on the order of the "
            "paper's data sets, and your images found their place in it on a scale that was "
            "measured with other networks."
        )
    if similarity.prototypes_from == "head":
        found.append(
            "The source's class prototypes come from the network's head, not from source images: "
            "the distance ranks targets but has no unit."
        )
    low, high = similarity.interval
    if high - low > WIDE_INTERVAL:
        found.append(f"The distance is uncertain ({low:.2f} to {high:.2f}).")
    if task.images < 10 * task.classes:
        found.append(
            f"Only {task.images} training images for {task.classes} classes: "
            "errors of single runs will be noisy."
        )
    if task.steps < LEAST_TRAVEL / HIGHEST:
        found.append(f"No rate converges in {task.steps} steps; give more --epochs.")
    if task.steps < defaults.SHORT_STEPS:
        found.append(
            f"A short training ({task.steps} steps) favours larger rates than the references, so "
            "the range is widened upwards; and mirrored central crops (flip) instead of the "
            "paper's random_resized_crop, unless --augmentation says otherwise."
        )
    return tuple(found)
