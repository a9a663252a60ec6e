"""One fine-tuning, from its configuration to its result."""

import math
import time
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.progress import progress_bar
from kintune.runs import (
    RunConfig,
    RunResult,
    read_result,
    result_without_errors,
    write_json,
)
from kintune.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from kintune.training.evaluate import Evaluation, evaluate
from kintune.training.interruption import stop_requests
from kintune.training.metrics import EpochMetrics, read_metrics, write_metrics, write_tensorboard
from kintune.training.model_folder import write_model_folder
from kintune.training.run_folder import claim, exclusive, note_environment
from kintune.training.schedules import lr_factor
from kintune.training.start import check_start, run_conditions, starting_state
from kintune.training.steps import batch_bounds, training_batches, training_step

CHECKPOINT_SECONDS = 30.0
"""A checkpoint is at most this old; one is also written at the end of every epoch."""
CHECK_STEPS = 20
"""Steps between two looks at whether the loss is finite: each look waits for the device."""
DIVERGED_FACTOR = 5.0
"""After the first epoch, a mean training loss above this multiple of ln K, the loss of a guess
among K classes, counts as divergence."""
VALIDATION_SHARE = 0.1
"""Validation is rarer than every epoch where it would take more than this share of the time."""


class DivergedError(Exception):
    """Training left the region where it can succeed; the text says how that was seen."""


def fine_tune(
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    folder: Path,
    *,
    device: str = "cpu",
) -> RunResult:
    """Train one configuration in its folder, go on where it was stopped, or return its result.

    The weights at the end of training are evaluated and saved. On a CPU, with the same versions,
    a run that was stopped and resumed any number of times writes the same model file, byte for
    byte, as one that was not.

    Args:
        backbone: the pretrained network; it is copied, never changed.
        dataset: its `train` and `val` splits are used.
        config: made for this backbone and data set.
        folder: the run's own; `kintune.runs` says what it will hold.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        OptionError: the folder is in use, cannot be written or holds another configuration, or
            the configuration is of other images or weights.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint; `SystemExit` on SIGTERM likewise.
    """
    check_start(backbone, dataset, config, device)
    with exclusive(folder):
        claim(folder, config)
        finished = read_result(folder)
        if finished is not None and finished.status != "failed":
            return finished
        notes = note_environment(folder, device)
        with run_conditions(config, device):
            state = starting_state(backbone, len(dataset.classes), config, device)
            try:
                train(state, dataset, config, folder)
            except DivergedError as error:
                result = result_without_errors(config, "diverged", str(error), state.seconds, notes)
            else:
                write_model_folder(folder / "model", state.network, backbone, dataset.classes)
                result = complete_result(config, read_metrics(folder), len(dataset.classes), notes)
        write_json(folder / "result.json", result.to_json())
        remove_checkpoint(folder)
        return result


def train(state: TrainingState, dataset: ImageDataset, config: RunConfig, folder: Path) -> None:
    """Train the state's network, from the folder's checkpoint where there is one.

    Raises:
        DivergedError: the loss is not finite, or stays far above that of a guess.
        OptionError: a file cannot be written; the last checkpoint is kept.
    """
    settings = config.hyperparameters
    network, optimizer, device = state.network, state.optimizer, state.loss_sum.device
    images = len(dataset.splits["train"])
    steps_per_epoch = len(batch_bounds(images, settings.batch_size))
    total_steps = settings.epochs * steps_per_epoch
    evaluate_every = epochs_between_evaluations(dataset, config)

    def lr_at(step: int) -> float:
        return settings.lr * lr_factor(settings.schedule, step, total_steps)

    load_checkpoint(folder, state)
    rows = [row for row in read_metrics(folder) if row.epoch <= state.epoch]
    began = time.monotonic() - state.seconds
    saved = time.monotonic()

    with (
        stop_requests() as stop,
        SummaryWriter(folder / "tensorboard", purge_step=state.epoch + 1) as board,
        progress_bar("fine-tuning", total_steps) as advance,
    ):
        advance(state.epoch * steps_per_epoch + state.step)
        for epoch in range(state.epoch, settings.epochs):
            # Batch statistics move only where the whole network is trained.
            network.train(config.trainable == "all")
            for batch in training_batches(dataset, config, epoch, state.step, device):
                set_lr(optimizer, lr_at(epoch * steps_per_epoch + state.step))
                loss = training_step(network, optimizer, batch)
                state.loss_sum += loss * len(batch.labels)
                state.step += 1
                state.seconds = time.monotonic() - began
                if state.step % CHECK_STEPS == 0:
                    require_finite(state)
                if stop.made or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(folder, state)
                    saved = time.monotonic()
                if stop.made:
                    stop.obey(how_to_go_on(folder, epoch, settings.epochs))
                advance(note=f"epoch {epoch + 1}/{settings.epochs}")

            require_finite(state)
            train_loss = state.loss_sum.item() / images
            require_sane(train_loss, epoch, len(dataset.classes))
            evaluation = None
            if (epoch + 1) % evaluate_every == 0 or epoch + 1 == settings.epochs:
                evaluation = evaluate(network, dataset, "val", config.input, device)
                require_finite_evaluation(evaluation, epoch)
            state.seconds = time.monotonic() - began
            lr = lr_at((epoch + 1) * steps_per_epoch - 1)
            rows.append(epoch_metrics(state, lr, train_loss, evaluation))
            write_metrics(folder, rows)
            write_tensorboard(board, rows[-1])

            state.epoch, state.step = epoch + 1, 0
            state.loss_sum.zero_()
            save_checkpoint(folder, state)
            saved = time.monotonic()


