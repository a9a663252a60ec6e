"""The records around a recommendation: what it is made from, and what it says."""

import math
from typing import Literal

from pydantic import Field

from kintune.base.records import Record
from kintune.recommend.model import Mode, RecipeTask, grid_of_rates
from kintune.runs.hyperparameters import (
    AugmentationName,
    HeadStart,
    Hyperparameters,
    RateRange,
    RegularizerName,
    ScheduleName,
)
from kintune.similarity import Similarity

Confidence = Literal["low", "medium", "high"]

ROUNDED = 1e-3
"""Relative difference of two rates that are one, rounded to four digits."""
SETTINGS = (
    "lr",
    "momentum",
    "weight_decay",
    "batch_size",
    "epochs",
    "regularizer",
    "schedule",
    "warmup_epochs",
    "augmentation",
    "head_start",
    "clip_grad_norm",
    "freeze_bn_stats",
)
"""The fields of `Hyperparameters` that are recommended."""


class TaskFacts(Record):
    """Facts about a fine-tuning before it starts."""

    images: int = Field(ge=1)
    """Training images."""
    classes: int = Field(ge=2)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    weights_sha256: str = ""
    """Hash of the network's weights (`Backbone.weights_sha256`): whose references are its own."""
    iterations: int | None = None
    """Steps after which training ends in the last epoch; None where it is whole."""
    size_ratio: float = Field(default=1.0, gt=0)
    """Side of the images over that of the images that the network was pretrained on."""
    has_batch_norm: bool = True
    """Without batch normalization there are no batch statistics to choose."""

    @property
    def steps(self) -> int:
        """Optimization steps."""
        return self.iterations or self.epochs * math.ceil(self.images / self.batch_size)


class RecipeAdvice(Record):
    """Expected result of one recipe."""

    mode: Mode
    """`head`: a linear classifier on the frozen features. `frozen`, `batch`: everything is trained,
    with the source's batch statistics or those of each batch."""
    expected_top1_error: float
    """At the best guess of the rate, a fraction."""
    interval: tuple[float, float]
    """80 % interval of that error."""
    effective_lr: RateRange | None = None
    """Where its best rate is expected; None for `head`, which has none."""
    probability_best: float
    """That no other recipe reaches a lower error, each at its best guess."""


class Evidence(Record):
    """One reference that the recommendation leans on."""

    source: str
    network: str
    target: str
    relative_distance: float | None
    images_seen: int
    """In the reference's training, each as often as it was seen."""
    effective_lr: float
    """Best of the rates that were measured with the recommended batch statistics."""
    top1_error: float
    """At that rate, a fraction."""
    weight: float
    """Share of all influence on the expected error of the recommended recipe."""
    origin: str


class Recommendation(Record):
    """A recipe to start from, with the reasons and the doubts."""

    similarity: Similarity | None
    """None where nothing is known of the network's source domain."""
    recipes: tuple[RecipeAdvice, ...]
    """The least expected error first."""
    effective_lr: RateRange
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    epochs: int
    regularizer: RegularizerName
    schedule: ScheduleName
    warmup_epochs: float
    augmentation: AugmentationName
    head_start: HeadStart
    clip_grad_norm: float | None
    freeze_bn_stats: bool
    confidence: Confidence
    """About loss: `high` where at least nine in ten such recommendations lose less than a point of
    error against the best recipe (`probability_of_little_loss`)."""
    probability_of_little_loss: float
    """That the recipe, trained as recommended, errs on less than a point more than the best one."""
    reference_coverage: float
    """Share of the references whose error the 80 % interval holds, each target left out in turn."""
    probe_top1_error: float
    """Error of a linear classifier on the frozen features, a fraction."""
    explanation: str
    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]
    would_help: tuple[str, ...] = ()
    """Ways to raise the confidence."""
    reasons: dict[str, str] = {}
    """Why the other settings are what they are, by setting."""
    task: RecipeTask
    """Facts that the model used, so that a search goes on from the same expectation."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The best guess as the hyperparameters of one run."""
        return Hyperparameters(**{name: getattr(self, name) for name in SETTINGS})

    @property
    def highest_rate(self) -> float:
        """Largest effective rate that a search around it tries."""
        return float(grid_of_rates(self.task)[-1])

    def is_tried_by(self, setting: Hyperparameters) -> bool:
        """Whether a setting is the recommended one; its rate may be rounded to four digits."""
        wanted = self.hyperparameters
        rounded = setting.replace(lr=wanted.lr)
        return math.isclose(setting.lr, wanted.lr, rel_tol=ROUNDED) and all(
            getattr(rounded, name) == getattr(wanted, name) for name in SETTINGS
        )
