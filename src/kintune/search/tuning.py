"""From a command's options to a search: its space, its budget, its runner, its answer."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from kintune.backbones import BackboneOverrides, absolute_model
from kintune.base.errors import OptionError
from kintune.data import absolute_source, with_validation_trained
from kintune.executors import LocalRunner, ProcessRunner, Runner, TaskSource, run_guarded
from kintune.options import SearchOptions
from kintune.options.results import SettingResult
from kintune.recommend import Recommendation, TaskFacts
from kintune.runs import RunConfig, RunResult, defaults, device_kind
from kintune.runs.hyperparameters import Hyperparameters
from kintune.search import (
    Budget,
    Choices,
    SearchPlan,
    SearchSpace,
    Trial,
    TrialStore,
    explain_outcomes,
)
from kintune.search.settings import (
    asked_batch_statistics,
    run_config,
    task_facts,
    training_settings,
)
from kintune.similarity.task import Task, threads


def with_divided_cores(options: SearchOptions) -> SearchOptions:
    """The options with the threads of one run said, where several share the cores."""
    if options.threads is not None or options.workers == 1:
        return options
    return options.replace(threads=max(1, (os.cpu_count() or 1) // options.workers))


def search_space(
    task: Task, options: SearchOptions, recommendation: Recommendation | None
) -> SearchSpace:
    """Around the recommendation, or the rates of the paper's grid without one.

    Raises:
        OptionError: a batch size is larger than the training set.
    """
    images = len(task.dataset.splits["train"])
    if options.batch_sizes and max(options.batch_sizes) > images:
        raise OptionError(
            f"--batch-sizes {max(options.batch_sizes)}: there are {images} training images; at "
            f"most {images}."
        )
    facts = task_facts(task, options)
    lr = recommendation.lr if recommendation else defaults.USUAL_LR
    base = training_settings(options, facts, lr)
    if recommendation is not None:
        base = base.replace(freeze_bn_stats=recommendation.freeze_bn_stats)
    return SearchSpace(
        base=base,
        prior=recommendation.effective_lr if recommendation else None,
        highest_rate=recommendation.highest_rate if recommendation else None,
        choices=_choices(options, facts, recommendation),
        validation_images=len(task.dataset.splits["val"]),
        task=recommendation and recommendation.task,
    )


def _choices(
    options: SearchOptions, facts: TaskFacts, recommendation: Recommendation | None
) -> Choices:
    """Values to try beside the rate: those that were named. Where none were, other recipes, if the
    engine knows what to expect of them and a run is left for it."""
    named = Choices(
        momentum=options.momenta,
        weight_decay=options.weight_decays,
        batch_size=options.batch_sizes,
        regularizer=options.regularizers,
        augmentation=options.augmentations,
    )
    is_open = named == Choices() and options.engine == "recipes" and not options.no_recommendation
    if not is_open or run_count(options) == 1:
        return named
    first = recommendation is None or recommendation.freeze_bn_stats  # there is none in a dry run
    statistics = (first, not first)
    is_chosen = not facts.has_batch_norm or asked_batch_statistics(options) is not None
    return Choices(
        augmentation=() if options.augmentation else defaults.augmentations_for(facts.steps),
        freeze_bn_stats=() if is_chosen else statistics,
    )


def run_count(options: SearchOptions) -> int:
    """Runs that the options allow."""
    return options.runs_at_most or options.runs or defaults.PRESETS[options.preset].runs


def search_plan(task: Task, options: SearchOptions, space: SearchSpace, folder: Path) -> SearchPlan:
    """Plan that the options ask for, in an output folder."""
    return SearchPlan(
        store=TrialStore(
            root=folder / "runs",
            space=space,
            template=template(task, options, space),
            repeats=options.repeats,
        ),
        engine=options.engine,
        budget=Budget(
            runs=run_count(options),
            is_at_most=options.runs_at_most is not None,
            max_seconds=None if options.max_minutes is None else 60 * options.max_minutes,
            max_epochs=options.max_epochs,
        ),
        stops_early=not options.no_early_stopping,
    )


def template(task: Task, options: SearchOptions, space: SearchSpace) -> RunConfig:
    """Configuration that every run of the search shares."""
    return run_config(task, space.base, options).replace(
        initialization="random" if options.from_scratch else "pretrained",
        trainable="head" if options.head_only else "all",
    )


def runner_for(task: Task, options: SearchOptions, root: Path) -> Runner:
    """Where the runs happen.

    Raises:
        OptionError: a flag of the one runner given with the other.
    """
    if options.ray_address and options.runner != "ray":
        raise OptionError(f"--ray-address {options.ray_address}: needs --runner ray.")
    if options.runner == "ray":
        # Ray is an extra: it is imported on use, and nowhere else.
        from kintune.executors.ray import RayRunner

        return RayRunner(
            source=task_source(options),
            root=root,
            workers=options.workers,
            address=options.ray_address,
            device=device_kind(task.device),
            threads=threads(options),
            gpu_share=options.gpu_share,
        )
    if options.workers == 1:
        return LocalRunner(task.backbone, task.dataset, root, device=task.device)
    return ProcessRunner(
        source=task_source(options),
        root=root,
        workers=options.workers,
        devices=_devices(options, task),
        threads=threads(options),
    )


def task_source(options: SearchOptions) -> TaskSource:
    """How workers find network and images: by absolute paths."""
    return TaskSource(
        model=absolute_model(options.model),
        weights=options.weights and options.weights.absolute(),
        overrides=BackboneOverrides(
            image_size=options.image_size,
            mean=options.mean,
            std=options.std,
            model_kwargs=options.model_kwargs,
        ),
        pretrained=not options.from_scratch,
        data=absolute_source(options.data),
        skip_unreadable=options.skip_unreadable,
        decode_memory=options.decode_memory,
        val_fraction=options.val_fraction,
        seed=options.seed,
    )


def _devices(options: SearchOptions, task: Task) -> tuple[str, ...]:
    """All GPUs where none was named, else the one that was."""
    if options.device in ("auto", "cuda") and torch.cuda.is_available():
        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return (task.device,)


def frozen_head_config(task: Task, options: SearchOptions) -> RunConfig:
    """The frozen network with a linear classifier of its features: a run of no epochs, which has no
    learning rate to speak of."""
    settings = Hyperparameters.as_in_paper(
        lr=defaults.USUAL_LR,
        momentum=defaults.MOMENTUM,
        batch_size=task_facts(task, options).batch_size,
        epochs=0,
        augmentation="none",
        head_start="probe",
        freeze_bn_stats=True,
    )
    return run_config(task, settings, options).replace(trainable="head")


def usual_default(config: RunConfig) -> RunConfig:
    """Settings that most fine-tuning uses whatever the data: lr 0.01, momentum 0.9, decay 0.0001, a
    random head."""
    usual = {
        "head_start": "random",
        "freeze_bn_stats": False,
        "clip_grad_norm": None,
        "warmup_epochs": 0,
        "lr": defaults.USUAL_LR,
        "momentum": defaults.MOMENTUM,
        "weight_decay": defaults.WEIGHT_DECAY,
    }
    settings = config.hyperparameters.replace(**usual)
    return config.replace(hyperparameters=settings)


def alone(result: RunResult) -> SettingResult:
    """A run that no search proposed, as a setting of one seed."""
    return SettingResult(
        **result.to_json(), mean_validation_top1_error=result.validation_top1_error
    )


def setting_results(trials: Sequence[Trial], images: int | None) -> tuple[SettingResult, ...]:
    """The trials as a person reads them: one row a setting, other seeds inside it."""
    outcomes = explain_outcomes(trials, images)
    return tuple(
        SettingResult(
            **trial.ended[0].to_json(),
            repeats=trial.ended[1:],
            mean_validation_top1_error=trial.error if trial.is_complete else None,
            standard_deviation=trial.spread if trial.is_complete else None,
            proposed_because=trial.asked.proposal.reason,
            taught=outcome,
        )
        for trial, outcome in zip(trials, outcomes, strict=True)
        if trial.ended
    )


def retrained(task: Task, run_folder: Path, folder: Path) -> Path:
    """Train a run's settings once more on training and validation images together.

    Returns:
        The folder of the model.

    Raises:
        OptionError: the run did not train to its end; the reason is in the message.
    """
    dataset = with_validation_trained(task.dataset)
    config = RunConfig.read(run_folder / "config.json")
    config = config.replace(data_sha256=dataset.content_hash)
    result = run_guarded(task.backbone, dataset, config, folder / config.id, device=task.device)
    if result.status != "complete":
        raise OptionError(f"--retrain: {result.status}: {result.reason}. Omit --retrain.")
    return folder / config.id / "model"
