"""The peers: how others fine-tune a network, as plain PyTorch loops and with their own packages.

`METHODS` names them. Each takes a `Task`, trains for at most `task.steps` optimizer steps on the
training images alone and returns an `Outcome`. Settings are the published ones; the comment beside
each says whose.
"""

import importlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
import timm.data
import timm.optim
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegressionCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision import transforms

from kintune.backbones import Backbone, with_new_head
from kintune.datasets import ImageDataset, with_validation_trained
from kintune.features import extract_features
from kintune.training.evaluate import evaluate

Transform = Callable[[Image.Image], Tensor]
Share = float
"""Of training: 0 at its first step."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The network, the images, and what training may cost."""

    backbone: Backbone
    dataset: ImageDataset
    """With a fifth of the training images drawn for validation."""
    steps: int
    """Of the optimizer, in all."""
    run_steps: int
    """Of one run of a search, on the training images without those for validation."""
    runs: int
    batch_size: int
    seed: int

    @property
    def whole(self) -> ImageDataset:
        """The data set with the validation images trained on."""
        return with_validation_trained(self.dataset)


class Outcome(NamedTuple):
    """Error of a trained network on the test images, and what it took."""

    test_error: float
    steps: int
    details: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a plain loop trains."""

    optimizer: Callable[[nn.Module], Optimizer]
    head: Literal["random", "probe"] = "probe"
    transform: Callable[[Backbone], Transform]
    schedule: Callable[[Share], float]
    """Factor of the learning rate."""
    frozen_statistics: bool = False
    label_smoothing: float = 0.0
    clip_grad_norm: float | None = None


def cosine(share: Share) -> float:
    """Half a cosine from 1 to 0."""
    return (1 + math.cos(math.pi * share)) / 2


def warm_cosine(share: Share) -> float:
    """Linear growth over a tenth of training, then half a cosine."""
    return share / 0.1 if share < 0.1 else cosine((share - 0.1) / 0.9)


def two_drops(share: Share) -> float:
    """Divided by ten at 1/2 and 5/6 of training."""
    return 0.1 ** ((share >= 1 / 2) + (share >= 5 / 6))


def constant(_share: Share) -> float:
    """The same rate throughout."""
    return 1.0


def mirrored(backbone: Backbone) -> Transform:
    """The central square, mirrored in half of the cases."""
    return _central(backbone, transforms.RandomHorizontalFlip())


def trivial(backbone: Backbone) -> Transform:
    """The central square, changed by TrivialAugment."""
    return _central(backbone, transforms.TrivialAugmentWide())


def _central(backbone: Backbone, augmentation: Any) -> Transform:
    spec = backbone.input
    steps = [transforms.CenterCrop(spec.image_size), augmentation, transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize(spec.mean, spec.std)])


def timms(backbone: Backbone) -> Transform:
    """What timm's train.py does by default: random resized crop, flip, color jitter 0.4."""
    spec = backbone.input
    made: Any = timm.data.create_transform(
        spec.image_size, is_training=True, interpolation="random", mean=spec.mean, std=spec.std
    )
    return made


# Head and loop.


def probe_head(backbone: Backbone, dataset: ImageDataset) -> tuple[Tensor, Tensor]:
    """Weights and bias of a logistic regression on standardized frozen features of the training
    images, its strength chosen among ten by cross-validation in up to five folds. Kept for the next
    method."""
    key = backbone.extractor, dataset.content_hash
    if key not in _heads:
        _heads[key] = _fitted_head(backbone, dataset)
    return _heads[key]


_heads: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}


def _fitted_head(backbone: Backbone, dataset: ImageDataset) -> tuple[Tensor, Tensor]:
    features = extract_features(backbone, dataset, "train")
    folds = min(5, int(np.bincount(features.labels).min()))
    search = LogisticRegressionCV(
        cv=max(2, folds), l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
    )
    values = np.asarray(features.values, np.float64)
    scaler = StandardScaler().fit(values)
    scaled = scaler.transform(values)
    # A ridge solution lies in the span of the images: their basis is smaller than the features'.
    basis = np.linalg.qr(scaled.T)[0] if len(scaled) < scaled.shape[1] else np.eye(scaled.shape[1])
    search.fit(scaled @ basis, features.labels)
    weight = (search.coef_ @ basis.T) / scaler.scale_
    bias = search.intercept_ - weight @ scaler.mean_
    if len(weight) == 1:  # of two classes, scikit-learn keeps one row
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()


