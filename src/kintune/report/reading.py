"""Parts of an output folder for the report, absent ones as None."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from kintune.base.errors import OptionError
from kintune.base.files import read_regular
from kintune.base.records import faults
from kintune.report.parts import (
    Configuration,
    EpochMetrics,
    Evaluation,
    Part,
    Recommendation,
    Run,
    Similarity,
    Summary,
)
from kintune.runs.setting_text import differing_fields
from kintune.training.metrics import csv_rows, damaged

UNFINISHED = "unfinished"
"""Status of a run that has not written a result."""
PartType = TypeVar("PartType", bound=Part)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Contents of an output folder."""

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
    def varied(self) -> tuple[str, ...]:
        """Fields in which the runs differ, but for the momentum, which has a column."""
        return differing_fields([run.hyperparameters for run in self.runs], but=["momentum"])

    @property
    def shown_fields(self) -> tuple[str, ...]:
        """Fields that are named of the winner: those of every recipe, and those that vary."""
        return tuple(dict.fromkeys(("momentum", "freeze_bn_stats", *self.varied)))

    def name_of(self, run: Run) -> str:
        """Name of a run: its label, and whether it is selected; mostly nothing."""
        selected = "best so far" if self.is_going else "selected"
        names = (selected if run == self.winner else "", self.summary.labels.get(run.id, ""))
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
