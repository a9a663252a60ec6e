"""Settings of each method: hyperparameters, and an optimizer where it has its own."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch.nn import Parameter
from torch.optim import SGD, Optimizer

from kintune.errors import OptionError
from kintune.hyperparameters import Hyperparameters

MethodName = Literal["usual", "range-test", "bit", "bit-scaled", "prodigy", "dog", "ldog"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)

BIT_LR, BIT_MOMENTUM, BIT_BATCH_SIZE = 0.003, 0.9, 512
BIT_WARMUP = 100 / 500
"""Share of training, as the decays are: the authors' schedule for fewer than 20,000 images."""
BIT_MILESTONES = (200 / 500, 300 / 500, 400 / 500)
DOG_FIRST_STEP = 1e-4
"""`reps_rel`, as a share of 1 + |θ|: the package's own advice for batch normalization."""


@dataclass(frozen=True, kw_only=True)
class OwnOptimizer:
    """An optimizer in place of the engine's."""

    make: Callable[[Sequence[Parameter], Hyperparameters], Optimizer]
    """From parameters; the schedule then sets `lr` in each step."""
    package: str
    """As it is installed."""
    module: str
    call: str
    """How it is made, for the record."""
    is_averaged: bool = False
    """Whether its authors score an average of the weights."""


def _sgd(params: Sequence[Parameter], settings: Hyperparameters) -> Optimizer:
    return SGD(params, settings.lr, settings.momentum, weight_decay=settings.weight_decay)


def _prodigy(params: Sequence[Parameter], settings: Hyperparameters) -> Optimizer:
    from prodigyopt import Prodigy

    return Prodigy(params, lr=settings.lr)


def _dog(params: Sequence[Parameter], settings: Hyperparameters) -> Optimizer:
    from dog import DoG

    return DoG(params, reps_rel=DOG_FIRST_STEP, lr=settings.lr)


def _ldog(params: Sequence[Parameter], settings: Hyperparameters) -> Optimizer:
    from dog import LDoG

    return LDoG(params, reps_rel=DOG_FIRST_STEP, lr=settings.lr)


_BIT = OwnOptimizer(make=_sgd, package="torch", module="torch", call="SGD(momentum=0.9)")
OPTIMIZERS: Mapping[MethodName, OwnOptimizer] = {
    "bit": _BIT,
    "bit-scaled": _BIT,
    "prodigy": OwnOptimizer(
        make=_prodigy, package="prodigyopt", module="prodigyopt", call="Prodigy(lr=1.0)"
    ),
    "dog": OwnOptimizer(
        make=_dog,
        package="dog-optimizer",
        module="dog",
        call=f"DoG(reps_rel={DOG_FIRST_STEP:g})",
        is_averaged=True,
    ),
    "ldog": OwnOptimizer(
        make=_ldog,
        package="dog-optimizer",
        module="dog",
        call=f"LDoG(reps_rel={DOG_FIRST_STEP:g})",
        is_averaged=True,
    ),
}


def settings_of(method: MethodName, study: Hyperparameters) -> Hyperparameters:
    """Settings of a method in the place of a run of the study.

    The range test and the usual rate keep the study's settings, the rate of the former to be found.
    A learning rate of 1 is a factor of what Prodigy and DoG find.
    """
    match method:
        case "usual" | "range-test":
            return study
        case "bit":
            return bit_rule(study, BIT_LR)
        case "bit-scaled":
            return bit_rule(study, BIT_LR * study.batch_size / BIT_BATCH_SIZE)
        case "prodigy":
            return _without_rate(study).replace(schedule="cosine")
        case "dog" | "ldog":
            return _without_rate(study)


def bit_rule(study: Hyperparameters, lr: float) -> Hyperparameters:
    """BiT-HyperRule for a small task, over the epochs and images that there are.

    >>> study = Hyperparameters.as_in_paper(lr=0.01, batch_size=512, epochs=500)
    >>> rule = bit_rule(study, BIT_LR)
    >>> rule.lr, rule.momentum, rule.weight_decay, rule.warmup_epochs
    (0.003, 0.9, 0.0, 100.0)
    """
    changes = {
        "lr": lr,
        "momentum": BIT_MOMENTUM,
        "weight_decay": 0.0,
        "schedule": "step",
        "milestones": BIT_MILESTONES,
        "warmup_epochs": BIT_WARMUP * study.epochs,
    }
    return Hyperparameters(**{**study.to_json(), **changes})


def _without_rate(study: Hyperparameters) -> Hyperparameters:
    changes = {"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    return study.replace(**changes)


def require_packages(methods: Sequence[MethodName]) -> None:
    """Make sure that the methods' packages are installed.

    Raises:
        OptionError: one is not.
    """
    needed = {OPTIMIZERS[method] for method in methods if method in OPTIMIZERS}
    missing = [own.package for own in needed if importlib.util.find_spec(own.module) is None]
    if missing:
        raise OptionError(
            f"{' and '.join(sorted(set(missing)))}: not installed, and needed for what --methods "
            "asks. Install it with pip install 'kintune[baselines]', or name other methods."
        )
