"""Configuration, result and folder of a run."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, JsonValue, ValidationInfo, model_validator

from kintune.base.files import read_regular, write_atomically
from kintune.base.records import Record, content_id
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.inputs import InputSpec

OUTPUT_MARK = "kintune-output.txt"

RunStatus = Literal["complete", "diverged", "failed", "stopped"]
Precision = Literal["float32", "bfloat16"]
DeviceKind = Literal["cpu", "cuda"]


def device_kind(device: str) -> DeviceKind:
    """The part of a device's name that decides results: `cuda:1` computes as `cuda:0` does."""
    return "cuda" if device.startswith("cuda") else "cpu"


class RunConfig(Record):
    """All that decides the result of a run. No time, host, path or output folder belongs here.

    The implied value of a field (`Record.implied`), here and in the records below, is what was done
    before the field was there: it never changes, and a new field leaves the identity of earlier
    runs alone. The number of CPU threads is not part of it, since it changes no more than last
    bits: `environment.json` has it.

    A file without a `version` is of version 1, which had `threads` and no `device`: it is read as
    a run on a CPU, whatever its number of threads. With one thread its identity is the same.
    """

    version: Literal[2] = 2
    """Version of this schema; not part of the identity."""
    model: str
    """Name of the architecture, as `load_backbone` takes it."""
    model_kwargs: dict[str, JsonValue] = {}
    weights_sha256: str
    """Hash of the starting weights; empty when they are drawn at random."""
    initialization: Literal["pretrained", "random"] = "pretrained"
    trainable: Literal["all", "head"] = "all"
    """`head` freezes the network and its batch statistics and trains the new head alone."""
    input: InputSpec
    data_sha256: str
    """Content hash of the data set with its splits."""
    hyperparameters: Hyperparameters
    seed: int = 0
    device: DeviceKind = "cpu"
    """Device that trains: the same kind of device gives the same numbers to the last bits."""
    devices: int = Field(default=1, ge=1)
    """Replicas of the network, each with its share of every batch and its own batch statistics."""
    micro_batch_size: int | None = Field(default=None, ge=2)
    """Most images that go through the network at once, and whose statistics normalize them."""
    precision: Precision = "float32"
    """Precision of forward and backward passes (torch's autocast); weights are float32."""

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, value: Any, info: ValidationInfo) -> Any:
        if info.mode == "json" and isinstance(value, dict) and "version" not in value:
            said = cast("dict[str, Any]", value)
            return {key: entry for key, entry in said.items() if key != "threads"}
        return cast("Any", value)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name this configuration, of all that is not implied."""
        return content_id(self.without_defaults())

    @property
    def id_on_any_device(self) -> str:
        """Equal for configurations that differ in the kind of device alone."""
        return self.replace(device="cpu").id


class RunResult(Record):
    """Result of one run. A diverged, failed or stopped run is a result, with its reason.

    `stopped` is a run that a search gave up as lost: it can be resumed.
    """

    id: str
    hyperparameters: Hyperparameters
    effective_lr: float
    status: RunStatus
    reason: str | None = None
    validation_top1_error: float | None = None
    """At the end of training, a fraction; None when the run did not get there."""
    validation_average_class_error: float | None = None
    best_epoch: int | None = None
    """Epoch (from 1) with the lowest validation error: recorded beside, never selected on."""
    best_epoch_validation_top1_error: float | None = None
    first_epoch_loss_ratio: float | None = None
    """Mean training loss of the first epoch over ln K, the loss of a guess among K classes: above 1
    the steps were too large for what the network brought along."""
    train_loss: float | None = None
    """Mean cross-entropy over the last epoch."""
    validation_images: int | None = None
    """Size of the validation split."""
    validation_mistakes: tuple[int, ...] | None = None
    """Positions in the validation split of the images that the model of this run classifies
    wrongly, in ascending order: two runs are compared image by image."""
    stopped_at_epoch: int | None = None
    """Epochs that a stopped run had finished."""
    stopped_at_validation_top1_error: float | None = None
    """Its last validation error then: not comparable with that of a finished run."""
    seed: int = 0
    seconds: float
    """Wall-clock time of training and its evaluations."""
    notes: tuple[str, ...] = ()
    """Notes on the numbers, e.g. that versions changed on the way."""


def result_without_errors(
    config: RunConfig,
    status: Literal["diverged", "failed", "stopped"],
    reason: str,
    seconds: float,
    notes: tuple[str, ...] = (),
) -> RunResult:
    """The result of a run that did not get to its end."""
    return RunResult(
        id=config.id,
        hyperparameters=config.hyperparameters,
        effective_lr=config.hyperparameters.effective_lr,
        status=status,
        reason=reason,
        seed=config.seed,
        seconds=seconds,
        notes=notes,
    )


@dataclass(frozen=True)
class RunStore:
    """The runs in one folder."""

    root: Path

    def folder(self, config: RunConfig) -> Path:
        """Where this configuration's run lives."""
        return self.root / config.id

    def finished(self, config: RunConfig) -> RunResult | None:
        """The result of this configuration, if it has one."""
        return read_result(self.folder(config))


def read_result(folder: Path) -> RunResult | None:
    """The result in a run folder, or None where the run has not finished.

    A result of another run than the folder's `config.json` says is not counted: see
    `foreign_result`.

    Raises:
        OptionError: a file is damaged.
    """
    result, config = _result_and_config(folder)
    if result is None or config is None or result.id == config.id:
        return result
    return result.replace(id=config.id) if _is_of_version_1(result, config, folder) else None


def foreign_result(folder: Path) -> RunResult | None:
    """The result in a run folder where it is of another run than the folder's configuration."""
    result, _ = _result_and_config(folder)
    return result if read_result(folder) is None else None


def _result_and_config(folder: Path) -> tuple[RunResult | None, RunConfig | None]:
    result, config = folder / "result.json", folder / "config.json"
    if not result.exists():
        return None, None
    return RunResult.read(result), RunConfig.read(config) if config.exists() else None


def _is_of_version_1(result: RunResult, config: RunConfig, folder: Path) -> bool:
    """Version 1 counted the threads among what names a run."""
    threads = json.loads((folder / "config.json").read_bytes()).get("threads", 1)
    return result.id == content_id({**config.without_defaults(), "threads": threads})


def mark_output(folder: Path) -> None:
    """Make an output folder, marked so that no reader of images takes it for a class.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A link of this name is not followed.
    with suppress(FileExistsError), (folder / OUTPUT_MARK).open("x", encoding="utf-8") as mark:
        mark.write("Kintune wrote this folder. Where it lies among images, it is no class.\n")


def is_output(folder: Path) -> bool:
    """Whether Kintune wrote a folder: the results of a search or of a run."""
    if os.path.lexists(folder / OUTPUT_MARK):
        return True
    try:  # of a version that left no mark
        return b'"data_sha256"' in read_regular(folder / "config.json")
    except OSError:
        return False


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one whole, never a part."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")
