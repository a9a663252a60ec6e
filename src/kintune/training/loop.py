"""The training loop of one run, and what it checks on the way."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from kintune.base.progress import progress_bar
from kintune.data import ImageDataset
from kintune.runs import RunConfig
from kintune.runs.hyperparameters import effective_lr
from kintune.training.batch_norm import train_mode
from kintune.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from kintune.training.evaluate import Evaluation, evaluate
from kintune.training.interruption import stop_requests
from kintune.training.metrics import EpochMetrics, read_metrics, write_metrics, write_tensorboard
from kintune.training.replicas import Replicas, replicas
from kintune.training.schedules import lr_factor, total_steps
from kintune.training.steps import batch_bounds, training_batches, training_step
from kintune.training.weights_record import WeightFacts, WeightsRecord

CHECKPOINT_SECONDS = 30.0
"""A checkpoint is at most this old; one is also written at the end of every epoch."""
CHECK_STEPS = 20
"""Steps between two looks at whether the loss is finite: each look waits for the device. Replicas
also agree on stopping and on checkpoints only then."""
MAX_LOSS = 1e12
"""A loss above it says nothing any more."""
DIVERGED_FACTOR = 5.0
"""After the first epoch, a mean training loss above this multiple of ln K, the loss of a guess
among K classes, counts as divergence."""
VALIDATION_SHARE = 0.1
"""Validation is rarer than every epoch where it would take more than this share of the time."""

GO_ON, SAVE, STOP = range(3)
"""Requests of a replica; the most urgent counts for all."""

Watch = Callable[[Sequence[EpochMetrics]], str | None]
"""Looks at the epochs so far after each of them; a reason ends the run as `stopped`."""


class DivergedError(Exception):
    """Training left the region where it can succeed; the text says how that was seen."""


class GivenUpError(Exception):
    """The run's `Watch` ended it; the text is its reason."""


def train(
    state: TrainingState,
    dataset: ImageDataset,
    config: RunConfig,
    folder: Path,
    watch: Watch | None = None,
) -> Evaluation:
    """Train the state's network, from the folder's checkpoint where there is one.

    Returns:
        The evaluation on the validation split at the end of training.

    Raises:
        DivergedError: the loss is not finite, or stays far above that of a guess.
        GivenUpError: `watch` gave a reason; the checkpoint is kept.
        OptionError: a file cannot be written; the last checkpoint is kept.
    """
    settings, here, device = config.hyperparameters, replicas(), state.loss_sum.device
    bounds = batch_bounds(len(dataset.splits["train"]), settings.batch_size, here.count)
    steps = total_steps(settings, len(bounds))
    evaluate_every = epochs_between_evaluations(dataset, config)
    weights = WeightsRecord.at_start(state.network, state.optimizer)

    def lr_at(step: int) -> float:
        return settings.lr * lr_factor(settings, step, len(bounds))

    load_checkpoint(folder, state)
    rows = [row for row in read_metrics(folder) if row.epoch <= state.epoch]
    network = here.wrapped(state.network)
    began = time.monotonic() - state.seconds
    saved = time.monotonic()
    evaluation: Evaluation | None = None

    with (
        stop_requests() as stop,
        tensorboard(folder, state.epoch, here) as board,
        progress_bar("fine-tuning", steps) as advance,
    ):
        advance(state.epoch * len(bounds) + state.step)
        for epoch in range(state.epoch, settings.epochs):
            train_mode(state.network, config)
            for batch in training_batches(dataset, config, epoch, state.step, device):
                step = epoch * len(bounds) + state.step
                if step == steps:
                    break
                set_lr(state.optimizer, lr_at(step))
                torch.manual_seed(seed_of_step(config.seed, step, here))
                loss = training_step(
                    network,
                    state.optimizer,
                    batch,
                    micro_batch_size=state.micro_batch_size,
                    precision=config.precision,
                    clip_grad_norm=settings.clip_grad_norm,
                )
                state.loss_sum += loss * len(batch.labels)
                state.step += 1
                state.seconds = time.monotonic() - began
                looks = (step + 1) % CHECK_STEPS == 0
                if looks:
                    require_finite(state)
                if looks or here.count == 1:
                    old = time.monotonic() - saved > CHECKPOINT_SECONDS
                    asked = here.largest(STOP if stop.made else SAVE if old else GO_ON, device)
                    if asked in (SAVE, STOP):
                        save_checkpoint(folder, state)
                        saved = time.monotonic()
                    if asked == STOP:
                        stop.obey(how_to_go_on(folder, epoch, settings.epochs))
                advance(note=f"epoch {epoch + 1}/{settings.epochs}")

            require_finite(state)
            train_loss = here.total(state.loss_sum).item() / bounds[state.step - 1][1]
            require_sane(train_loss, epoch, len(dataset.classes))
            evaluation = None
            if (epoch + 1) % evaluate_every == 0 or epoch + 1 == settings.epochs:
                evaluation = validate(state, dataset, config)
            state.seconds = time.monotonic() - began
            lr = lr_at(epoch * len(bounds) + state.step - 1)
            facts = weights.now(effective_lr(lr, settings.momentum))
            require_finite_weights(facts, epoch)
            rows.append(epoch_metrics(state, lr, train_loss, evaluation, facts))
            if board is not None:
                write_metrics(folder, rows)
                write_tensorboard(board, rows[-1])

            state.epoch, state.step = epoch + 1, 0
            state.loss_sum.zero_()
            save_checkpoint(folder, state)
            saved = time.monotonic()
            if here.count > 1 and here.largest(STOP if stop.made else GO_ON, device) == STOP:
                stop.obey(how_to_go_on(folder, epoch, settings.epochs))
            reason = here.from_first(watch(rows) if watch is not None else None)
            if reason is not None and state.epoch < settings.epochs:
                raise GivenUpError(reason)
    if evaluation is None:  # nothing was left to train
        evaluation = validate(state, dataset, config)
        state.seconds = time.monotonic() - began
    return evaluation


