"""The learning rate over training, as a factor of the learning rate at its start."""

import math

from kintune.hyperparameters import ScheduleName


def lr_factor(schedule: ScheduleName, step: int, total: int) -> float:
    """The factor for step `step` (from 0) of `total`.

    `step` divides by 10 at 1/2 and at 5/6 of training, the shape of the paper's 300 epochs with
    decays at 150 and 250; `cosine` is half a cosine from 1 to 0; `constant` is 1.

    >>> [lr_factor("step", epoch, 300) for epoch in (149, 150, 249, 250)]
    [1.0, 0.1, 0.1, 0.01]
    """
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + math.cos(math.pi * step / total)) / 2
        case "step":
            # In whole numbers, so that a boundary never moves by a rounding error.
            return (1.0, 0.1, 0.01)[(2 * step >= total) + (6 * step >= 5 * total)]
