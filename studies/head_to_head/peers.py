"""The peers: how others fine-tune a network, in plain PyTorch and with their own packages.

`METHODS` names them. Each takes a `Task`, trains for at most `task.steps` optimizer steps on the
training images alone and returns an `Outcome`. Settings are the published ones; the docstring of
each says whose.
"""

import importlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import torch
from torch import nn
from torch.optim import Optimizer

from kintune.backbones import Backbone
from kintune.training.evaluate import evaluate
from studies.head_to_head.plain_loop import (
    Outcome,
    Recipe,
    Task,
    Transform,
    central,
    constant,
    cosine,
    mirrored,
    started,
    tested,
    timms,
    trained,
    trivial,
    two_drops,
    warm_cosine,
)


def by(recipe: Callable[[Task], Recipe]) -> Callable[[Task], Outcome]:
    """One training by a recipe on all training images, with all steps."""

    def run(task: Task) -> Outcome:
        network, details = trained(task, task.whole, recipe(task), task.steps)
        return Outcome(tested(task, network), task.steps, details)

    return run


def probe(task: Task) -> Outcome:
    """A linear classifier on the frozen features."""
    return Outcome(tested(task, started(task, task.whole, "probe")), 0)


def lp_ft(_task: Task) -> Recipe:
    """Linear probing, then fine-tuning of everything (Kumar et al., ICLR 2022), at a fixed rate."""
    return Recipe(
        optimizer=lambda n: torch.optim.SGD(n.parameters(), 0.01, 0.9, weight_decay=1e-4),
        transform=mirrored,
        schedule=cosine,
    )


def frozen_003(_task: Task) -> Recipe:
    """Everything at an effective rate of 0.03 with frozen batch statistics."""
    return Recipe(
        optimizer=nesterov(0.003, 1e-4),
        transform=mirrored,
        schedule=two_drops,
        frozen_statistics=True,
    )


def _timm(name: str, lr: float, weight_decay: float) -> Recipe:
    """The recipe of timm's train.py: cosine, warm-up, label smoothing 0.1, its augmentation;
    biases and normalization do not decay. Its warm-up of 5 of 300 epochs is a tenth here."""
    return Recipe(
        optimizer=lambda n: importlib.import_module("timm.optim").create_optimizer_v2(
            n, opt=name, lr=lr, weight_decay=weight_decay, momentum=0.9
        ),
        head="random",
        transform=timms,
        schedule=warm_cosine,
        label_smoothing=0.1,
    )


def timm_sgd(task: Task) -> Recipe:
    """The defaults of timm's train.py: Nesterov, 0.1 for 256 images, linear in the batch."""
    return _timm("sgd", 0.1 * task.batch_size / 256, 2e-5)


def timm_sgd_tenth(task: Task) -> Recipe:
    """The same at a tenth of the rate, timm's author's advice for fine-tuning
    (huggingface/pytorch-image-models issue 25)."""
    return _timm("sgd", 0.01 * task.batch_size / 256, 2e-5)


def timm_adamw(task: Task) -> Recipe:
    """AdamW at 1e-3 for 256 images, with the square root of the batch as train.py scales adaptive
    optimizers; decay 0.05 as in the recipes of timm's networks."""
    return _timm("adamw", 1e-3 * math.sqrt(task.batch_size / 256), 0.05)


def autogluon(task: Task) -> Recipe:
    """AutoGluon-MultiModal's default for images (configs/optim/default.yaml): AdamW 1e-4 with layer
    decay 0.9, warm-up of a tenth, weight decay 1e-3, clipping to 1, TrivialAugment. Its batch of
    128, early stopping and soup of three checkpoints are left out."""

    def optimizer(network: nn.Module) -> Optimizer:
        groups = layer_groups(network, task.backbone.head_name, 1e-4, 0.9)
        return torch.optim.AdamW(groups, 1e-4, weight_decay=1e-3)

    return Recipe(
        optimizer=optimizer,
        head="random",
        transform=trivial,
        schedule=warm_cosine,
        clip_grad_norm=1.0,
    )


