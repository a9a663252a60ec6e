"""How a peer's recipe trains: a plain PyTorch loop that shares nothing with Kintune's own.

Images come as decoded pixels, and the network as it was loaded; crops, batches, heads, schedules
and the loop are these.
"""

import importlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision import transforms

from kintune.backbones import Backbone, with_new_head
from kintune.data import ImageDataset, with_validation_trained
from kintune.similarity.features import extract_features
from kintune.training.evaluate import evaluate

Transform = Callable[[Image.Image], Tensor]
Share = float
"""Share of training that is over: 0 at the first step."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The network, the images, and what training may cost."""

    backbone: Backbone
    dataset: ImageDataset
    """With a fifth of the training images drawn for validation."""
    steps: int
    """Optimizer steps, in all."""
    run_steps: int
    """Steps of one run of a search, on the training images without those for validation."""
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


def central(backbone: Backbone, *augmentations: Any) -> Transform:
    """The central square, changed by what augments it."""
    spec = backbone.input
    steps = [transforms.CenterCrop(spec.image_size), *augmentations, transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize(spec.mean, spec.std)])


def mirrored(backbone: Backbone) -> Transform:
    """The central square, mirrored in half of the cases."""
    return central(backbone, transforms.RandomHorizontalFlip())


def trivial(backbone: Backbone) -> Transform:
    """The central square, changed by TrivialAugment."""
    return central(backbone, transforms.TrivialAugmentWide())


def timms(backbone: Backbone) -> Transform:
    """What timm's train.py does by default: random resized crop, flip, color jitter 0.4."""
    spec = backbone.input
    made: Any = importlib.import_module("timm.data").create_transform(
        spec.image_size, is_training=True, interpolation="random", mean=spec.mean, std=spec.std
    )
    return made


def probe_head(backbone: Backbone, dataset: ImageDataset) -> tuple[Tensor, Tensor]:
    """Weights and bias of a logistic regression on the frozen features of the training images, its
    strength chosen among ten by cross-validation. Kept for the next method."""
    key = backbone.extractor, dataset.content_hash
    if key not in _heads:
        _heads[key] = _fitted_head(backbone, dataset)
    return _heads[key]


_heads: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}


def _fitted_head(backbone: Backbone, dataset: ImageDataset) -> tuple[Tensor, Tensor]:
    """On features of one common scale: standardized each for itself, a feature that is hardly ever
    active gets a large weight, and fine-tuning from this head diverges at the usual rates."""
    features = extract_features(backbone, dataset, "train")
    folds = max(2, min(5, int(np.bincount(features.labels).min())))
    search: Any = LogisticRegressionCV(  # scikit-learn's annotations lack these values
        cv=folds,
        l1_ratios=(0,),  # pyright: ignore[reportArgumentType]
        scoring="neg_log_loss",
        tol=1e-7,
        max_iter=1000,
        use_legacy_attributes=False,  # pyright: ignore[reportArgumentType]
    )
    values = np.asarray(features.values, np.float64)
    center = values.mean(axis=0)
    scale = np.sqrt(np.square(values - center).sum(axis=1).mean())
    scaled = (values - center) / scale
    # A ridge solution lies in the span of the images: their basis is smaller than the features'.
    basis = np.linalg.qr(scaled.T)[0] if len(scaled) < scaled.shape[1] else np.eye(scaled.shape[1])
    search.fit(scaled @ basis, features.labels)
    weight = (search.coef_ @ basis.T) / scale
    bias = search.intercept_ - weight @ center
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


def trained(
    task: Task, dataset: ImageDataset, recipe: Recipe, steps: int
) -> tuple[nn.Module, dict[str, Any]]:
    """The network after training by a recipe on the training split, and where it diverged: training
    ends where the loss is not finite."""
    seed_everything(task.seed)
    network = started(task, dataset, recipe.head)
    optimizer: Any = recipe.optimizer(network)
    rates = [group["lr"] for group in optimizer.param_groups]
    is_schedule_free = hasattr(optimizer, "eval")
    to_training(network, recipe)
    if is_schedule_free:
        optimizer.train()
    stream = batches(task, dataset, recipe.transform(task.backbone), steps)
    details = {}
    for step, (images, labels) in enumerate(stream):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * recipe.schedule(step / steps)
        loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        if not loss.isfinite():
            details["diverged_at"] = step
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
    return network, details


def seed_everything(seed: int) -> None:
    """For timm's crops, which draw from `random`, and torchvision's transforms."""
    random.seed(seed)
    torch.manual_seed(seed)


def tested(task: Task, network: nn.Module) -> float:
    """Error on the test images, on central crops."""
    return evaluate(network, task.dataset, "test", task.backbone.input).top1_error
