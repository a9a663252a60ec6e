"""From a command's options to the configuration of a run."""

import math

from kintune.base.errors import OptionError
from kintune.base.progress import announce
from kintune.options import FinetuneOptions, SearchOptions, TrainingOptions, TuneOptions
from kintune.recommend import TaskFacts
from kintune.runs import RunConfig, defaults, device_kind
from kintune.runs.hyperparameters import (
    MILESTONES,
    BatchStatistics,
    HeadStart,
    Hyperparameters,
    bn_momentum_for,
)
from kintune.similarity.task import Task
from kintune.training import batch_bounds, has_batch_norm, replicas, start_of

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
    epochs = options.epochs or defaults.epochs_for(images, batch_size, options.preset)
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
        size_ratio=task.backbone.input.image_size / task.backbone.pretraining_size,
        has_batch_norm=has_batch_norm(task.backbone.network),
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
        schedule=options.schedule or ("step" if options.decay_milestones else defaults.SCHEDULE),
        milestones=_milestones(options, facts.epochs),
        warmup_epochs=warmup_epochs(options, facts.epochs),
        iterations=options.iterations,
        augmentation=options.augmentation or defaults.augmentations_for(facts.steps)[0],
        convention=options.convention,
        new_part_decay=options.new_part_decay,
        exempt_bias_and_norm=options.exempt_bias_and_norm,
        head_start=asked_head_start(options),
        head_lr_factor=options.head_lr_factor,
        bn_momentum=bn_momentum,
        clip_grad_norm=options.clip_grad_norm or None,
        freeze_bn_stats=facts.has_batch_norm
        and asked_batch_statistics(options) != "batch"
        and not from_scratch(options),
    )


def asked_head_start(options: TrainingOptions) -> HeadStart:
    """How the new head starts."""
    default: HeadStart = "random" if from_scratch(options) else defaults.HEAD_START
    return options.head_start or default


def asked_batch_statistics(options: TrainingOptions) -> BatchStatistics | None:
    """The batch statistics that the options ask for; None where they leave it open."""
    if options.batch_statistics is not None or options.freeze_bn_stats:
        return options.batch_statistics or "frozen"
    return "batch" if options.bn_momentum is not None or from_scratch(options) else None


def warmup_epochs(options: TrainingOptions, epochs: int) -> float:
    """Epochs of warm-up: those asked for, else a share of a training that starts from a network."""
    if options.warmup_epochs is not None:
        return options.warmup_epochs
    return 0 if from_scratch(options) else round(defaults.WARMUP_SHARE * epochs, 4)


def will_retrain(task: Task, options: TuneOptions) -> bool:
    """Whether the winner of a search is trained once more on training and validation images.

    Raises:
        OptionError: the options ask for it, and several devices train together.
    """
    if replicas().count > 1:
        if options.retrain:
            raise OptionError("--retrain: not with torchrun. Omit it, or use one device.")
        return False
    if options.retrain or options.no_retrain or from_scratch(options):
        return options.retrain
    images = len(task.dataset.splits["train"]) + len(task.dataset.splits["val"])
    return task.dataset.validation_is_drawn and images <= defaults.MAX_RETRAIN_IMAGES


def awaits_measurement(options: FinetuneOptions | SearchOptions) -> bool:
    """Whether this is a dry run of a command that would measure the images to decide the rate."""
    if isinstance(options, SearchOptions):
        return options.dry_run and not options.no_recommendation
    is_given = options.lr is not None or options.from_config is not None or options.from_scratch
    return options.dry_run and not is_given


def from_scratch(options: TrainingOptions) -> bool:
    """Whether training starts from random weights."""
    return isinstance(options, FinetuneOptions | SearchOptions) and options.from_scratch


def _refuse_contradictions(options: TrainingOptions, epochs: int) -> None:
    """An option that could have no effect is a mistake, not a wish."""
    scratch = from_scratch(options)
    frozen = options.freeze_bn_stats or options.batch_statistics == "frozen"
    head_only = isinstance(options, FinetuneOptions | SearchOptions) and options.head_only
    rules = {
        f"--warmup-epochs {options.warmup_epochs}: training ends after {epochs} epochs, before "
        "the rate is reached. Give fewer.": (options.warmup_epochs or 0) >= epochs,
        f"--decay-milestones: the {options.schedule} schedule has none. Use --schedule step or "
        "omit it.": (bool(options.decay_milestones) and options.schedule not in (None, "step")),
        "--new-part-decay: --regularizer none decays nothing. Use l2 or l2-sp, or omit it.": (
            options.new_part_decay is not None and options.regularizer == "none"
        ),
        "--bn-momentum: frozen batch statistics do not move. Give --batch-statistics batch, or "
        "omit --bn-momentum.": options.bn_momentum is not None and frozen,
        "--freeze-bn-stats and --batch-statistics batch exclude each other: give one of them.": (
            options.freeze_bn_stats and options.batch_statistics == "batch"
        ),
        "--batch-statistics frozen and --from-scratch: there are no statistics of a source to "
        "keep. Omit one of the two.": frozen and scratch,
        "--head-start probe and --from-scratch: there are no features to fit a head to. Omit one "
        "of the two.": options.head_start == "probe" and scratch,
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
