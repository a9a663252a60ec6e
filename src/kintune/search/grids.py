"""The grids of the paper, as lists of settings."""

from collections.abc import Sequence
from typing import Any

from kintune.base.errors import OptionError
from kintune.base.records import Record
from kintune.runs.hyperparameters import (
    APPENDIX_D_DECAYS,
    APPENDIX_D_LRS,
    SCRATCH_MILESTONES,
    Hyperparameters,
    RegularizerName,
    appendix_d,
)
from kintune.search.space import rounded_to_identity


def distinct(
    settings: Sequence[Hyperparameters], *, merge_equivalent: bool = False
) -> tuple[Hyperparameters, ...]:
    """The settings without repetitions, in their order; the first of equals stays.

    Identical settings always merge. Equivalent ones (the same η' and the same decay per step) merge
    on request.
    """
    kept: dict[tuple[Any, ...], Hyperparameters] = {}
    for setting in settings:
        key = setting.equivalence if merge_equivalent else _identity(setting)
        kept.setdefault(key, setting)
    return tuple(kept.values())


def _identity(setting: Hyperparameters) -> tuple[Any, ...]:
    return tuple(rounded_to_identity(v) if isinstance(v, float) else v for _, v in setting)


class Grid(Record):
    """A list of settings as it was printed, with repetitions."""

    printed: tuple[Hyperparameters, ...]
    studies_momentum: bool = False
    """Equivalent settings are the subject of such an experiment and are never merged."""

    @property
    def settings(self) -> tuple[Hyperparameters, ...]:
        """Identical settings merged."""
        return distinct(self.printed)

    @property
    def effective_lrs(self) -> tuple[float, ...]:
        """The distinct effective learning rates, ascending."""
        return tuple(sorted({rounded_to_identity(s.effective_lr) for s in self.printed}))

    def merged(self) -> tuple[Hyperparameters, ...]:
        """Equivalent settings merged too.

        Raises:
            OptionError: the grid studies momentum.
        """
        if self.studies_momentum:
            raise OptionError(
                "This grid studies momentum: settings that are equivalent but for their momentum "
                "are what it compares, and they are not merged. Use all of its settings."
            )
        return distinct(self.printed, merge_equivalent=True)


def paper_grid(batch_size: int = 256, epochs: int = 300, *, studies_momentum: bool = False) -> Grid:
    """The grid of section 3.1 as it is printed, momentum 0.9 twice: 144 lines.

    >>> grid = paper_grid()
    >>> len(grid.printed), len(grid.settings), len(grid.merged()), len(grid.effective_lrs)
    (144, 120, 92, 17)
    """
    lrs, momenta = (0.1, 0.05, 0.01, 0.005, 0.001, 0.0001), (0.9, 0.99, 0.95, 0.9, 0.8, 0.0)
    decays = (0.0, 0.0001, 0.0005, 0.001)
    printed = _product(lrs, momenta, decays, batch_size, epochs)
    return Grid(printed=printed, studies_momentum=studies_momentum)


def scratch_grid(batch_size: int = 256, epochs: int = 600) -> Grid:
    """The grid from random weights (appendix F): three rates, two decays, momentum 0.9."""
    printed = _product((0.1, 0.2, 0.5), (0.9,), (0.0001, 0.0005), batch_size, epochs)
    longer = {"milestones": SCRATCH_MILESTONES}
    return Grid(printed=tuple(setting.replace(**longer) for setting in printed))


def appendix_d_grid(steps_per_epoch: int, regularizer: RegularizerName = "l2") -> Grid:
    """The grid in which appendix D compares L2 with L2-SP: five rates, four decays.

    Args:
        steps_per_epoch: batches of 64 in the training split: says how many passes 9,000 iterations
            are.
        regularizer: l2 or l2-sp.

    >>> settings = appendix_d_grid(188).settings
    >>> len(settings), settings[0].epochs
    (20, 48)
    """
    return Grid(
        printed=tuple(
            appendix_d(steps_per_epoch, regularizer=regularizer, lr=lr, weight_decay=decay)
            for lr in APPENDIX_D_LRS
            for decay in APPENDIX_D_DECAYS
        )
    )


def _product(
    lrs: Sequence[float],
    momenta: Sequence[float],
    decays: Sequence[float],
    batch_size: int,
    epochs: int,
) -> tuple[Hyperparameters, ...]:
    return tuple(
        Hyperparameters.as_in_paper(
            lr=lr, momentum=m, weight_decay=d, batch_size=batch_size, epochs=epochs
        )
        for m in momenta
        for lr in lrs
        for d in decays
    )
