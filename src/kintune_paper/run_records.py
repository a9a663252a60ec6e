"""Records of the runs of a study: one JSON file a curve, small enough to be committed.

A run folder is large and lives where it was computed. Its record here holds the whole
configuration, so that a study, a benchmark or a later run finds what was already run and runs
nothing twice.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import model_validator

from kintune.backbones import Backbone
from kintune.base.files import locked, write_atomically
from kintune.base.records import Record
from kintune.data import ImageDataset
from kintune.executors.local import run_guarded
from kintune.runs import RunConfig, RunResult, device_kind, write_json
from kintune.training import evaluate_model_folder, replicas
from kintune.training.metrics import read_metrics
from kintune.training.run_folder import Starts

RECORD = "record.json"
DIGITS = 5
"""Significant digits of what is recorded of each epoch."""


def with_recorded_device(value: Any) -> Any:
    """A run's record as JSON values; its configuration gets the kind of device from the record
    where it is of a version without one."""
    if not (isinstance(value, dict) and isinstance(value.get("config"), dict)):
        return value
    kind = device_kind(str(value.get("device", "cpu")))
    return {**value, "config": {"device": kind, **value["config"]}}


class RunRecord(Record):
    """One run: configuration, result, the test error that nothing is selected on, and where."""

    config: RunConfig
    result: RunResult
    test_top1_error: float | None = None
    """Error of the weights at the end of training, read once, a fraction; None for a diverged
    run."""
    test_average_class_error: float | None = None
    train_losses: tuple[float, ...] = ()
    """Mean training loss of each epoch, five significant digits."""
    validation_errors: tuple[tuple[int, float], ...] = ()
    """Epoch (from 1) and top-1 error of each evaluation during training."""
    normalised_l2: tuple[float, ...] = ()
    """|θ|² over its value at the start after each epoch, five significant digits."""
    normalised_penalty: tuple[float, ...] = ()
    """The same of the run's regularizer; empty where that is nothing at the start."""
    versions: dict[str, str]
    processor: str
    device: str = "cpu"
    """Device that trained it, as the run's `environment.json` names it."""

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, value: Any) -> Any:
        return with_recorded_device(value)

    @property
    def validation_error(self) -> float:
        """Top-1 error at the end of training; a run that did not get there counts as 1."""
        error = self.result.validation_top1_error
        return 1.0 if error is None else error

    @property
    def test_error(self) -> float:
        """Top-1 error on the test split; a run that did not get to its end counts as 1."""
        return 1.0 if self.test_top1_error is None else self.test_top1_error


class RecordFile(Record):
    """The runs of one source on one target."""

    source: str
    target: str
    classes: int
    counts: dict[str, int]
    """Images of each split."""
    runs: tuple[RunRecord, ...] = ()


@dataclass(frozen=True)
class RunArchive:
    """A folder with a `RecordFile` for each source and target, safe against several writers."""

    root: Path

    def path(self, source: str, target: str) -> Path:
        """The file of a source and a target."""
        return self.root / f"{source}-{target}.json"

    def read(self, source: str, target: str) -> tuple[RunRecord, ...]:
        """The runs of a source on a target; none where nothing was run.

        Raises:
            OptionError: the file is not a record file.
        """
        path = self.path(source, target)
        return RecordFile.read(path).runs if path.exists() else ()

    def paths(self) -> list[Path]:
        """All files, by name. The names of other files in the folder have no hyphen."""
        return sorted(self.root.glob("*-*.json"))

    def files(self) -> Iterator[RecordFile]:
        """All files, read."""
        for path in self.paths():
            yield RecordFile.read(path)

    def find(self, config: RunConfig) -> RunRecord | None:
        """The record of a configuration in any file, on any kind of device: what a study asks
        before it runs."""
        wanted = config.id_on_any_device
        runs = (run for file in self.files() for run in file.runs)
        return next((run for run in runs if run.config.id_on_any_device == wanted), None)

    def add(self, source: str, dataset: ImageDataset, record: RunRecord) -> None:
        """Add a run to the file of its source and target, unless it is there."""
        path = self.path(source, dataset.name)
        with locked(self.root / f".{path.stem}.lock"):
            runs = {run.config.id_on_any_device: run for run in self.read(source, dataset.name)}
            if record.config.id_on_any_device in runs:
                return
            file = RecordFile(
                source=source,
                target=dataset.name,
                classes=len(dataset.classes),
                counts={split: len(rows) for split, rows in dataset.splits.items()},
                runs=(*runs.values(), record),
            )
            write_runs(path, file, map(_plain, file.runs))


def recorded_run(
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    folder: Path,
    *,
    device: str = "cpu",
) -> RunRecord:
    """Train, or go on training, in a run folder; read the test error once. The record's
    configuration has the kind of `device`, whatever that of `config` is.

    Raises:
        KintuneError: what the person must fix before the run can succeed.
    """
    if (folder / RECORD).exists():
        return RunRecord.read(folder / RECORD)
    config = config.replace(device=device_kind(device))
    record = _run(backbone, dataset, config, folder, device)
    if record.result.status != "failed" and replicas().is_first:
        write_json(folder / RECORD, record.to_json())
    return record


def _run(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, folder: Path, device: str
) -> RunRecord:
    result = run_guarded(backbone, dataset, config, folder, device=device)
    tested = None
    if result.status == "complete":
        tested = evaluate_model_folder(folder / "model", dataset, "test", device)
    rows = read_metrics(folder)
    where = Starts.read(folder / "environment.json").starts[-1]
    return RunRecord(
        config=config,
        result=result,
        test_top1_error=tested and tested.top1_error,
        test_average_class_error=tested and tested.average_class_error,
        train_losses=_recorded(row.train_loss for row in rows),
        validation_errors=tuple(
            (row.epoch, row.validation_top1_error)
            for row in rows
            if row.validation_top1_error is not None
        ),
        normalised_l2=_recorded(row.normalised_l2 for row in rows),
        normalised_penalty=_recorded(row.normalised_penalty for row in rows),
        versions=where.versions,
        processor=where.processor,
        device=where.device,
    )


def _recorded(values: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values if value is not None)


def keep_only_json(folder: Path) -> None:
    """Delete what is large in the folder of a recorded run."""
    for name in ("model", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)


def write_runs(path: Path, head: Record, runs: Iterable[dict[str, Any]]) -> None:
    """A file of runs as JSON, one a line: the differences between two commits are what was added.

    Args:
        path: of the file, which is replaced at once.
        head: the record of the file, of which all but `runs` is taken.
        runs: each as plain values.
    """
    fields = head.model_dump(mode="json", exclude={"runs"})
    lines = [json.dumps(run, separators=(",", ":"), allow_nan=False) for run in runs]
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    parts.append('"runs": [\n' + ",\n".join(lines) + "\n]")
    write_atomically(path, ("{" + ", ".join(parts) + "}\n").encode())


def _plain(run: RunRecord) -> dict[str, Any]:
    result = run.result.model_dump(mode="json", exclude_defaults=True)
    return run.model_dump(mode="json", exclude={"result"}) | {"result": result}
