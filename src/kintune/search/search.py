"""The search: ask an engine, run, tell it, until the budget is spent."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, Literal

from pydantic import Field

from kintune.base.progress import announce
from kintune.base.records import Record
from kintune.executors import LearningCurve, Runner, StopRule
from kintune.runs import RunConfig, RunResult
from kintune.runs.defaults import EngineName
from kintune.runs.setting_text import describe_setting, differing_fields
from kintune.search.engines import ENGINES
from kintune.search.history import WORTH
from kintune.search.trials import Asked, Trial, TrialStore, history_of
from kintune.training import EpochMetrics, read_metrics, replicas

_WAIT: Final = "wait"
_END: Final = "end"


class Budget(Record):
    """How much a search may spend."""

    runs: int = Field(ge=1)
    """Settings that differ."""
    is_at_most: bool = False
    """Whether the engine may end the search before, when it expects nothing more."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Wall-clock time of one start: no run is begun that would probably end after it."""
    max_epochs: int | None = Field(default=None, ge=1)
    """Epochs of all runs together, those of earlier starts too."""


Watcher = Callable[[Sequence[Trial]], None]
"""Sees the trials whenever something has changed."""


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """Space, engine and budget of a search."""

    store: TrialStore
    engine: EngineName
    budget: Budget
    stops_early: bool = True
    """Whether runs that are clearly lost are stopped."""
    watchers: tuple[Watcher, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """The trials by number, and what a person should know about them."""

    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


def search(plan: SearchPlan, runner: Runner) -> SearchOutcome:
    """Run until the budget is spent. The same call goes on where an earlier one was killed.

    Exactly `budget.runs` settings that differ, unless another limit comes first or `is_at_most`
    lets the engine stop; which of them ended the search is among the notes.
    """
    loop = _Loop(plan)
    loop.begin()
    for result in runner.run(loop.configs(), loop.stop_rule):
        loop.tell(result)
    return SearchOutcome(trials=tuple(loop.trials), notes=tuple(loop.notes))


@dataclass
class _Loop:
    plan: SearchPlan
    trials: list[Trial] = field(default_factory=list[Trial])
    notes: list[str] = field(default_factory=list[str])
    began: float = field(default_factory=time.monotonic)

    @property
    def budget(self) -> Budget:
        return self.plan.budget

    def begin(self) -> None:
        """Read what is there."""
        here = replicas()
        found, foreign = here.from_first(self.plan.store.read() if here.is_first else ([], []))
        self.trials = found[: self.budget.runs]
        if len(found) > self.budget.runs:
            more = len(found) - self.budget.runs
            self.note(f"{more} later settings of an earlier, longer search are left out.")
        if foreign:
            names = sorted({n for each in foreign for n in self.plan.store.differences(each)})
            self.note(
                f"{len(foreign)} settings of an earlier search lie outside this one "
                f"({', '.join(names)} differ) and are left out; their folders stay."
            )
        self.changed()

    def configs(self) -> Iterator[RunConfig | None]:
        """Runs to do next: first those that were begun, then those that the engine proposes."""
        here = replicas()
        for trial in tuple(self.trials):
            yield from trial.missing
        while True:
            # Of several replicas the first decides: clocks and disks differ.
            asked = here.from_first(self.decide() if here.is_first else _END)
            if not isinstance(asked, Asked):
                if asked == _END:
                    return
                yield None
                continue
            if here.is_first:
                self.plan.store.write(asked)
            trial = self.plan.store.trial(asked)
            self.trials.append(trial)
            self.announce_start(trial)
            self.changed()
            yield from trial.missing

    def decide(self) -> "Asked | Literal['wait', 'end']":
        """The next proposal; or to wait for a result; or that the search ends, with a note why."""
        if len(self.trials) >= self.budget.runs or self.is_spent():
            return _END
        asked = self.ask()
        if asked is None:
            self.note(
                f"Ended after {len(self.trials)} settings: {self.plan.engine} has tried every rate "
                "between the bounds of the search."
            )
            return _END
        if not self.budget.is_at_most or asked.proposal.is_worth_it:
            return asked
        if any(not trial.is_finished for trial in self.trials):
            return _WAIT
        self.note(
            f"Ended after {len(self.trials)} settings: {self.plan.engine} expects another run to "
            f"lower the error by less than {100 * WORTH:g} points."
        )
        return _END

    def ask(self) -> Asked | None:
        """The engine's next proposal, a function of the trials so far; None where none is left."""
        store = self.plan.store
        history = history_of(self.trials, seed=store.template.seed)
        proposal = ENGINES[self.plan.engine].ask(store.space, history)
        if proposal is None:
            return None
        return Asked(
            number=max((trial.asked.number + 1 for trial in self.trials), default=0),
            engine=self.plan.engine,
            proposal=proposal,
            config=store.config_at(store.space.at(proposal.point)),
        )

    def tell(self, result: RunResult) -> None:
        """A run has ended."""
        for index, trial in enumerate(self.trials):
            if any(config.id == result.id for config in trial.configs):
                self.trials[index] = trial.with_result(result)
        announce(f"  {describe(result)}{self.time_left()}")
        self.changed()

    def changed(self) -> None:
        if not replicas().is_first:
            return
        for watcher in self.plan.watchers:
            watcher(self.trials)

    def note(self, text: str) -> None:
        announce(text)
        self.notes.append(text)

    def announce_start(self, trial: Trial) -> None:
        setting = trial.asked.config.hyperparameters
        fields = differing_fields(self.plan.store.space.variants)
        announce(
            f"run {len(self.trials)} of {self.budget.runs}: "
            f"{describe_setting(setting, fields)} ({trial.asked.proposal.reason})"
        )

    def is_spent(self) -> bool:
        """Whether another setting would break a limit of time or epochs; says so."""
        if self.budget.max_epochs is not None:
            after = self.epochs_spent() + self.epochs_a_setting()
            if after > self.budget.max_epochs:
                self.note(
                    f"Ended after {len(self.trials)} settings: another would make {after} epochs, "
                    f"and {self.budget.max_epochs} were allowed."
                )
                return True
        if self.budget.max_seconds is not None and self.trials:
            after = time.monotonic() - self.began + (self.seconds_a_run() or 0.0)
            if after > self.budget.max_seconds:
                self.note(
                    f"Ended after {len(self.trials)} settings: another would end after about "
                    f"{after:.0f} s, and {self.budget.max_seconds:.0f} s were allowed."
                )
                return True
        return False

    def epochs_a_setting(self) -> int:
        return self.plan.store.repeats * self.plan.store.space.base.epochs

    def epochs_spent(self) -> int:
        """Trained, and promised to runs that are going on."""
        root, epochs = self.plan.store.root, self.plan.store.space.base.epochs
        return sum(
            epochs if result is None else len(read_metrics(root / config.id))
            for trial in self.trials
            for config, result in zip(trial.configs, trial.results, strict=True)
        )

    def seconds_a_run(self) -> float | None:
        """Mean time of the runs that trained to their end."""
        ended = [result for trial in self.trials for result in trial.ended]
        return fmean([r.seconds for r in ended if r.status == "complete"] or [0.0]) or None

    def time_left(self) -> str:
        """The estimate that a person sees while waiting; empty where there is none."""
        seconds = self.seconds_a_run()
        left = self.budget.runs - sum(trial.is_finished for trial in self.trials)
        if seconds is None or not left:
            return ""
        return f"; about {left * self.plan.store.repeats * seconds:.0f} s of training to go"

    def stop_rule(self, config: RunConfig) -> StopRule | None:
        """Rule from the finished runs of its augmentation for the next: harder augmentations fall
        late, by more than others foretell (`results/LOG.md`)."""
        space, root = self.plan.store.space, self.plan.store.root
        if not self.plan.stops_early or space.validation_images is None:
            return None
        curves = [
            _learning_curve(read_metrics(root / result.id))
            for trial in self.trials
            for result in trial.ended
            if result.status == "complete"
            and result.hyperparameters.augmentation == config.hyperparameters.augmentation
        ]
        return StopRule(
            curves=tuple(curve for curve in curves if curve.errors),
            epochs=space.base.epochs,
            validation_images=space.validation_images,
        )


def _learning_curve(rows: Sequence[EpochMetrics]) -> LearningCurve:
    errors = {row.epoch: row.validation_top1_error for row in rows}
    return LearningCurve(
        errors={epoch: error for epoch, error in errors.items() if error is not None}
    )


def describe(result: RunResult) -> str:
    """One line on how a run ended."""
    if result.validation_top1_error is None:
        return f"{result.status}: {result.reason}"
    return (
        f"validation error {result.validation_top1_error:.2%} in {result.seconds:.0f} s "
        f"(lr {result.hyperparameters.lr:.4g})"
    )
