"""Metrics of every epoch: `metrics.csv`, which is the truth, and TensorBoard beside it."""

import csv
import io
from pathlib import Path

from pydantic import ValidationError
from torch.utils.tensorboard import SummaryWriter

from kintune.base.errors import OptionError
from kintune.base.files import read_regular, write_atomically
from kintune.base.records import Record, faults

NAME = "metrics.csv"


class EpochMetrics(Record):
    """One row of `metrics.csv`."""

    epoch: int
    """From 1."""
    lr: float
    """Learning rate of the epoch's last step."""
    train_loss: float
    """Mean cross-entropy over the epoch, on augmented images and while the weights move."""
    validation_loss: float | None = None
    """None where the epoch was not evaluated."""
    validation_top1_error: float | None = None
    validation_average_class_error: float | None = None
    weight_norm: float
    """Euclidean norm |θ| of the trained parameters."""
    normalised_l2: float | None = None
    """|θ|² over its value at the start (Figure 6a)."""
    normalised_penalty: float | None = None
    """R(θ) of the run's regularizer over its value at the start (Figure 6b for L2-SP); None without
    one, or where it starts at 0."""
    effective_lr_per_squared_norm: float | None = None
    """η'/|θ|² at the epoch's last step, |θ|² over the scale-invariant weights (section 3.3)."""
    seconds: float
    """Wall-clock time since the run began, pauses left out."""


def write_metrics(folder: Path, rows: list[EpochMetrics]) -> None:
    """Replace `metrics.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(EpochMetrics.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.to_json() for row in rows)
    write_atomically(folder / NAME, text.getvalue().encode())


def read_metrics(folder: Path) -> list[EpochMetrics]:
    """The rows of `metrics.csv`, none where there is no such file.

    Raises:
        OptionError: the file is damaged.
    """
    path = folder / NAME
    try:
        rows = [
            EpochMetrics.model_validate({key: value or None for key, value in row.items()})
            for row in csv_rows(path)
        ]
    except ValidationError as error:
        raise damaged(path, faults(error)) from None
    epochs = [row.epoch for row in rows]
    if epochs != list(range(1, len(rows) + 1)):
        raise damaged(path, f"its epochs are {', '.join(map(str, epochs[:20]))}")
    return rows


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The cells of a CSV file by the names in its first line; none where there is no such file.

    Raises:
        OptionError: the file is no text, or no CSV.
    """
    if not path.exists():
        return []
    try:
        text = read_regular(path).decode()
        if not text.isprintable() and any(not c.isprintable() and c not in "\r\n" for c in text):
            raise damaged(path, "it holds control characters")
        rows = list(csv.DictReader(io.StringIO(text), restkey="", strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, str(error)) from None
    return rows


def damaged(path: Path, why: str) -> OptionError:
    """Error about a `metrics.csv` that cannot be used."""
    return OptionError(
        f"{path}: damaged ({why}). Restore the file, or delete the folder {path.parent} to train "
        "this run again."
    )


def write_tensorboard(writer: SummaryWriter, row: EpochMetrics) -> None:
    """The same numbers as scalars against the epoch."""
    for name, value in row.to_json().items():
        if name != "epoch" and value is not None:
            writer.add_scalar(name, value, row.epoch)
