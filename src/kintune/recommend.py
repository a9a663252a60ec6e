"""From what is known before training to a range of effective learning rates.

The paper's finding is a tendency (section 3.3, Table 4): the nearer the target, the smaller the
best effective learning rate; and a training that sees fewer images needs a larger one to travel as
far. Both are read off all references at once by a Gaussian process over the logarithm of the best
rate (`kintune.rate_models`), in which every network has an offset of its own: known where the
network has references, uncertain where it has none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pydantic import Field

from kintune import defaults
from kintune.advice import explanation, reasons
from kintune.hyperparameters import (
    LEAST_STEP,
    AugmentationName,
    HeadStart,
    Hyperparameters,
    RateRange,
    RegularizerName,
    ScheduleName,
    lr_for,
)
from kintune.rate_evidence import (
    MEASURED,
    RateExample,
    fit_rates,
    inputs_of,
    left_out_coverage,
    log_unit,
    origin_of,
    rank_between,
    rate_examples,
)
from kintune.rate_models import AveragedFit, Guess
from kintune.records import Record
from kintune.reference import (
    images_seen,
    load_reference_tables,
    reference_distances,
    shipped_reference_tables,
)
from kintune.similarity import Similarity

Confidence = Literal["low", "medium", "high"]

RANGE = 0.8
"""Nominal share of cases in which the best rate lies in the range."""
SURE, FAIRLY_SURE = 5.0, 15.0
"""Ratios of the range's ends up to which confidence is `high` and `medium`."""
HIGHEST = 0.2
"""Largest effective rate recommended, over the trust ratio: the best of the reference study reach
0.13, and from 0.19 on trainings break, those of a network on its own domain from 0.04
(`scripts/evaluate_recommenders.py`)."""
ROUNDED = 1e-3
"""Relative: as far as a rate moves at most when a search rounds it to four digits."""
FEWEST_STEPS = 10
"""Optimisation steps below which there is no training to speak of."""

WIDE_INTERVAL = 0.1
"""Of the relative distance: wider ones are warned of."""
EVIDENCE = 8
"""References that are shown, those of the largest influence."""
SETTINGS = (
    "lr",
    "momentum",
    "weight_decay",
    "batch_size",
    "epochs",
    "regularizer",
    "schedule",
    "augmentation",
    "head_start",
)
"""Of `Hyperparameters`, those that are recommended."""


class TaskFacts(Record):
    """What is known of a fine-tuning before it starts."""

    images: int = Field(ge=1)
    """Training images."""
    classes: int = Field(ge=2)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    trust_ratio: float = Field(default=1.0, gt=0)
    """Effective rate that would change the network's fastest layer by its own length in a step:
    `kintune.backbones.trust_ratio`."""
    weights_sha256: str = ""
    """Of the network's weights (`Backbone.weights_sha256`): whose references are its own."""
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
        return images_seen(self.images, self.epochs, self.batch_size, self.iterations)


class Recipe(Record):
    """What is kept as the person wants it while the rate is recommended."""

    momentum: float = Field(default=defaults.MOMENTUM, ge=0, lt=1)
    """Any value serves at the same effective rate (section 3.3); `lr` follows it."""
    weight_decay: float = Field(default=defaults.WEIGHT_DECAY, ge=0)
    regularizer: RegularizerName = "l2"
    schedule: ScheduleName = "step"
    augmentation: AugmentationName | None = None
    """None leaves it to `kintune.defaults.augmentations_for`."""
    head_start: HeadStart | None = None
    """None leaves it to `kintune.defaults.head_start_for`."""


