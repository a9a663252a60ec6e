"""The files of an output folder as typed values, as far as the report shows them.

Keys that the report does not show are ignored, so that a file may say more than is read here.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from kintune.base.records import Record
from kintune.runs.hyperparameters import Hyperparameters


class Part(Record):
    """A JSON object of which the report shows these keys."""

    model_config = ConfigDict(extra="ignore")


class Run(Part):
    """One run; `status` is `unfinished` where no result has been written."""

    id: str
    hyperparameters: Hyperparameters
    status: str
    reason: str | None = None
    validation_top1_error: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    repeats: tuple["Run", ...] = ()
    """The runs of the other seeds."""
    mean_validation_top1_error: float | None = None
    standard_deviation: float | None = None
    proposed_because: str | None = None
    """Why a search tried it; None of a run that no search proposed."""
    taught: str | None = None

    @property
    def effective_lr(self) -> float:
        """η' = η / (1 - m)."""
        return self.hyperparameters.effective_lr

    @property
    def has_rate(self) -> bool:
        """False for the head on frozen features, which is not trained by gradient steps."""
        return self.hyperparameters.epochs > 0


class Configuration(Part):
    """`config.json` of a run."""

    model: str
    hyperparameters: Hyperparameters


class Best(Part):
    """The winner, as `summary.json` names it."""

    id: str
    test_top1_error: float | None = None


class Skipped(Part):
    """An image that would not load."""

    path: str
    reason: str = ""


class DataFacts(Part):
    """The data set of a tuning."""

    name: str
    source: str = ""
    classes: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


class ModelFacts(Part):
    """The network of a tuning."""

    name: str
    domain: str = ""
    notes: tuple[str, ...] = ()


class Facts(Part):
    """Images and network of a tuning."""

    data: DataFacts | None = None
    model: ModelFacts | None = None


class Verdict(Part):
    """Whether fine-tuning helped."""

    frozen_head_top1_error: float
    gain: float
    interval: tuple[float, float]
    sentence: str


class Summary(Part):
    """`summary.json`, written when all runs have ended."""

    verdict: Verdict | None = None
    frozen_head: Run | None = None

    runs: tuple[Run, ...] = ()
    best: Best | None = None
    model_path: str | None = None
    command: str | None = None
    facts: Facts = Facts()
    labels: dict[str, str] = {}
    versions: dict[str, str] = {}
    device: str | None = None
    notes: tuple[str, ...] = ()


class SourceClass(Part):
    """A source class near a target class."""

    target_class: str
    source_class: str
    cost: float
    """Cosine distance of the two class means."""
    share: float
    """Share of the target's images, those in the target class."""


class ClassFlow(Part):
    """Mass that the optimal plan sends from a source class to a target class."""

    target_class: str
    source_class: str
    share: float
    """Share of all mass."""
    cost: float


class Similarity(Part):
    """`similarity.json`."""

    source: str = ""
    target: str = ""
    distance: float | None = None
    similarity: float | None = None
    gamma: float | None = None
    relative_distance: float | None = None
    interval: tuple[float, float] | None = None
    distance_interval: tuple[float, float] | None = None
    class_distance: float | None = None
    domain_shift: float | None = None
    prototypes_from: str = ""
    images: int | None = None
    classes: int | None = None
    nearest_source_classes: tuple[SourceClass, ...] = ()
    transport: tuple[ClassFlow, ...] = ()
    far_cost: float | None = None
    far_target_classes: tuple[str, ...] = ()
    extractor: str = ""
    notes: tuple[str, ...] = ()


class RateRange(Part):
    """Recommended effective learning rates."""

    low: float = Field(gt=0)
    best: float = Field(gt=0)
    high: float = Field(gt=0)


class EvidenceRow(Part):
    """A past result that the recommendation leans on."""

    source: str
    network: str = ""
    target: str
    effective_lr: float = Field(gt=0)
    """The best rate of the reference."""
    top1_error: float | None = None
    relative_distance: float | None = None
    images_seen: int | None = None
    weight: float
    origin: str = ""


class RecipeRow(Part):
    """Expected result of one recipe."""

    mode: str
    expected_top1_error: float
    interval: tuple[float, float]
    probability_best: float
    effective_lr: RateRange | None = None


class Recommendation(Part):
    """`recommendation.json`."""

    recipes: tuple[RecipeRow, ...] = ()
    freeze_bn_stats: bool | None = None
    clip_grad_norm: float | None = None
    probability_of_little_loss: float | None = None
    effective_lr: RateRange
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    epochs: int
    regularizer: str | None = None
    schedule: str = ""
    warmup_epochs: float = 0
    augmentation: str = ""
    head_start: str = ""
    confidence: Literal["low", "medium", "high"] | None = None
    reference_coverage: float | None = Field(default=None, ge=0, le=1)
    """Share of the measured references whose best rate such a range holds, each target left out in
    turn."""
    explanation: str = ""
    evidence: tuple[EvidenceRow, ...] = ()
    warnings: tuple[str, ...] = ()
    would_help: tuple[str, ...] = ()
    reasons: dict[str, str] = {}
    similarity: Similarity | None = None


class Evaluation(Part):
    """`evaluation.json`: the winner's prediction for each of m images."""

    split: str
    paths: tuple[str, ...]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    confidences: tuple[float | None, ...]
    top1_error: float
    average_class_error: float | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        columns = (self.labels, self.predictions, self.confidences)
        if any(len(column) != len(self.paths) for column in columns):
            raise ValueError("paths, labels, predictions and confidences differ in length")
        known = range(len(self.classes))
        if any(index not in known for index in (*self.labels, *self.predictions)):
            raise ValueError(f"a label or prediction is outside the {len(known)} classes")
        return self


def _finite_or_none(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


Measured = Annotated[float | None, BeforeValidator(_finite_or_none)]


class EpochMetrics(Part):
    """A row of `metrics.csv`; what was not finite is None."""

    epoch: int
    train_loss: Measured = None
    validation_top1_error: Measured = None
