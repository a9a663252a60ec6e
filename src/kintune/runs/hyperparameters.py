"""The hyperparameters of one fine-tuning, in the paper's names, and moves between equivalent ones.

The paper is Li et al., "Rethinking the Hyperparameters for Fine-tuning", ICLR 2020.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from kintune.base.records import Record
from kintune.runs import defaults
from kintune.runs.defaults import AugmentationName, HeadStart, RegularizerName, ScheduleName

UpdateConvention = Literal["paper", "torch"]
BatchStatistics = Literal["frozen", "batch"]
"""Those of the source network, or those of each batch."""

MIN_STEP, MAX_STEP = 0.3, 0.7
"""Decades."""
MILESTONES = (1 / 2, 5 / 6)
"""Section 3.1: of 300 epochs, 150 and 250."""
SCRATCH_MILESTONES = (2 / 3, 11 / 12)
"""Appendix F, from random weights: of 600 epochs, 400 and 550."""
SOURCE_MILESTONES = (3 / 4,)
"""Appendix F, making of source models: of 60 epochs, 45."""
APPENDIX_D_MILESTONES = (2 / 3,)
"""Appendix D: of 9,000 iterations, 6,000."""
NEW_PART_DECAY = 0.01
"""β of L2-SP for the new head: the constant of Li et al. (2018), kept in appendix D."""
PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "regularizer": "l2",
        "schedule": "step",
        "augmentation": "random_resized_crop",
        "head_start": "random",
        "clip_grad_norm": None,
        "freeze_bn_stats": False,
    }
)
"""Choices of the paper where `kintune.runs.defaults` has others. A file that does not name one of
these fields is of a run that had this value, and the identity of a run leaves it out: neither
changes with a default."""


class Hyperparameters(Record):
    """Settings of one run. Learning rate and decay follow equations (1) and (2)."""

    lr: float = Field(gt=0)
    """Learning rate η at the start of the schedule."""
    momentum: float = Field(default=defaults.MOMENTUM, ge=0, lt=1)
    """Momentum m of Nesterov's accelerated gradient."""
    weight_decay: float = Field(default=defaults.WEIGHT_DECAY, ge=0)
    """Weight decay λ of L2, or α of L2-SP for the part shared with the source network."""
    batch_size: int = Field(ge=1)
    """Images a step, n."""
    epochs: int = Field(ge=0)
    """Passes over the training images. After 0 the model is the frozen network with the head that
    `head_start` gives."""
    regularizer: RegularizerName = defaults.REGULARIZER
    """Target of the decay: zero (l2) or the pretrained weights (l2-sp)."""
    schedule: ScheduleName = defaults.SCHEDULE
    """Shape of the learning rate over training; `step` divides by 10 at each milestone."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = MILESTONES
    """Milestones of the `step` schedule, as shares of training: the shape is the same at every
    length."""
    warmup_epochs: float = Field(default=0, ge=0)
    """The rate grows linearly over so many epochs."""
    iterations: int | None = Field(default=None, ge=1)
    """Training ends after so many steps, in the last of the `epochs`; None trains those whole."""
    augmentation: AugmentationName = defaults.AUGMENTATION
    """How training images are varied."""
    convention: UpdateConvention = "paper"
    """Where rate and decay stand in the update: see `kintune.training.NesterovSGD`."""
    new_part_decay: float | None = Field(default=None, ge=0)
    """Decay λ2, or β, of the new head; None is the same as the rest for L2 and 0.01 for L2-SP."""
    exempt_bias_and_norm: bool = False
    """Biases and the parameters of normalization do not decay. In the paper everything does."""
    head_start: HeadStart = defaults.HEAD_START
    """The new head's weights at the start: drawn from N(0, 0.01^2) as in the paper, or a linear
    classifier of the frozen features (`kintune.training.head_start`)."""
    head_lr_factor: float = Field(default=1, gt=0)
    """The new head learns at this multiple of the rate."""
    bn_momentum: float | None = Field(default=None, ge=0, lt=1)
    """Share of the running batch statistics that is kept in each step, as in the paper; torch's
    `momentum` is 1 minus it. None leaves the network's own."""
    clip_grad_norm: float | None = Field(default=defaults.CLIP_GRAD_NORM, gt=0)
    """Largest Euclidean norm of the gradient of all trained parameters together; longer gradients
    are shortened to it. None clips nothing, as in the paper."""
    freeze_bn_stats: bool = defaults.FREEZE_BN_STATS
    """Batch normalization uses the source's running statistics, and leaves them alone."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any, info: ValidationInfo) -> Any:
        if info.mode == "json" and isinstance(value, dict):
            return {**PAPER, **cast("dict[str, Any]", value)}
        return value

    @model_serializer(mode="wrap")
    def _leave_out(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        # What is left out of a file is filled in from `PAPER` when it is read.
        return self.without_defaults() if info.exclude_defaults else handler(self)

    @classmethod
    def as_in_paper(cls, **values: Any) -> Self:
        """The paper's choices (`PAPER`) where no other value is given.

        >>> Hyperparameters.as_in_paper(lr=0.01, batch_size=256, epochs=300).head_start
        'random'
        """
        return cls(**{**PAPER, **values})

    @classmethod
    def implied(cls) -> dict[str, Any]:
        """See `PAPER`."""
        return {**super().implied(), **PAPER}

    @model_validator(mode="after")
    def _has_a_head(self) -> Self:
        if self.epochs == 0 and self.head_start != "probe":
            raise ValueError("0 epochs leave a random head; use head_start probe")
        return self

    @property
    def effective_lr(self) -> float:
        """Effective learning rate η' = η / (1 - m), section 3.3."""
        return effective_lr(self.lr, self.momentum)

    @property
    def effective_weight_decay(self) -> float:
        """The paper's reporting coordinate λ' = λ / η, section 3.3."""
        return self.weight_decay / self.lr

    @property
    def decay_lr(self) -> float:
        """Factor of the decay in one step: η in equation (2), η' in torch's convention,
        where decay goes through the velocity and so adds up to 1 / (1 - m) times itself."""
        return self.lr if self.convention == "paper" else self.effective_lr

    @property
    def decay_per_step(self) -> float:
        """Share of a weight that one step takes away: ηλ, or η'λ in torch's convention."""
        return self.decay_lr * self.weight_decay

    @property
    def new_part_coefficient(self) -> float:
        """Decay of the new head: `new_part_decay`, or what stands for None."""
        if self.new_part_decay is not None:
            return self.new_part_decay
        return NEW_PART_DECAY if self.regularizer == "l2-sp" else self.weight_decay

    @property
    def but_rate(self) -> "Hyperparameters":
        """These at lr 1: equal for settings that differ in the learning rate alone."""
        return self.replace(lr=1.0)

    @property
    def equivalence(self) -> tuple[Any, ...]:
        """Equal for equivalent settings: η' and the decay per step, of the new head too, to the 10
        digits of identity; every field but these as it is."""
        acting = {"lr", "momentum", "weight_decay", "new_part_decay"}
        decays = (self.decay_per_step, self.decay_lr * self.new_part_coefficient)
        rest = tuple(value for name, value in self if name not in acting)
        return *(f"{value:.10g}" for value in (self.effective_lr, *decays)), *rest

    def with_momentum(self, momentum: float) -> "Hyperparameters":
        """The equivalent setting at another momentum: the same η' and the same decay per step, of
        the new head too."""
        moved = self.replace(lr=lr_for(self.effective_lr, momentum), momentum=momentum)
        factor = self.decay_lr / moved.decay_lr
        update: dict[str, float] = {"weight_decay": self.weight_decay * factor}
        if self.new_part_decay is not None or self.regularizer == "l2-sp":
            update["new_part_decay"] = self.new_part_coefficient * factor
        return moved.replace(**update)