class Evidence(Record):
    """One reference that the recommendation leans on."""

    source: str
    network: str
    target: str
    relative_distance: float | None
    images_seen: int
    """In the reference's training, each as often as it was seen."""
    reference_effective_lr: float
    """Best rate of the reference at its own batch size and budget."""
    effective_lr: float
    """The same carried to this task's network, batch size and images seen."""
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
    head_start: HeadStart = "random"
    confidence: Confidence
    """How wide the range is: `high` up to a factor of 5, `medium` up to 15."""
    reference_coverage: float
    """Share of the measured references that ship whose best rate a range made in this way holds,
    all of the same target left out."""
    probe_top1_error: float | None = None
    """What a linear classifier on the frozen features errs on, a fraction."""
    trust_ratio: float | None = None
    """Of the network at its input size (`TaskFacts.trust_ratio`)."""
    explanation: str
    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]
    would_help: tuple[str, ...] = ()
    """What would raise the confidence."""
    reasons: dict[str, str] = {}
    """Why the other settings are what they are, by setting."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The best guess as one run's hyperparameters."""
        return Hyperparameters(**{name: getattr(self, name) for name in SETTINGS})

    @property
    def highest_rate(self) -> float | None:
        """Largest effective rate that a search around it tries; None where the network's trust
        ratio is not known."""
        return None if self.trust_ratio is None else highest_rate(self.trust_ratio)

    def is_tried_by(self, setting: Hyperparameters) -> bool:
        """Whether a setting is the recommended one; its rate may be rounded to four digits."""
        wanted = self.hyperparameters
        rounded = setting.replace(lr=wanted.lr)
        return math.isclose(setting.lr, wanted.lr, rel_tol=ROUNDED) and all(
            getattr(rounded, name) == getattr(wanted, name) for name in SETTINGS
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
    known = _read_references(similarity, task)
    rates, confidence = _rate_range(known.guess, task), _confidence(known.guess)
    settings = Hyperparameters(
        lr=lr_for(rates.best, recipe.momentum),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        batch_size=task.batch_size,
        epochs=task.epochs,
        regularizer=recipe.regularizer,
        schedule=recipe.schedule,
        augmentation=recipe.augmentation or defaults.augmentations_for(task.steps)[0],
        head_start=recipe.head_start or defaults.head_start_for(rates.best),
    )
    return Recommendation(
        similarity=similarity,
        effective_lr=rates,
        **{name: getattr(settings, name) for name in SETTINGS},
        confidence=confidence,
        reference_coverage=reference_coverage(),
        probe_top1_error=task.probe_top1_error,
        trust_ratio=task.trust_ratio,
        explanation=explanation(
            similarity,
            reference_distances(origin_of(similarity)),
            rates,
            momentum=recipe.momentum,
            confidence=confidence,
            probe=task.probe_top1_error,
        ),
        evidence=known.evidence(task),
        warnings=_warnings(similarity, task, known),
        would_help=_would_help(similarity, confidence, is_known=known.has_network),
        reasons=reasons(
            settings,
            rank=known.inputs[0],
            steps=task.steps,
            steps_per_epoch=math.ceil(task.images / task.batch_size),
        ),
    )


@cache
def reference_coverage() -> float:
    """Share of the measured references that ship that a range made in this way holds, left out."""
    return left_out_coverage(rate_examples(shipped_reference_tables()), RANGE)


@dataclass(frozen=True)
class _KnownRates:
    """The references, the model that they make, and where the task lies in it."""

    examples: Sequence[RateExample]
    fit: AveragedFit
    inputs: tuple[float, float]
    network: str

    @property
    def guess(self) -> Guess:
        return self.fit(self.inputs, self.network, MEASURED)

    @property
    def has_network(self) -> bool:
        """Whether the network itself has references."""
        return any(each.network == self.network for each in self.examples)

    @property
    def fewest_images_seen(self) -> int:
        return min(each.row.images_seen for each in self.examples)

    def evidence(self, task: TaskFacts) -> tuple[Evidence, ...]:
        """The references that move the guess most."""
        influences = abs(self.fit.influences(self.inputs, self.network, MEASURED))
        shares = influences / influences.sum()
        pairs = sorted(zip(shares.tolist(), self.examples, strict=True), key=lambda pair: -pair[0])
        return tuple(
            Evidence(
                source=each.table.source,
                network=each.table.network,
                target=each.row.target,
                relative_distance=each.row.relative_distance,
                images_seen=each.row.images_seen,
                reference_effective_lr=each.row.effective_lr,
                effective_lr=self._carried(each, task),
                weight=share,
                origin=each.table.origin,
            )
            for share, each in pairs[:EVIDENCE]
        )

    def _carried(self, example: RateExample, task: TaskFacts) -> float:
        """Its best rate for this task's batch size and network, times what the model says that the
        other network, study and number of images make."""
        inputs = inputs_of(example.rank, task.images_seen)
        here = self.fit(inputs, self.network, MEASURED).place
        there = self.fit(example.inputs, example.network, example.study).place
        return 10 ** (example.place + here - there + _log_unit_of(task))


def _read_references(similarity: Similarity, task: TaskFacts) -> _KnownRates:
    tables = load_reference_tables()
    found = rate_examples(tables, task.weights_sha256, task.trust_ratio)
    rank = rank_between(similarity.relative_distance, origin_of(similarity))
    inputs = inputs_of(rank, task.images_seen)
    return _KnownRates(found, fit_rates(found), inputs, task.weights_sha256)


def _log_unit_of(task: TaskFacts) -> float:
    return log_unit(task.batch_size, task.trust_ratio)


def _rate_range(guess: Guess, task: TaskFacts) -> RateRange:
    """The guess in the rates of this task's batch size and network, none above `highest_rate`:
    proportion to the batch size ends somewhere. Below the limit the range keeps one outward step,
    so that it never is a single point."""
    low, high = guess.interval(RANGE)
    by, most = 10 ** _log_unit_of(task), highest_rate(task.trust_ratio)
    low, best, high = (min(by * rate, most) for rate in (low, guess.rate, high))
    return RateRange(low=min(low, high / 10**LEAST_STEP), best=best, high=high)


def highest_rate(trust_ratio: float) -> float:
    """Largest effective rate that is recommended or tried around a recommendation."""
    return HIGHEST * trust_ratio


def _confidence(guess: Guess) -> Confidence:
    low, high = guess.interval(RANGE)
    return "high" if high <= SURE * low else "medium" if high <= FAIRLY_SURE * low else "low"


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


def _warnings(similarity: Similarity, task: TaskFacts, known: _KnownRates) -> tuple[str, ...]:
    found: list[str] = []
    if not known.has_network:
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
    if task.steps < FEWEST_STEPS:
        found.append(f"{task.steps} steps are hardly a training; give more --epochs.")
    elif task.images_seen < known.fewest_images_seen:
        found.append(
            f"The training sees {task.images_seen} images, fewer than any reference's "
            f"({known.fewest_images_seen}): its rate is extrapolated."
        )
    most = highest_rate(task.trust_ratio)
    if known.guess.place + _log_unit_of(task) > math.log10(most):
        found.append(
            f"The references ask for a larger rate than {most:.2g}, near which the measured "
            "networks break: there the range ends. A smaller --batch-size would need less."
        )
    return tuple(found)
