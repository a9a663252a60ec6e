"""What the report knows: the files of an output folder as typed values, absent parts as None.

Keys that the report does not show are ignored, so that a file may say more than is read here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kintune.errors import OptionError
from kintune.files import read_regular
from kintune.hyperparameters import Hyperparameters
from kintune.records import Record, faults
from kintune.training.metrics import csv_rows, damaged

UNFINISHED = "unfinished"
"""Status of a run that has not written a result."""


class Part(Record):
    """A JSON object of which the report shows these keys."""

    model_config = ConfigDict(extra="ignore")


PartType = TypeVar("PartType", bound=Part)


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
    """What a tuning worked on."""

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
    """Of the target's images, those in the target class."""


class ClassFlow(Part):
    """Mass that the optimal plan sends from a source class to a target class."""

    target_class: str
    source_class: str
    share: float
    """Of all mass."""
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
    """What one recipe was expected to reach."""

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


@dataclass(frozen=True, kw_only=True)
class Output:
    """What an output folder holds."""

    is_going: bool
    """Whether runs, or the choice among them, are still to come."""
    summary: Summary
    runs: tuple[Run, ...]
    curves: Mapping[str, tuple[EpochMetrics, ...]]
    winner: Run | None
    recommendation: Recommendation | None
    similarity: Similarity | None
    evaluation: Evaluation | None
    model: str

    @property
    def augmentations_differ(self) -> bool:
        """Whether runs were augmented in several ways."""
        return len({run.hyperparameters.augmentation for run in self.runs}) > 1

    def name_of(self, run: Run) -> str:
        """What sets a run apart: its label, and whether it is kept; mostly nothing."""
        kept = "best so far" if self.is_going else "kept"
        names = (kept if run == self.winner else "", self.summary.labels.get(run.id, ""))
        return ", ".join(name for name in names if name)


def read_output(folder: Path) -> Output:
    """The parts of an output folder of `tune` or `finetune` that have been written so far.

    Raises:
        OptionError: nothing of Kintune is in the folder, or a file is not what it should be.
    """
    summary = _read(folder / "summary.json", Summary)
    recommendation = _read(folder / "recommendation.json", Recommendation)
    run_folders = _run_folders(folder)
    if summary is None and recommendation is None and not run_folders:
        raise OptionError(
            f"{folder}: holds no output of Kintune (no summary.json, recommendation.json, "
            "config.json or runs/*/config.json). Name the folder that was given as --output."
        )
    known = summary or Summary()
    configurations = {path: _configuration(path) for path in run_folders}
    runs = _runs(known, configurations)
    similarity = _read(folder / "similarity.json", Similarity)
    is_alone = run_folders == [folder]
    return Output(
        is_going=any(run.status == UNFINISHED for run in runs) if is_alone else summary is None,
        summary=known,
        runs=runs,
        curves={_run_id(path): _read_metrics(path / "metrics.csv") for path in run_folders},
        winner=_winner(known, runs),
        recommendation=recommendation,
        similarity=similarity or (recommendation.similarity if recommendation else None),
        evaluation=_read(folder / "evaluation.json", Evaluation),
        model=_model_name(known, configurations),
    )


def _run_folders(folder: Path) -> list[Path]:
    if (folder / "config.json").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("runs/*/config.json"))


def _run_id(run_folder: Path) -> str:
    result = _read(run_folder / "result.json", Run)
    return result.id if result else run_folder.name


def _configuration(run_folder: Path) -> Configuration:
    path = run_folder / "config.json"
    return _parse(path, read_regular(path), Configuration)


def _runs(summary: Summary, configurations: Mapping[Path, Configuration]) -> tuple[Run, ...]:
    """The runs of `summary.json`, else of the folders, by effective learning rate.

    The folders may hold runs of other budgets too, whose errors cannot be compared with these.
    """
    runs = summary.runs or [_run(path, entry) for path, entry in configurations.items()]
    return tuple(sorted(runs, key=lambda run: (run.effective_lr, run.id)))


def _run(run_folder: Path, configuration: Configuration) -> Run:
    result = _read(run_folder / "result.json", Run)
    return result or Run(
        id=run_folder.name, hyperparameters=configuration.hyperparameters, status=UNFINISHED
    )


def _winner(summary: Summary, runs: tuple[Run, ...]) -> Run | None:
    """The run that `summary.json` names, else the lowest validation error so far."""
    if summary.best:
        tried = (*runs, summary.frozen_head)
        return next((run for run in tried if run and run.id == summary.best.id), None)
    measured = [run for run in runs if run.validation_top1_error is not None]
    return min(measured, key=lambda run: run.validation_top1_error or 0.0, default=None)


def _model_name(summary: Summary, configurations: Mapping[Path, Configuration]) -> str:
    if summary.facts.model:
        return summary.facts.model.name
    return next((entry.model for entry in configurations.values()), "network")


def _read(path: Path, kind: type[PartType]) -> PartType | None:
    return _parse(path, read_regular(path), kind) if path.exists() else None


def _parse(path: Path, content: bytes, kind: type[PartType]) -> PartType:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise OptionError(f"{path}: cannot be shown in a report. {faults(error)}") from None


def _read_metrics(path: Path) -> tuple[EpochMetrics, ...]:
    """The epochs so far; the last line of a run that is going on may be half written."""
    rows = [row for row in csv_rows(path) if None not in row.values()]
    try:
        return tuple(EpochMetrics.model_validate(row) for row in rows)
    except ValidationError as error:
        raise damaged(path, faults(error)) from None
