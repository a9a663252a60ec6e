"""Plan and cost of a command, said before it starts."""

from pathlib import Path

from kintune.base.progress import announce, detail, duration
from kintune.data import SPLITS
from kintune.options import FinetuneOptions, SearchOptions
from kintune.options.results import Plan
from kintune.runs import RunConfig, RunResult, RunStore, defaults
from kintune.search import Point, SearchPlan
from kintune.search.settings import awaits_measurement, will_retrain
from kintune.similarity.task import Task
from kintune.training import (
    batch_bounds,
    forward_share,
    seconds_per_image,
    total_steps,
    work_in_images,
)

BYTES_PER_WEIGHT = 4
COPIES_A_RUN = 3
"""The model, and while it trains a checkpoint of weights and velocity."""


def plan_runs(
    task: Task,
    options: FinetuneOptions | SearchOptions,
    config: RunConfig,
    output: Path,
    *,
    runs: int = 1,
    finished: RunResult | None = None,
) -> Plan:
    """Add up what the command costs if each of its runs is like this one.

    The time of one is that of the finished run where there is one, else a few steps are timed. A
    plan that is made before the measurement that decides the rate leaves the rate open.
    """
    settings = config.hyperparameters
    weights = sum(parameter.numel() for parameter in task.backbone.network.parameters())
    images = len(task.dataset.splits["train"])
    rate_is_open = awaits_measurement(options)
    return Plan(
        data=task.dataset.source,
        model=task.backbone.name,
        training_images=images,
        validation_images=len(task.dataset.splits["val"]),
        test_images=len(task.dataset.splits["test"]),
        classes=len(task.dataset.classes),
        runs=runs,
        effective_lr=None if rate_is_open else settings.effective_lr,
        lr=None if rate_is_open else settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        regularizer=settings.regularizer,
        schedule=settings.schedule,
        augmentation=settings.augmentation,
        head_start=settings.head_start,
        epochs=settings.epochs,
        steps=total_steps(settings, len(batch_bounds(images, settings.batch_size, config.devices))),
        seconds=_seconds(task, options, config, runs, finished),
        disk_bytes=(runs + 1) * COPIES_A_RUN * weights * BYTES_PER_WEIGHT,
        device=task.device,
        output=str(output.absolute()),
    )


def plan_search(task: Task, options: SearchOptions, search: SearchPlan, output: Path) -> Plan:
    """Add up what a search would cost, and say it."""
    store, space = search.store, search.store.space
    best = space.prior.best if space.prior else space.base.effective_lr
    first = store.config_at(space.at(Point(effective_lr=best)))
    runs = search.budget.runs * options.repeats + options.compare_default
    runs += will_retrain(task, options)
    finished = RunStore(store.root).finished(first)
    plan = plan_runs(task, options, first, output, runs=runs, finished=finished)
    tried = " or ".join(dict.fromkeys(variant.augmentation for variant in space.variants))
    plan = plan.replace(augmentation=tried)
    say_plan(plan)
    return plan


def _seconds(
    task: Task,
    options: FinetuneOptions | SearchOptions,
    config: RunConfig,
    runs: int,
    finished: RunResult | None,
) -> float | None:
    """Time of the whole command: decoding, what passes through the network once, and the runs,
    which several workers share."""
    work = work_in_images(task.dataset, config)
    if finished is not None and finished.status == "complete":
        per_image = finished.seconds / work
    else:
        timed = seconds_per_image(task.backbone, task.dataset, config, task.device)
        if timed is None:
            return None
        per_image = timed
    workers = options.workers if isinstance(options, SearchOptions) else 1
    forward = _images_outside_runs(task, options) * forward_share(config)
    return task.dataset.decode_seconds + per_image * (forward + runs * work / workers)


def _images_outside_runs(task: Task, options: FinetuneOptions | SearchOptions) -> int:
    """That pass through the network for the recommendation, the head that every run has to beat
    and the final tests."""
    train, val, test = (len(task.dataset.splits[split]) for split in SPLITS)
    images = train if awaits_measurement(options) else 0
    if isinstance(options, FinetuneOptions):
        return images + test
    return images + test + (0 if options.from_scratch else train + val + (test or val))


def say_plan(plan: Plan) -> None:
    """Tell the plan on stderr, with a warning when it is long."""
    runs = "1 training" if plan.runs == 1 else f"{plan.runs} trainings"
    epochs = "1 epoch" if plan.epochs == 1 else f"{plan.epochs} epochs"
    announce(f"Plan: {runs} of {epochs}, {duration(plan.seconds)} on {plan.device}")
    rate = "lr decided by measurement" if plan.lr is None else f"first lr {plan.lr:.3g}"
    detail(
        f"Each training: {plan.training_images} images, batch size {plan.batch_size}, momentum "
        f"{plan.momentum:g}, weight decay {plan.weight_decay:g} ({plan.regularizer}), "
        f"{plan.schedule} schedule, {plan.augmentation}, head start {plan.head_start}, {rate}. "
        f"Output: up to {plan.disk_bytes / 1e6:.0f} MB in {plan.output}."
    )
    if (plan.seconds or 0) > defaults.LONG_SECONDS and plan.device == "cpu":
        announce(
            "warning: that is more than an hour on a CPU; fewer --epochs or --runs, a smaller "
            "--image-size or a GPU (--device cuda) shorten it."
        )
