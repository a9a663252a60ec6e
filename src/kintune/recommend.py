"""From what is known before training to a range of effective learning rates.

The paper's finding is a tendency (section 3.3, Table 4): the nearer the target, the smaller the
best effective learning rate; and a training that sees fewer images needs a larger one to travel as
far. Both are read off all references at once by a Gaussian process over the logarithm of the best
rate (`kintune.rate_models`), in which every network has an offset of its own: known where the
network has references, uncertain where it has none.
"""

import math
from collections.abc import Sequence
from functools import cache
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
from kintune.rate_evidence import (
    Origin,
    RateExample,
    fit_rates,
    inputs_of,
    left_out_coverage,
    rank_between,
    rate_examples,
    unit,
    weights_of,
)
from kintune.rate_models import GaussianFit, Guess
from kintune.records import Record
from kintune.reference import load_reference_tables, reference_distances, shipped_reference_tables
from kintune.similarity import Similarity

Confidence = Literal["low", "medium", "high"]

RANGE = 0.8
"""Nominal share of cases in which the best rate lies in the range."""
SURE, FAIRLY_SURE = 5.0, 15.0
"""Ratios of the range's ends up to which confidence is `high` and `medium`."""
HIGHEST = 3.0
"""Largest effective rate recommended, over the squared filter norm."""
FEWEST_STEPS = 10
"""Optimisation steps below which there is no training to speak of."""

WIDE_INTERVAL = 0.1
"""Of the relative distance: wider ones are warned of."""
EVIDENCE = 8
"""References that are shown, those of the largest influence."""


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
    probe_top1_error: float | None = Field(default=None, ge=0, le=1)
    """Of a linear probe on the frozen features (`kintune.probe`), where it was measured."""

    @property
    def steps(self) -> int:
        """Optimisation steps."""
        return self.iterations or self.epochs * math.ceil(self.images / self.batch_size)

    @property
    def images_seen(self) -> int:
        """Each image as often as training sees it."""
        return min(self.steps * self.batch_size, self.epochs * self.images)


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
    """One reference that the recommendation leans on."""

    source: str
    network: str
    target: str
    relative_distance: float | None
    reference_effective_lr: float
    """Best rate of the reference at its own batch size and budget."""
    effective_lr: float
    """The same carried to this task's batch size, weights and budget."""
    weight: float
    """Share of all influence on the best guess."""
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
    """How wide the range is: `high` up to a factor of 5, `medium` up to 15."""
    reference_coverage: float
    """Share of the references that ship whose best rate a range made in this way holds, all of the
    same target left out."""
    probe_top1_error: float | None = None
    """What a linear classifier on the frozen features errs on, a fraction."""
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
    origin = _scale_of(similarity)
    found = rate_examples(load_reference_tables(), similarity.extractor, task.squared_filter_norm)
    fit = fit_rates(found)
    here = inputs_of(rank_between(similarity.relative_distance, origin), task.images_seen)
    guess = fit(here, weights_of(similarity.extractor))
    rates = _rate_range(guess, task)
    confidence = _confidence(rates)
    is_known = any(each.network == weights_of(similarity.extractor) for each in found)
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
        confidence=confidence,
        reference_coverage=reference_coverage(),
        probe_top1_error=task.probe_top1_error,
        explanation=explanation(
            similarity,
            reference_distances(origin),
            rates,
            momentum=recipe.momentum,
            confidence=confidence,
            probe=task.probe_top1_error,
        ),
        evidence=_evidence(found, fit, similarity, task),
        warnings=_warnings(similarity, task, found, is_known=is_known),
        would_help=_would_help(similarity, confidence, is_known=is_known),
    )


@cache
def reference_coverage() -> float:
    """Share of the references that ship that a range made in this way holds, left out."""
    found = rate_examples(shipped_reference_tables(), "", 1.0)
    return left_out_coverage(found, fit_rates(found), RANGE)


def _scale_of(similarity: Similarity) -> Origin:
    if similarity.prototypes_from not in ("images", "head"):
        raise IncomparableError(
            f"prototypes from {similarity.prototypes_from!r} have no reference scale; "
            "use prototypes from images or from the head."
        )
    return "head" if similarity.prototypes_from == "head" else "images"


def _rate_range(guess: Guess, task: TaskFacts) -> RateRange:
    """The guess in the rates of this task's batch size and weights."""
    by = 10 ** unit(task.batch_size, task.squared_filter_norm)
    low, high = guess.interval(RANGE)
    most = HIGHEST * task.squared_filter_norm
    return RateRange(
        low=min(by * low, most), best=min(by * guess.rate, most), high=min(by * high, most)
    )


def _confidence(rates: RateRange) -> Confidence:
    ratio = rates.high / rates.low
    return "high" if ratio <= SURE else "medium" if ratio <= FAIRLY_SURE else "low"


def _evidence(
    found: Sequence[RateExample], fit: GaussianFit, similarity: Similarity, task: TaskFacts
) -> tuple[Evidence, ...]:
    """The references that move the guess most."""
    rank = rank_between(similarity.relative_distance, _scale_of(similarity))
    influences = abs(
        fit.influences(inputs_of(rank, task.images_seen), weights_of(similarity.extractor))
    )
    order = sorted(range(len(found)), key=lambda index: -influences[index])
    return tuple(
        Evidence(
            source=each.table.source,
            network=each.table.network,
            target=each.row.target,
            relative_distance=each.row.relative_distance,
            reference_effective_lr=each.row.effective_lr,
            effective_lr=_carried(each, fit, task),
            weight=float(influences[index] / influences.sum()),
            origin=each.table.origin,
        )
        for index in order[:EVIDENCE]
        for each in [found[index]]
    )


def _carried(example: RateExample, fit: GaussianFit, task: TaskFacts) -> float:
    """A reference's best rate at this task's batch size, weights and budget: the last by as much as
    the model says that the budget changes."""
    there = fit(example.inputs, example.network).place
    here = fit(inputs_of(example.rank, task.images_seen), example.network).place
    return 10 ** (example.place + here - there + unit(task.batch_size, task.squared_filter_norm))


def _would_help(
    similarity: Similarity, confidence: Confidence, *, is_known: bool
) -> tuple[str, ...]:
    found: list[str] = []
    if confidence != "high":
        more = "More references" if is_known else "References"
        found.append(
            f"{more} of this network: kintune reference build searches on data sets that you "
            "name, kintune reference add takes in a search that you have done."
        )
    if similarity.prototypes_from == "head":
        found.append("Images of the source, or prototypes made from them (--source).")
    low, high = similarity.interval
    if high - low > WIDE_INTERVAL:
        found.append(f"More images than these {similarity.images}.")
    return tuple(found)


def _warnings(
    similarity: Similarity, task: TaskFacts, examples: Sequence[RateExample], *, is_known: bool
) -> tuple[str, ...]:
    found: list[str] = []
    if not is_known:
        found.append(
            "No reference was measured with this network: the range rests on other networks, and "
            "is wider for it."
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
    least = min(each.row.images * each.row.epochs for each in examples)
    if task.steps < FEWEST_STEPS:
        found.append(f"{task.steps} steps are hardly a training; give more --epochs.")
    elif task.images_seen < least / 2:
        found.append(
            f"A training of {task.images_seen} looks at an image is shorter than any reference "
            f"({least}): its rate is extrapolated."
        )
    if task.steps < defaults.SHORT_STEPS:
        found.append(
            f"A short training ({task.steps} steps): mirrored central crops (flip) instead of the "
            "paper's random_resized_crop, unless --augmentation says otherwise."
        )
    return tuple(found)
