"""What a command would do and cost, said before it starts."""

from pathlib import Path

from kintune import defaults
from kintune.options import SearchOptions
from kintune.progress import announce, duration
from kintune.results import Plan
from kintune.runs import RunConfig, RunResult, RunStore
from kintune.search import Point, SearchPlan
from kintune.settings import will_retrain
from kintune.task import Task
from kintune.training import batch_bounds, estimate_seconds, total_steps

BYTES_PER_WEIGHT = 4
COPIES_A_RUN = 3
"""The model, and while it trains a checkpoint of weights and velocity."""


def plan_runs(
    task: Task, config: RunConfig, runs: int, output: Path, finished: RunResult | None
) -> Plan:
    """Add up what `runs` runs like this one would cost.

    The time of one is that of the finished run where there is one, else a few steps are timed.
    """
    settings = config.hyperparameters
    weights = sum(parameter.numel() for parameter in task.backbone.network.parameters())
    images = len(task.dataset.splits["train"])
    seconds = (
        finished.seconds
        if finished is not None and finished.status == "complete"
        else estimate_seconds(task.backbone, task.dataset, config, task.device)
    )
    return Plan(
        data=task.dataset.source,
        model=task.backbone.name,
        training_images=images,
        validation_images=len(task.dataset.splits["val"]),
        test_images=len(task.dataset.splits["test"]),
        classes=len(task.dataset.classes),
        runs=runs,
        effective_lr=settings.effective_lr,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        regularizer=settings.regularizer,
        schedule=settings.schedule,
        augmentation=settings.augmentation,
        head_start=settings.head_start,
        epochs=settings.epochs,
        steps=total_steps(settings, len(batch_bounds(images, settings.batch_size, config.devices))),
        seconds=None if seconds is None else runs * seconds,
        disk_bytes=(runs + 1) * COPIES_A_RUN * weights * BYTES_PER_WEIGHT,
        device=task.device,
        output=str(output.absolute()),
    )


def plan_search(task: Task, options: SearchOptions, search: SearchPlan, output: Path) -> Plan:
    """Add up what a search would cost, and say it; with several workers they share the time."""
    store, space = search.store, search.store.space
    best = space.prior.best if space.prior else space.base.effective_lr
    first = store.config_at(space.at(Point(effective_lr=best)))
    runs = search.budget.runs * options.repeats + options.compare_default
    runs += will_retrain(task, options)
    plan = plan_runs(task, first, runs, output, RunStore(store.root).finished(first))
    tried = " or ".join(dict.fromkeys(variant.augmentation for variant in space.variants))
    plan = plan.replace(augmentation=tried)
    if plan.seconds is not None:
        plan = plan.replace(seconds=plan.seconds / options.workers)
    say_plan(plan)
    return plan


def say_plan(plan: Plan) -> None:
    """Tell the plan on stderr, with a warning when it is long."""
    announce(
        f"plan: {plan.runs} x {plan.epochs} epochs of {plan.training_images} images, batch size "
        f"{plan.batch_size}, momentum {plan.momentum:g}, weight decay {plan.weight_decay:g} "
        f"({plan.regularizer}), {plan.schedule} schedule, {plan.augmentation}, head start "
        f"{plan.head_start}, first lr {plan.lr:.3g}; {duration(plan.seconds)} on {plan.device}, up "
        f"to {plan.disk_bytes / 1e6:.0f} MB in {plan.output}"
    )
    if (plan.seconds or 0) > defaults.LONG_SECONDS and plan.device == "cpu":
        announce(
            "warning: that is more than an hour on a CPU; fewer --epochs or --runs, a smaller "
            "--image-size or a GPU (--device cuda) shorten it."
        )
