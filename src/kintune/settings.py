"""From a command's options to the configuration of a run."""

import math

from kintune import defaults
from kintune.errors import OptionError
from kintune.hyperparameters import (
    MILESTONES,
    HeadStart,
    Hyperparameters,
    bn_momentum_for,
    effective_lr,
)
from kintune.options import FinetuneOptions, SearchOptions, TrainingOptions, TuneOptions
from kintune.progress import announce
from kintune.recommend import TaskFacts
from kintune.runs import RunConfig, device_kind
from kintune.task import Task
from kintune.training import batch_bounds, replicas, start_of

LIKELY_COMPLEMENT = 0.5
"""A share kept below this is more likely torch's number, which is 1 minus it."""


def task_facts(task: Task, options: TrainingOptions) -> TaskFacts:
    """Size and budget of a fine-tuning: the options where given, else the defaults.

    Raises:
        OptionError: the batch is larger than the training set.
    """
    images = len(task.dataset.splits["train"])
    batch_size = options.batch_size or defaults.batch_size_for(images)
    if batch_size > max(images, defaults.TINY_BATCH_SIZE):
        raise OptionError(
            f"--batch-size {batch_size}: there are {images} training images; at most {images}."
        )
    if options.epochs and options.iterations:
        raise OptionError("--epochs and --iterations exclude each other: give one of them.")
    epochs = options.epochs or defaults.epochs_for(images, batch_size)
    if options.iterations:
        steps_per_epoch = len(batch_bounds(images, batch_size, replicas().count))
        epochs = math.ceil(options.iterations / steps_per_epoch)
    return TaskFacts(
        images=images,
        classes=len(task.dataset.classes),
        batch_size=batch_size,
        epochs=epochs,
        iterations=options.iterations,
        weights_sha256=task.backbone.weights_sha256,
    )


def training_settings(options: TrainingOptions, facts: TaskFacts, lr: float) -> Hyperparameters:
    """The hyperparameters that a command's options ask for, at a learning rate.

    Raises:
        OptionError: options that exclude each other; milestones out of order or outside training.
    """
    _refuse_contradictions(options, facts.epochs)
    bn_momentum = options.bn_momentum
    if bn_momentum == "rule":
        bn_momentum = bn_momentum_for(math.ceil(facts.images / facts.batch_size))
    if bn_momentum and bn_momentum < LIKELY_COMPLEMENT:
        announce(
            f"warning: --bn-momentum {bn_momentum:g} keeps {bn_momentum:.0%} of the statistics in "
            f"each step, as the paper counts; torch's and timm's {bn_momentum:g} is "
            f"--bn-momentum {1 - bn_momentum:g}."
        )
    return Hyperparameters(
        lr=lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        batch_size=facts.batch_size,
        epochs=facts.epochs,
        regularizer=options.regularizer,
        schedule=options.schedule,
        milestones=_milestones(options, facts.epochs),
        warmup_epochs=options.warmup_epochs,
        iterations=options.iterations,
        augmentation=options.augmentation or defaults.augmentations_for(facts.steps)[0],
        convention=options.convention,
        new_part_decay=options.new_part_decay,
        exempt_bias_and_norm=options.exempt_bias_and_norm,
        head_start=asked_head_start(options)
        or defaults.head_start_for(effective_lr(lr, options.momentum)),
        head_lr_factor=options.head_lr_factor,
        bn_momentum=bn_momentum,
        freeze_bn_stats=options.freeze_bn_stats,
    )


def asked_head_start(options: TrainingOptions) -> HeadStart | None:
    """How the new head starts where options say it; None leaves it to the rate."""
    from_scratch = isinstance(options, FinetuneOptions | SearchOptions) and options.from_scratch
    return options.head_start or ("random" if from_scratch else None)


def _refuse_contradictions(options: TrainingOptions, epochs: int) -> None:
    """An option that could have no effect is a mistake, not a wish."""
    from_scratch = isinstance(options, FinetuneOptions | SearchOptions) and options.from_scratch
    head_only = isinstance(options, FinetuneOptions | SearchOptions) and options.head_only
    rules = {
        f"--warmup-epochs {options.warmup_epochs:g}: training ends after {epochs} epochs, before "
        "the rate is reached. Give fewer.": options.warmup_epochs >= epochs,
        f"--decay-milestones: the {options.schedule} schedule has none. Use --schedule step or "
        "leave them away.": bool(options.decay_milestones) and options.schedule != "step",
        "--new-part-decay: --regularizer none decays nothing. Use l2 or l2-sp, or leave it away.": (
            options.new_part_decay is not None and options.regularizer == "none"
        ),
        "--bn-momentum and --freeze-bn-stats: frozen statistics do not move. Give only one.": (
            options.bn_momentum is not None and options.freeze_bn_stats
        ),
        "--freeze-bn-stats and --from-scratch: there are no statistics of a source to keep. Leave "
        "one of the two away.": options.freeze_bn_stats and from_scratch,
        "--head-start probe and --from-scratch: there are no features to fit a head to. Leave one "
        "of the two away.": options.head_start == "probe" and from_scratch,
        "--head-lr-factor and --head-only: the head is all that learns. Say its rate with --lr.": (
            options.head_lr_factor != 1 and head_only
        ),
    }
    broken = [message for message, is_broken in rules.items() if is_broken]
    if broken:
        raise OptionError("\n".join(broken))


def _milestones(options: TrainingOptions, epochs: int) -> tuple[float, ...]:
    """As shares of training."""
    given, length = options.decay_milestones, options.iterations or epochs
    if not given:
        return MILESTONES
    shares = tuple(value if value < 1 else value / length for value in given)
    if list(shares) != sorted(set(shares)) or shares[-1] >= 1:
        unit = "iterations" if options.iterations else "epochs"
        raise OptionError(
            f"--decay-milestones {' '.join(f'{value:g}' for value in given)}: must grow and lie "
            f"before the end, which is at {length} {unit}."
        )
    return shares


def run_config(
    task: Task, settings: Hyperparameters, options: FinetuneOptions | TuneOptions
) -> RunConfig:
    """The configuration of one run of a task."""
    return RunConfig(
        **start_of(task.backbone, task.dataset),
        hyperparameters=settings,
        seed=options.seed,
        device=device_kind(task.device),
        devices=replicas().count,
        micro_batch_size=options.micro_batch_size,
        precision=options.precision,
    )
