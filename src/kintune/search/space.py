"""The space that is searched: effective learning rate, around a recommendation."""

from kintune.hyperparameters import Hyperparameters, lr_for
from kintune.recommend import RateRange, Recommendation
from kintune.records import Record


class SearchSpace(Record):
    """Effective learning rates to try, and everything that stays the same."""

    effective_lr: RateRange
    """Where the best is expected. The engine starts at `best` and may leave the range."""
    base: Hyperparameters
    """Momentum, decay, batch size, epochs, regulariser of every run."""

    def at(self, effective_lr: float) -> Hyperparameters:
        """The hyperparameters of a run at an effective learning rate."""
        return self.base.model_copy(update={"lr": lr_for(effective_lr, self.base.momentum)})


def around(recommendation: Recommendation) -> SearchSpace:
    """The recommended range, with the recommended hyperparameters as the base."""
    return SearchSpace(
        effective_lr=recommendation.effective_lr, base=recommendation.hyperparameters
    )