def epochs_between_evaluations(dataset: ImageDataset, config: RunConfig) -> int:
    """Every how many epochs validation fits into `VALIDATION_SHARE` of the time."""
    share = forward_share(config) * len(dataset.splits["val"]) / len(dataset.splits["train"])
    return max(1, math.ceil(share / VALIDATION_SHARE))


def forward_share(config: RunConfig) -> float:
    """Time of a forward pass over that of a training step, a frozen body's being 1."""
    return 1 / 3 if config.trainable == "all" else 1.0


def require_finite(state: TrainingState) -> None:
    """Raise DivergedError where a loss of this epoch was not finite, on all replicas."""
    if not math.isfinite(replicas().total(state.loss_sum).item()):
        raise DivergedError(
            f"the training loss was not finite by step {state.step} of epoch {state.epoch + 1}"
        )


def require_sane(train_loss: float, epoch: int, classes: int) -> None:
    """Raise DivergedError where an epoch after the first was far worse than guessing, or any one
    had a loss that means nothing."""
    if train_loss > MAX_LOSS:
        raise DivergedError(
            f"the training loss of epoch {epoch + 1} was {train_loss:.4g}, above {MAX_LOSS:g}"
        )
    limit = DIVERGED_FACTOR * math.log(classes)
    if epoch > 0 and train_loss > limit:
        raise DivergedError(
            f"the training loss of epoch {epoch + 1} was {train_loss:.4g}, above {limit:.4g}, "
            f"{DIVERGED_FACTOR:g} times that of a guess"
        )


def validate(state: TrainingState, dataset: ImageDataset, config: RunConfig) -> Evaluation:
    """Evaluate on the validation split; of several replicas the first does, for all.

    Raises:
        DivergedError: the network's outputs are not finite.
    """
    here, device = replicas(), state.loss_sum.device
    evaluation = here.from_first(
        evaluate(state.network, dataset, "val", config.input, device) if here.is_first else None
    )
    assert evaluation is not None
    when = f"after epoch {state.epoch + bool(state.step)}"
    if not math.isfinite(evaluation.loss):
        raise DivergedError(f"the validation loss {when} was not finite")
    if evaluation.loss > MAX_LOSS:
        raise DivergedError(
            f"the validation loss {when} was {evaluation.loss:.4g}, above {MAX_LOSS:g}"
        )
    return evaluation


def require_finite_weights(facts: WeightFacts, epoch: int) -> None:
    """Raise DivergedError where the last update left the weights not finite."""
    if not math.isfinite(facts.weight_norm):
        raise DivergedError(f"the weights after epoch {epoch + 1} were not finite")


def epoch_metrics(
    state: TrainingState,
    lr: float,
    train_loss: float,
    evaluation: Evaluation | None,
    weights: WeightFacts,
) -> EpochMetrics:
    """The row of the state's present epoch, which has just ended at the rate `lr`."""
    return EpochMetrics(
        epoch=state.epoch + 1,
        lr=lr,
        train_loss=train_loss,
        validation_loss=evaluation and evaluation.loss,
        validation_top1_error=evaluation and evaluation.top1_error,
        validation_average_class_error=evaluation and evaluation.average_class_error,
        seconds=state.seconds,
        **weights._asdict(),
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group a learning rate, times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def seed_of_step(seed: int, step: int, here: Replicas) -> int:
    """Seed of what a network draws in one step (dropout), its own on each replica: no random state
    needs to be kept to go on from any step."""
    return (seed << 32) + step * here.count + here.rank


def tensorboard(
    folder: Path, epochs: int, here: Replicas
) -> AbstractContextManager[SummaryWriter | None]:
    """Where the first replica's numbers go, after those of the finished epochs."""
    if not here.is_first:
        return nullcontext()
    return SummaryWriter(folder / "tensorboard", purge_step=epochs + 1)


def how_to_go_on(folder: Path, epoch: int, epochs: int) -> str:
    """Message for a person who stopped a run."""
    return (
        f"Stopped in epoch {epoch + 1} of {epochs}. The same command goes on from there ({folder})."
    )
