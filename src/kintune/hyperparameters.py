"""The hyperparameters of one fine-tuning, in the paper's names, and moves between equivalent ones.

The paper is Li et al., "Rethinking the Hyperparameters for Fine-tuning", ICLR 2020.
"""

from typing import Literal

from pydantic import Field

from kintune.records import Record

RegularizerName = Literal["l2", "l2-sp", "none"]
ScheduleName = Literal["step", "cosine", "constant"]
AugmentationName = Literal["random_resized_crop", "random_crop", "flip", "none"]


class Hyperparameters(Record):
    """What is chosen for one run. Learning rate and decay follow equations (1) and (2)."""

    lr: float = Field(gt=0)
    """Learning rate η at the start of the schedule."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum m of Nesterov's accelerated gradient."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay λ; each step takes ηλθ away."""
    batch_size: int = Field(ge=1)
    """Images a step, n."""
    epochs: int = Field(ge=1)
    """Passes over the training images."""
    regularizer: RegularizerName = "l2"
    """What the decay pulls towards: zero (l2) or the pretrained weights (l2-sp)."""
    schedule: ScheduleName = "step"
    """Shape of the learning rate over training; `step` divides by 10 at 1/2 and at 5/6."""
    augmentation: AugmentationName = "random_resized_crop"
    """How training images are varied."""

    @property
    def effective_lr(self) -> float:
        """Effective learning rate η' = η / (1 - m), section 3.3."""
        return effective_lr(self.lr, self.momentum)

    @property
    def effective_weight_decay(self) -> float:
        """The paper's reporting coordinate λ' = λ / η, section 3.3."""
        return self.weight_decay / self.lr

    @property
    def decay_per_step(self) -> float:
        """ηλ, the share of a weight that one step of equation (2) takes away."""
        return self.lr * self.weight_decay

    def with_momentum(self, momentum: float) -> "Hyperparameters":
        """The equivalent setting at another momentum: the same η' and the same ηλ."""
        lr = lr_for(self.effective_lr, momentum)
        decay = self.decay_per_step / lr
        return self.model_copy(update={"lr": lr, "momentum": momentum, "weight_decay": decay})


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