def layer_groups(
    network: nn.Module, head_name: str, lr: float, decay: float
) -> list[dict[str, Any]]:
    """Parameters by layer, from the input; each layer below the head learns at `decay` times the
    rate of the next. A layer is a numbered block, or what stands outside of the blocks."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parts = name.split(".")
        numbered = [i for i, part in enumerate(parts) if part.isdigit()]
        layer = ".".join(parts[: numbered[-1] + 1] if numbered else parts[:1])
        layers.setdefault("head" if name.startswith(f"{head_name}.") else layer, []).append(
            parameter
        )
    depths = range(len(layers) - 1, -1, -1)
    return [
        {"params": parameters, "lr": lr * decay**depth}
        for depth, parameters in zip(depths, layers.values(), strict=True)
    ]


def prodigy(_task: Task) -> Recipe:
    """Prodigy with the settings of its README: rate 1, cosine, decay 0.01."""
    make = importlib.import_module("prodigyopt").Prodigy
    return Recipe(
        optimizer=lambda n: make(n.parameters(), lr=1.0, weight_decay=0.01),
        transform=mirrored,
        schedule=cosine,
    )


def schedule_free(task: Task) -> Recipe:
    """Schedule-free AdamW at its default rate of 0.0025, with warm-up as its README recommends."""
    make = importlib.import_module("schedulefree").AdamWScheduleFree
    return Recipe(
        optimizer=lambda n: make(n.parameters(), warmup_steps=max(1, task.steps // 20)),
        transform=mirrored,
        schedule=constant,
    )


def searched(task: Task) -> Outcome:
    """Optuna's TPE over rate, decay and batch statistics: as many runs as Kintune has, the best on
    the validation images once more on all training images."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=task.seed))

    def recipe(lr: float, decay: float, statistics: str) -> Recipe:
        return Recipe(
            optimizer=nesterov(lr, decay),
            transform=mirrored,
            schedule=cosine,
            frozen_statistics=statistics == "frozen",
        )

    def objective(trial: optuna.Trial) -> float:
        settings = recipe(
            trial.suggest_float("lr", 1e-4, 0.1, log=True),
            trial.suggest_float("decay", 1e-6, 1e-2, log=True),
            trial.suggest_categorical("statistics", ["frozen", "batch"]),
        )
        return validated(task, settings)

    study.optimize(objective, n_trials=task.runs)
    return trained_again(task, recipe(**study.best_params), study.best_params)


GRID: tuple[tuple[float, bool, Callable[[Backbone], Transform]], ...] = tuple(
    itertools.product(
        np.geomspace(1e-3, 0.3, 10).tolist(), (True, False), (central, mirrored, timms)
    )
)
"""Rates, frozen batch statistics, augmentations."""


def grid(task: Task) -> Outcome:
    """Every point of `GRID`, with the warm-up and the clipping that make large rates usable; of
    equals the first."""
    recipes = [
        Recipe(
            optimizer=nesterov(lr, 1e-4),
            transform=transform,
            schedule=warm_cosine,
            frozen_statistics=is_frozen,
            clip_grad_norm=1.0,
        )
        for lr, is_frozen, transform in GRID
    ]
    errors = [validated(task, each) for each in recipes]
    best = int(np.argmin(errors))
    return trained_again(task, recipes[best], {"point": best, "validation_errors": errors})


def nesterov(lr: float, decay: float) -> Callable[[nn.Module], Optimizer]:
    """SGD with the usual momentum."""
    return lambda n: torch.optim.SGD(n.parameters(), lr, 0.9, weight_decay=decay, nesterov=True)


def validated(task: Task, recipe: Recipe) -> float:
    """Validation error after one run of a search."""
    network, _ = trained(task, task.dataset, recipe, task.run_steps)
    return evaluate(network, task.dataset, "val", task.backbone.input).top1_error


def trained_again(task: Task, recipe: Recipe, details: dict[str, Any]) -> Outcome:
    """The outcome of a search: its best recipe on all training images, with the steps left."""
    rest = task.steps - task.runs * task.run_steps
    network, more = trained(task, task.whole, recipe, rest)
    return Outcome(tested(task, network), task.steps, details | more)


def fastais(with_finder: bool) -> Callable[[Task], Outcome]:
    """fastai, imported where it is used: it is not a dependency."""

    def run(task: Task) -> Outcome:
        return importlib.import_module("fastai_peer").fine_tuned(task, with_finder=with_finder)

    return run


METHODS: dict[str, Callable[[Task], Outcome]] = {
    "probe": probe,
    "lp-ft": by(lp_ft),
    "frozen-0.03": by(frozen_003),
    "timm-sgd": by(timm_sgd),
    "timm-sgd-tenth": by(timm_sgd_tenth),
    "timm-adamw": by(timm_adamw),
    "fastai": fastais(with_finder=False),
    "autogluon": by(autogluon),
    "fastai-lr-find": fastais(with_finder=True),
    "prodigy": by(prodigy),
    "schedule-free": by(schedule_free),
    "optuna": searched,
    "grid": grid,
}
SEARCHES = {"optuna": 4, "grid": len(GRID)}
"""Runs of those that search; the others have the budget of one."""
