"""Records of the runs of the baselines: one JSON file a source and target."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from kintune.experiment import with_recorded_device, write_runs
from kintune.experiments.baselines.methods import MethodName
from kintune.experiments.baselines.rate_range import RangeTest
from kintune.experiments.study_sources import BudgetName
from kintune.files import locked
from kintune.records import Record
from kintune.runs import RunConfig


class BaselineRun(Record):
    """One training by one method."""

    method: MethodName
    budget: BudgetName
    config: RunConfig
    """Start, images, batches and schedule. Where `optimizer` is given it makes the update, and the
    learning rate here is what it was given."""
    optimizer: str = ""
    """Package, version and call; empty for the engine's own."""
    status: Literal["complete", "diverged"]
    reason: str | None = None
    validation_top1_error: float | None = None
    """At the end of training, of the weights that the method's authors score; None where it
    diverged. Nothing is selected on either error."""
    test_top1_error: float | None = None
    last_validation_top1_error: float | None = None
    """Error of the weights after the last step, where those above are averaged."""
    last_test_top1_error: float | None = None
    train_losses: tuple[float, ...] = ()
    """Mean training loss of each epoch, five significant digits."""
    range_test: RangeTest | None = None
    steps: int
    """Steps of training, those of a range test not among them."""
    seconds: float
    """Training, its evaluations and a range test."""
    versions: dict[str, str]
    processor: str
    device: str = "cpu"
    """Device that trained it, as `RunRecord` names it."""

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, value: Any) -> Any:
        return with_recorded_device(value)

    @property
    def validation_error(self) -> float:
        """Top-1 error at the end of training; a run that did not get there counts as 1."""
        error = self.validation_top1_error
        return 1.0 if error is None else error

    @property
    def test_error(self) -> float:
        """Top-1 error on the test split; a run that did not get to its end counts as 1."""
        return 1.0 if self.test_top1_error is None else self.test_top1_error

    @property
    def extra_steps(self) -> int:
        """Training steps beyond the budget."""
        return 0 if self.range_test is None else self.range_test.steps


class BaselineFile(Record):
    """The runs of one source on one target."""

    source: str
    target: str
    runs: tuple[BaselineRun, ...] = ()


@dataclass(frozen=True)
class BaselineArchive:
    """A folder with a `BaselineFile` for each source and target, safe against several writers."""

    root: Path

    def path(self, source: str, target: str) -> Path:
        """The file of a source and a target."""
        return self.root / f"{source}-{target}.json"

    def read(self, source: str, target: str) -> tuple[BaselineRun, ...]:
        """The runs of a source on a target; none where nothing was run.

        Raises:
            OptionError: the file is not of this kind.
        """
        path = self.path(source, target)
        return BaselineFile.read(path).runs if path.exists() else ()

    def find(
        self, source: str, target: str, budget: BudgetName, method: MethodName
    ) -> list[BaselineRun]:
        """The runs of a method, one a seed."""
        runs = self.read(source, target)
        return [run for run in runs if (run.budget, run.method) == (budget, method)]

    def add(self, source: str, target: str, run: BaselineRun) -> None:
        """Add a run to the file of its source and target."""
        path = self.path(source, target)
        with locked(self.root / f".{path.stem}.lock"):
            runs = (*self.read(source, target), run)
            file = BaselineFile(source=source, target=target, runs=runs)
            plain = (each.model_dump(mode="json", exclude_defaults=True) for each in runs)
            write_runs(path, file, plain)
