"""What the commands hand back: the objects that `--json` prints."""

from typing import Any

from kintune.records import Record
from kintune.runs import RunResult


class BestRun(RunResult):
    """The chosen run, with what the test images say of it."""

    test_top1_error: float | None
    """Read once, for this run alone; None where the data has no test split."""
    test_average_class_error: float | None = None


class TrainingSummary(Record):
    """What `tune` and `finetune` return, and what `summary.json` in the output folder holds."""

    status: str
    """`complete`, or `no run completed`."""
    runs: tuple[RunResult, ...]
    best: BestRun | None
    model_path: str | None
    report_path: str
    command: str
    """A command that repeats this."""
    facts: dict[str, Any]
    """Of the data and the model, and what was decided about them."""
    labels: dict[str, str]
    """Names of particular runs, by id."""
    versions: dict[str, str]
    device: str

    @property
    def succeeded(self) -> bool:
        """Whether there is a model."""
        return self.best is not None


class ReportPath(Record):
    """What `report` returns."""

    report_path: str


class PrototypeFile(Record):
    """What `prototypes` returns."""

    path: str
    domain: str
    extractor: str
    """Names network, weights and input that the prototypes belong to."""
    classes: int
    images: int
    """Behind all class means."""
    min_images: int
    prototypes_from: str
    """`images` with labels, or `clusters` of images without."""
    notes: tuple[str, ...]


class Plan(Record):
    """What a command would do, and what it would cost."""

    data: str
    model: str
    training_images: int
    validation_images: int
    test_images: int
    classes: int
    runs: int
    effective_lr: float
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    regularizer: str
    schedule: str
    augmentation: str
    epochs: int
    steps: int
    """Of one run."""
    seconds: float | None
    """Of all runs: a few steps were timed; None where memory did not suffice for them."""
    disk_bytes: int
    """Upper estimate of what the output folder will hold."""
    device: str
    output: str

    @property
    def succeeded(self) -> bool:
        """A plan was asked for and made."""
        return True
