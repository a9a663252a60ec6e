"""Results of the commands: the objects that `--json` prints."""

from typing import Any

from kintune.base.records import Record
from kintune.runs import RunResult


class BestRun(RunResult):
    """The selected run, with what the test images say of it."""

    retrained: bool = False
    """The model was trained once more on training and validation images together; errors on
    validation are of the selected run."""
    test_top1_error: float | None
    """Read once, for this run alone; None where the data has no test split."""
    test_average_class_error: float | None = None


class SettingResult(RunResult):
    """One setting: the run of its first seed, and what the search knows of it."""

    repeats: tuple[RunResult, ...] = ()
    """The runs of the other seeds."""
    mean_validation_top1_error: float | None = None
    """Over all seeds, what settings are compared by; None where one did not train to its end."""
    standard_deviation: float | None = None
    """Standard deviation of that error over the seeds; None for one seed."""
    proposed_because: str | None = None
    """The engine's reason."""
    taught: str | None = None
    """Outcome of the setting, beside those before it, in a sentence."""


class Verdict(Record):
    """Whether fine-tuning helped: the selected model and the head on the frozen features, on the
    same images."""

    split: str
    """`test`, or `val` where there is no test split."""
    images: int
    top1_error: float
    """Error of the selected model, a fraction."""
    frozen_head_top1_error: float
    gain: float
    """By how much the selected model errs less; 0 where the head itself is selected."""
    interval: tuple[float, float]
    """95 % interval of the gain, from the images on which the two differ."""
    sentence: str


class TrainingSummary(Record):
    """Result of `tune` and `finetune`, and `summary.json` in the output folder."""

    status: str
    """`complete`, or `no run completed`."""
    runs: tuple[SettingResult, ...]
    frozen_head: SettingResult | None = None
    """The head on the frozen features, which every run has to beat; None where there is none."""
    best: BestRun | None
    verdict: Verdict | None = None
    """None where there is no head on frozen features to compare with."""
    model_path: str | None
    report_path: str
    command: str
    """A command that repeats this."""
    facts: dict[str, Any]
    """Facts of the data and the model, and what was decided about them."""
    labels: dict[str, str]
    """Names of particular runs, by id."""
    versions: dict[str, str]
    device: str
    notes: tuple[str, ...] = ()
    """Notes of the search: what ended it, what was left out, why others that did as well are not
    selected."""

    @property
    def succeeded(self) -> bool:
        """Whether there is a model."""
        return self.best is not None


class ReportPath(Record):
    """Result of `report`."""

    report_path: str


class PrototypeFile(Record):
    """Result of `prototypes`."""

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
    """Plan of a command, and its cost."""

    data: str
    model: str
    training_images: int
    validation_images: int
    test_images: int
    classes: int
    runs: int
    effective_lr: float | None
    """Effective rate of the first run; None, as `lr`, where a measurement of the images will decide
    it."""
    lr: float | None
    momentum: float
    weight_decay: float
    batch_size: int
    regularizer: str
    schedule: str
    augmentation: str
    head_start: str
    epochs: int
    steps: int
    """Steps of one run."""
    seconds: float | None
    """Time of the whole command, from decoding to the last test: a sample of the images was
    decoded, a few steps were timed. None where memory did not suffice for them."""
    disk_bytes: int
    """Upper estimate of what the output folder will hold."""
    device: str
    output: str

    @property
    def succeeded(self) -> bool:
        """A plan was asked for and made."""
        return True


class BuildPlan(Record):
    """Cost of building references: a search for each data set."""

    plans: tuple[Plan, ...]

    @property
    def seconds(self) -> float | None:
        """Time of all searches; None where one is not known."""
        known = [plan.seconds for plan in self.plans if plan.seconds is not None]
        return sum(known) if len(known) == len(self.plans) else None
