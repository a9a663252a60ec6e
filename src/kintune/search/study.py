"""`study.log`: the search as an Optuna study, for `optuna-dashboard`.

A view, never the truth: it is made anew from the trials at every start and holds ended settings
only, so nothing in it can be stale, torn or left running.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintune.base.files import locked
from kintune.base.progress import announce
from kintune.search.space import SearchSpace
from kintune.search.trials import Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

NAME = "study.log"
STUDY = "kintune"
_FIELDS = ("momentum", "weight_decay", "batch_size", "regularizer", "augmentation")


@dataclass
class StudyView:
    """Watches a search and writes what has ended."""

    folder: Path
    space: SearchSpace
    _study: "Study | None" = field(default=None, init=False)
    _is_given_up: bool = field(default=False, init=False)
    _written: set[int] = field(default_factory=set[int], init=False)

    def __call__(self, trials: Sequence[Trial]) -> None:
        """Add what has ended since the last time. A view that cannot be written is given up, which
        is said; the search goes on."""
        if self._is_given_up:
            return
        ended = [t for t in trials if t.is_finished and t.asked.number not in self._written]
        try:
            study = self._study or self._anew()
            for trial in ended:
                study.add_trial(_frozen(trial, self.space))
                self._written.add(trial.asked.number)
        except OSError as error:
            self._is_given_up = True
            announce(f"{self.folder / NAME}: not written ({error.strerror}); the search goes on.")

    def _anew(self) -> "Study":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = self.folder / NAME
        self.folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._study = optuna.create_study(storage=open_journal(path), study_name=STUDY)
        return self._study


def open_journal(path: Path) -> "JournalStorage":
    """Optuna's journal with a lock that the operating system frees when its holder dies.

    The stock lock is a file that outlives a kill and blocks whoever comes next for 30 seconds.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    # It only calls acquire and release; the base class it names is private.
    lock: Any = KernelLock(path.with_name(f"{path.name}.flock"))
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


@dataclass
class KernelLock:
    """A journal lock on `flock`."""

    path: Path
    _held: ExitStack = field(default_factory=ExitStack, init=False)

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._held.enter_context(locked(self.path))
        return True

    def release(self) -> None:
        """Give it back."""
        self._held.close()


def _frozen(trial: Trial, space: SearchSpace) -> "FrozenTrial":
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.trial import create_trial

    setting = trial.asked.config.hyperparameters
    variant = space.variants[trial.point.variant]
    chosen = {name: getattr(variant, name) for name in _FIELDS}
    params = {"effective_lr": trial.point.effective_lr, **chosen}
    low, high = space.bounds
    rate = trial.point.effective_lr
    distributions: dict[str, Any] = {
        "effective_lr": FloatDistribution(min(low, rate), max(high, rate), log=True)
    }
    for name in _FIELDS:
        values = dict.fromkeys(getattr(each, name) for each in space.variants)
        distributions[name] = CategoricalDistribution(list(values))
    return create_trial(
        params=params,
        distributions=distributions,
        value=trial.error,
        user_attrs={
            "number": trial.asked.number,
            "run": trial.asked.config.id,
            "lr": setting.lr,
            "status": [result.status for result in trial.ended],
            "reason": trial.asked.proposal.reason,
        },
    )