def effective_lr(lr: float, momentum: float) -> float:
    """η' = η / (1 - m), section 3.3.

    >>> round(effective_lr(0.01, 0.9), 10)
    0.1
    """
    return lr / (1 - momentum)


def lr_for(effective: float, momentum: float) -> float:
    """The learning rate η = η' (1 - m) that gives an effective learning rate at a momentum.

    >>> round(lr_for(0.1, 0.9), 10)
    0.01
    """
    return effective * (1 - momentum)


def bn_momentum_for(steps_per_epoch: int) -> float:
    """The rule of Kornblith et al. (2019) for the share kept: max(1 - 10/s, 0.9), appendix C.

    >>> [bn_momentum_for(steps) for steps in (10, 100, 1000)]
    [0.9, 0.9, 0.99]
    """
    return max(1 - 10 / steps_per_epoch, 0.9)


def appendix_d(
    steps_per_epoch: int, *, regularizer: RegularizerName, lr: float, weight_decay: float
) -> Hyperparameters:
    """The setting of appendix D, in which Table 5 compares L2 with L2-SP.

    Batch size 64, 9,000 iterations with one decay at 6,000, momentum 0.9; λ2 = λ1 for L2 and 0.01
    for L2-SP. It rests on the code of Li et al. (2018), which has decay inside the gradient and the
    rate outside the velocity, as torch does, and penalizes weights alone, not biases and
    normalization. That code's momentum does not look ahead; this one does, as the paper's.

    Args:
        steps_per_epoch: batches of 64 in the training images (`kintune.training.batch_bounds`):
            says how many passes 9,000 iterations are.
        regularizer: one of the two that are compared.
        lr: η, one of `APPENDIX_D_LRS` in the paper.
        weight_decay: λ1, one of `APPENDIX_D_DECAYS`.

    >>> setting = appendix_d(188, regularizer="l2-sp", lr=0.005, weight_decay=0.1)
    >>> setting.epochs, setting.new_part_coefficient
    (48, 0.01)
    """
    return Hyperparameters.as_in_paper(
        lr=lr,
        momentum=0.9,
        weight_decay=weight_decay,
        batch_size=64,
        epochs=math.ceil(9000 / steps_per_epoch),
        iterations=9000,
        milestones=APPENDIX_D_MILESTONES,
        regularizer=regularizer,
        convention="torch",
        exempt_bias_and_norm=True,
    )


APPENDIX_D_LRS = (0.02, 0.01, 0.005, 0.001, 0.0001)
APPENDIX_D_DECAYS = (0.1, 0.01, 0.001, 0.0001)


class RateRange(Record):
    """Effective learning rates: where the best one is expected, and the best guess.

    Raises:
        ValueError: `low` is not below `high`, or `best` is not between them.
    """

    low: float = Field(gt=0)
    best: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not (self.low < self.high and self.low <= self.best <= self.high):
            raise ValueError(
                f"low < high and low <= best <= high must hold, got {self.low:g}, {self.best:g}, "
                f"{self.high:g}"
            )
        return self

    @property
    def beside(self) -> tuple[float, float]:
        """The effective rates a step below and above the best guess: after a run at each it is
        known on which side the best one lies."""
        factor = 10 ** outward_step(self.low, self.high)
        return self.best / factor, self.best * factor


def outward_step(low: float, high: float) -> float:
    """Decades from one rate to the next that is tried, in a range of effective rates: a third of
    the range, within `MIN_STEP` and `MAX_STEP`.

    >>> outward_step(0.01, 0.1), outward_step(0.001, 10)
    (0.3333333333333333, 0.7)
    """
    return min(MAX_STEP, max(MIN_STEP, math.log10(high / low) / 3))