def epochs_between_evaluations(dataset: ImageDataset, config: RunConfig) -> int:
    """Every how many epochs validation fits into `VALIDATION_SHARE` of the time."""
    share = forward_share(config) * len(dataset.splits["val"]) / len(dataset.splits["train"])
    return max(1, math.ceil(share / VALIDATION_SHARE))


def forward_share(config: RunConfig) -> float:
    """Time of a forward pass over that of a training step, a frozen body's being 1."""
    return 1 / 3 if config.trainable == "all" else 1.0


def require_finite(state: TrainingState) -> None:
    """Raise DivergedError where a loss of this epoch was not finite."""
    if not math.isfinite(state.loss_sum.item()):
        raise DivergedError(
            f"the training loss was not finite by step {state.step} of epoch {state.epoch + 1}"
        )


def require_sane(train_loss: float, epoch: int, classes: int) -> None:
    """Raise DivergedError where an epoch after the first was far worse than guessing."""
    limit = DIVERGED_FACTOR * math.log(classes)
    if epoch > 0 and train_loss > limit:
        raise DivergedError(
            f"the training loss of epoch {epoch + 1} was {train_loss:.4g}, above {limit:.4g}, "
            f"{DIVERGED_FACTOR:g} times that of a guess"
        )


def require_finite_evaluation(evaluation: Evaluation, epoch: int) -> None:
    """Raise DivergedError where the network's outputs were not finite."""
    if not math.isfinite(evaluation.loss):
        raise DivergedError(f"the validation loss after epoch {epoch + 1} was not finite")


def epoch_metrics(
    state: TrainingState, lr: float, train_loss: float, evaluation: Evaluation | None
) -> EpochMetrics:
    """The row of the state's present epoch, which has just ended."""
    trained = [p.detach() for p in state.network.parameters() if p.requires_grad]
    return EpochMetrics(
        epoch=state.epoch + 1,
        lr=lr,
        train_loss=train_loss,
        validation_loss=evaluation and evaluation.loss,
        validation_top1_error=evaluation and evaluation.top1_error,
        validation_average_class_error=evaluation and evaluation.average_class_error,
        weight_norm=torch.nn.utils.get_total_norm(trained).item(),
        seconds=state.seconds,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def complete_result(
    config: RunConfig, rows: list[EpochMetrics], classes: int, notes: tuple[str, ...]
) -> RunResult:
    """The result of a run that trained to its end, whose last row was evaluated."""
    last = rows[-1]
    errors = {row.epoch: row.validation_top1_error for row in rows}
    best = min((error, epoch) for epoch, error in errors.items() if error is not None)
    return RunResult(
        id=config.id,
        hyperparameters=config.hyperparameters,
        effective_lr=config.hyperparameters.effective_lr,
        status="complete",
        validation_top1_error=last.validation_top1_error,
        validation_average_class_error=last.validation_average_class_error,
        best_epoch=best[1],
        best_epoch_validation_top1_error=best[0],
        first_epoch_loss_ratio=rows[0].train_loss / math.log(classes),
        train_loss=last.train_loss,
        seed=config.seed,
        seconds=last.seconds,
        notes=notes,
    )


def how_to_go_on(folder: Path, epoch: int, epochs: int) -> str:
    """What a person who stopped a run should know."""
    return (
        f"Stopped in epoch {epoch + 1} of {epochs}. The same command goes on from there ({folder})."
    )
