"""One run, from its configuration to its result."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from kintune.backbones import Backbone
from kintune.base.errors import is_out_of_memory
from kintune.base.progress import announce
from kintune.data import ImageDataset
from kintune.runs import RunConfig, RunResult, read_result, result_without_errors, write_json
from kintune.training.checkpoint import TrainingState, remove_checkpoint
from kintune.training.evaluate import Evaluation
from kintune.training.loop import DivergedError, GivenUpError, Watch, train
from kintune.training.memory import halved_micro_batch
from kintune.training.metrics import EpochMetrics, read_metrics
from kintune.training.model_folder import write_model_folder
from kintune.training.replicas import replicas
from kintune.training.run_folder import (
    held,
    note_environment,
    set_foreign_result_aside,
    this_environment,
)
from kintune.training.start import check_start, run_conditions, starting_state


def fine_tune(
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    folder: Path,
    *,
    device: str = "cpu",
    watch: Watch | None = None,
) -> RunResult:
    """Train one configuration in its folder, go on where it was stopped, or return its result.

    The weights at the end of training are evaluated and saved. On a CPU, with the same versions,
    a run that was stopped and resumed any number of times writes the same model file, byte for
    byte, as one that was not. Where a GPU's memory is too small for a batch, the run goes on from
    its checkpoint in halved micro-batches, and its result says so.

    In a process group of torch.distributed every process calls this in the same way, and the first
    writes for all (`kintune.training.replicas`).

    Args:
        backbone: the pretrained network; it is copied, never changed.
        dataset: its `train` and `val` splits are used.
        config: made for this backbone and data set.
        folder: the run's own; `kintune.runs` says what it will hold.
        device: `cpu`, `cuda` or `cuda:N`.
        watch: sees the epochs so far after each of them and may give the run up, which is then
            `stopped`; called again, the run goes on.

    Raises:
        OptionError: the folder is in use, cannot be written or holds another configuration, or
            the configuration is of other images or weights.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint; `SystemExit` on SIGTERM likewise.
    """
    here = replicas()
    # Each computed its own, and the last bits of one may differ.
    config = here.from_first(config)
    check_start(backbone, dataset, config, device)
    with held(folder, config):
        finished = here.from_first(read_result(folder))
        if finished is not None and finished.status in ("complete", "diverged"):
            if here.is_first:
                remove_checkpoint(folder)
            return finished
        notes: tuple[str, ...] = ()
        if here.is_first:
            notes = set_foreign_result_aside(folder)
            notes += note_environment(folder, this_environment(device, backbone, dataset))
        with run_conditions(config, device):
            state, end = _train_within_memory(
                lambda most: starting_state(
                    backbone, dataset, config.replace(micro_batch_size=most), device
                ),
                partial(train, dataset=dataset, config=config, folder=folder, watch=watch),
                config.micro_batch_size,
                share=-(-config.hyperparameters.batch_size // here.count),
            )
        notes += state.notes + _memory_notes(state, config)
        rows = here.from_first(read_metrics(folder))
        if isinstance(end, Evaluation) and here.is_first:
            write_model_folder(folder / "model", state.network, backbone, dataset.classes)
        result = (
            complete_result(config, rows, end, len(dataset.classes), state.seconds, notes)
            if isinstance(end, Evaluation)
            else ended_result(end, config, rows, state.seconds, notes)
        )
        if here.is_first:
            write_json(folder / "result.json", result.to_json())
            if result.status != "stopped":
                remove_checkpoint(folder)
        return here.from_first(result)


def _train_within_memory(
    begin: Callable[[int | None], TrainingState],
    train: Callable[[TrainingState], Evaluation],
    micro_batch_size: int | None,
    share: int,
) -> tuple[TrainingState, Evaluation | DivergedError | GivenUpError]:
    """Train to the end, or to what ended it before; where memory is too small, begin again from the
    checkpoint in micro-batches of half the size."""
    state: TrainingState | None = None
    while True:
        try:
            state = begin(micro_batch_size)
            try:
                return state, train(state)
            except (DivergedError, GivenUpError) as end:
                return state, end
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            before = (state and state.micro_batch_size) or micro_batch_size or share
            micro_batch_size = halved_micro_batch(before, error)
        announce(
            f"- Memory is too small for {before} images at once. Going on from the last checkpoint "
            f"in micro-batches of {micro_batch_size}: the batch size stays, batch statistics are "
            "those of a micro-batch."
        )
        # Out of the handler, whose traceback holds on to the tensors of the step that failed.
        state = None
        torch.cuda.empty_cache()


def _memory_notes(state: TrainingState, config: RunConfig) -> tuple[str, ...]:
    if state.micro_batch_size == config.micro_batch_size:
        return ()
    note = (
        f"Memory was too small for a batch of {config.hyperparameters.batch_size}: trained in "
        f"micro-batches of at most {state.micro_batch_size} images. The batch size is the same, "
        "batch statistics are those of a micro-batch."
    )
    return (note,)


def ended_result(
    end: DivergedError | GivenUpError,
    config: RunConfig,
    rows: Sequence[EpochMetrics],
    seconds: float,
    notes: tuple[str, ...],
) -> RunResult:
    """The result of a run that did not get to its end."""
    if isinstance(end, DivergedError):
        return result_without_errors(config, "diverged", str(end), seconds, notes)
    errors = [row.validation_top1_error for row in rows if row.validation_top1_error is not None]
    stopped = result_without_errors(config, "stopped", str(end), seconds, notes)
    return stopped.replace(
        stopped_at_epoch=rows[-1].epoch,
        stopped_at_validation_top1_error=errors[-1] if errors else None,
    )


def complete_result(
    config: RunConfig,
    rows: Sequence[EpochMetrics],
    evaluation: Evaluation,
    classes: int,
    seconds: float,
    notes: tuple[str, ...],
) -> RunResult:
    """The result of a run that trained to its end."""
    errors = {row.epoch: row.validation_top1_error for row in rows}
    measured = [(error, epoch) for epoch, error in errors.items() if error is not None]
    best_error, best_epoch = min(measured, default=(None, None))
    return RunResult(
        id=config.id,
        hyperparameters=config.hyperparameters,
        effective_lr=config.hyperparameters.effective_lr,
        status="complete",
        validation_top1_error=evaluation.top1_error,
        validation_average_class_error=evaluation.average_class_error,
        validation_images=len(evaluation.indices),
        validation_mistakes=evaluation.mistakes,
        best_epoch=best_epoch,
        best_epoch_validation_top1_error=best_error,
        first_epoch_loss_ratio=rows[0].train_loss / math.log(classes) if rows else None,
        train_loss=rows[-1].train_loss if rows else None,
        seed=config.seed,
        seconds=seconds,
        notes=notes,
    )