def started(task: Task, dataset: ImageDataset, head: str) -> nn.Module:
    """The pretrained network with a new head."""
    backbone = task.backbone
    network = with_new_head(backbone, len(dataset.classes), task.seed)
    layer = network.get_submodule(backbone.head_name)
    with torch.no_grad():
        if head == "probe":
            for name, value in zip(("weight", "bias"), probe_head(backbone, dataset), strict=True):
                parameter = layer.get_parameter(name)
                parameter.copy_(value.reshape(parameter.shape))
        elif isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def batches(
    task: Task, dataset: ImageDataset, transform: Transform, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of each step: one shuffled pass after another, no ragged last batch."""
    generator = np.random.default_rng(task.seed)
    indices = dataset.splits["train"]
    size = min(task.batch_size, len(indices))
    passes = math.ceil(steps * size / len(indices))
    order = np.concatenate([generator.permutation(indices) for _ in range(passes)])
    for first in range(0, steps * size, size):
        batch = order[first : first + size]
        images = torch.stack([transform(Image.fromarray(dataset.images[i])) for i in batch])
        labels = torch.from_numpy(dataset.labels[batch])
        yield images.contiguous(memory_format=torch.channels_last), labels


def to_training(network: nn.Module, recipe: Recipe) -> None:
    """Training mode; batch normalization in evaluation mode where statistics are frozen."""
    network.train()
    for module in network.modules():
        if recipe.frozen_statistics and isinstance(module, nn.BatchNorm2d):
            module.eval()


def trained(task: Task, dataset: ImageDataset, recipe: Recipe, steps: int) -> nn.Module:
    """The network after training by a recipe on the training split. Ends early where the loss is
    not finite."""
    seed_everything(task.seed)
    network = started(task, dataset, recipe.head)
    optimizer: Any = recipe.optimizer(network)
    rates = [group["lr"] for group in optimizer.param_groups]
    is_schedule_free = hasattr(optimizer, "eval")
    to_training(network, recipe)
    if is_schedule_free:
        optimizer.train()
    stream = batches(task, dataset, recipe.transform(task.backbone), steps)
    for step, (images, labels) in enumerate(stream):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * recipe.schedule(step / steps)
        loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        if not loss.isfinite():
            break
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_grad_norm)
        optimizer.step()
    if is_schedule_free:
        optimizer.eval()
        with torch.no_grad():  # as its README asks: batch statistics of the averaged weights
            for images, _ in batches(task, dataset, recipe.transform(task.backbone), 50):
                network(images)
    return network


def seed_everything(seed: int) -> None:
    """For timm's crops, which draw from `random`, and torchvision's transforms."""
    random.seed(seed)
    torch.manual_seed(seed)


def tested(task: Task, network: nn.Module) -> float:
    """Error on the test images, on central crops."""
    return evaluate(network, task.dataset, "test", task.backbone.input).top1_error


def by(recipe: Callable[[Task], Recipe]) -> Callable[[Task], Outcome]:
    """One training by a recipe on all training images, with all steps."""

    def run(task: Task) -> Outcome:
        network = trained(task, task.whole, recipe(task), task.steps)
        return Outcome(tested(task, network), task.steps)

    return run


# The methods.


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
        optimizer=lambda n: torch.optim.SGD(
            n.parameters(), 0.003, 0.9, weight_decay=1e-4, nesterov=True
        ),
        transform=mirrored,
        schedule=two_drops,
        frozen_statistics=True,
    )


def _timm(name: str, lr: float, weight_decay: float) -> Recipe:
    """The recipe of timm's train.py: cosine, warm-up, label smoothing 0.1, its augmentation;
    biases and normalization do not decay. Its warm-up of 5 of 300 epochs is a tenth here."""
    return Recipe(
        optimizer=lambda n: timm.optim.create_optimizer_v2(
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
            optimizer=lambda n: torch.optim.SGD(
                n.parameters(), lr, 0.9, weight_decay=decay, nesterov=True
            ),
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
        network = trained(task, task.dataset, settings, task.run_steps)
        return evaluate(network, task.dataset, "val", task.backbone.input).top1_error

    study.optimize(objective, n_trials=task.runs)
    rest = task.steps - task.runs * task.run_steps
    network = trained(task, task.whole, recipe(**study.best_params), rest)
    return Outcome(tested(task, network), task.steps, study.best_params)


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
}
SEARCHES = ("optuna",)
"""Have the budget of several runs; the others that of one."""
