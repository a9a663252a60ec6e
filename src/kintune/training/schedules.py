"""The learning rate over training, as a factor of the learning rate at its start."""

import math

from kintune.runs.hyperparameters import Hyperparameters

_ROUNDING = 1e-9


def total_steps(settings: Hyperparameters, steps_per_epoch: int) -> int:
    """Optimization steps of a whole training."""
    return settings.iterations or settings.epochs * steps_per_epoch


def lr_factor(settings: Hyperparameters, step: int, steps_per_epoch: int) -> float:
    """The factor for step `step` (from 0).

    `step` divides by 10 at each milestone, by default at 1/2 and 5/6, which is the shape of the
    paper's 300 epochs with decays at 150 and 250; `cosine` is half a cosine from 1 to 0; `constant`
    is 1. Each is multiplied by a linear warm-up, whose last step is the first at the full rate.

    >>> settings = Hyperparameters.as_in_paper(lr=0.01, batch_size=256, epochs=300, warmup_epochs=2)
    >>> [round(lr_factor(settings, epoch, 1), 3) for epoch in (0, 1, 149, 150, 250)]
    [0.5, 1.0, 1.0, 0.1, 0.01]
    """
    total = total_steps(settings, steps_per_epoch)
    warm = settings.warmup_epochs * steps_per_epoch
    start = min(1.0, (step + 1) / warm) if warm else 1.0
    match settings.schedule:
        case "constant":
            return start
        case "cosine":
            return start * (1 + math.cos(math.pi * step / total)) / 2
        case "step":
            # 5/6 of 300 is 250 in exact arithmetic and may be a last bit more here.
            passed = [step >= (share - _ROUNDING) * total for share in settings.milestones]
            return start * 10.0 ** -sum(passed)
