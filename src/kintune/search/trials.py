"""The trials of a search, read from its run folders, the only place where they are kept.

A proposal is written into its run's folder before the run begins. A run with a proposal and no
result is resumed, wherever and whenever the search was killed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from kintune.base.files import is_temporary
from kintune.base.progress import announce
from kintune.base.records import Record
from kintune.runs import RunConfig, RunResult, read_result, write_json
from kintune.runs.hyperparameters import Hyperparameters
from kintune.search.choice import Mistakes
from kintune.search.history import History, Observation, Proposal
from kintune.search.space import Point, SearchSpace

PROPOSAL = "proposal.json"


class Asked(Record):
    """`proposal.json`: who proposed a run, as which, and why."""

    number: int
    """Number of the proposal in its search, from 0."""
    engine: str
    proposal: Proposal
    config: RunConfig
    """Configuration of the first seed."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting of a search with the results of its seeds so far."""

    asked: Asked
    point: Point
    """In the present space."""
    configs: tuple[RunConfig, ...]
    """One a seed."""
    results: tuple[RunResult | None, ...]
    """In the order of `configs`; None for a run that has not ended."""

    @property
    def missing(self) -> tuple[RunConfig, ...]:
        """Runs that are still to do."""
        pairs = zip(self.configs, self.results, strict=True)
        return tuple(config for config, result in pairs if result is None)

    @property
    def is_finished(self) -> bool:
        """Whether all seeds have ended."""
        return not self.missing

    @property
    def ended(self) -> tuple[RunResult, ...]:
        """The results that are there."""
        return tuple(result for result in self.results if result is not None)

    @property
    def error(self) -> float:
        """Mean over the seeds of what each counts."""
        return fmean(counted_error(result) for result in self.ended)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for one seed."""
        errors = [counted_error(result) for result in self.ended]
        return stdev(errors) if len(errors) > 1 else None

    @property
    def is_complete(self) -> bool:
        """Whether every seed trained to its end."""
        return self.is_finished and all(result.status == "complete" for result in self.ended)

    @property
    def mistakes(self) -> tuple[Mistakes, ...]:
        """Mistakes of each seed; empty where one has none on record."""
        found = [result.validation_mistakes for result in self.ended]
        return tuple(each for each in found if each is not None) if None not in found else ()

    def with_result(self, result: RunResult) -> "Trial":
        """The trial when one of its runs has ended."""
        results = tuple(
            result if config.id == result.id else before
            for config, before in zip(self.configs, self.results, strict=True)
        )
        return Trial(asked=self.asked, point=self.point, configs=self.configs, results=results)

    def observation(self) -> Observation:
        """Return the outcome as engines see it."""
        return Observation(
            point=self.point,
            error=self.error,
            is_lost=any(result.status != "complete" for result in self.ended),
            mistakes=self.mistakes,
            too_fast=any(_was_too_fast(result) for result in self.ended),
        )


def counted_error(result: RunResult) -> float:
    """The error that a run counts: its last where it was stopped, 1 where there is none."""
    error = result.validation_top1_error
    if error is None:
        error = result.stopped_at_validation_top1_error
    return 1.0 if error is None else error


def _was_too_fast(result: RunResult) -> bool:
    start = result.first_epoch_loss_ratio
    return result.status == "diverged" or (start is not None and start > 1)


def history_of(trials: Sequence[Trial], seed: int) -> History:
    """The engine's view of the trials."""
    return History(
        finished=tuple(trial.observation() for trial in trials if trial.is_finished),
        pending=tuple(trial.point for trial in trials if not trial.is_finished),
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class TrialStore:
    """The trials of one search in a folder of runs."""

    root: Path
    space: SearchSpace
    template: RunConfig
    """Configuration that every run shares; hyperparameters and seed are replaced."""
    repeats: int = 1

    def config_at(self, setting: Hyperparameters) -> RunConfig:
        """The run of a setting with the first seed."""
        return self.template.replace(hyperparameters=setting)

    def write(self, asked: Asked) -> None:
        """Keep a proposal before its run begins.

        Raises:
            OptionError: it cannot be written.
        """
        write_json(self.root / asked.config.id / PROPOSAL, asked.to_json())

    def trial(self, asked: Asked) -> Trial:
        """A proposal with the results that are there."""
        return self._trial(asked, asked.proposal.point)

    def read(self) -> tuple[list[Trial], list[Asked]]:
        """The trials of this search by number, and the proposals that are not of it.

        Raises:
            OptionError: a file is not what it should be.
        """
        self._tidy()
        asked = [Asked.read(path) for path in self._proposals()]
        asked.sort(key=lambda each: (each.number, each.config.id))
        trials: list[Trial] = []
        foreign: list[Asked] = []
        for each in asked:
            point = self.space.point_of(each.config.hyperparameters)
            if point is None or not self._is_alike(each.config):
                foreign.append(each)
            else:
                trials.append(self._trial(each, point))
        return trials, foreign

    def _proposals(self) -> Iterator[Path]:
        for path in sorted(self.root.glob(f"*/{PROPOSAL}")):
            if Asked.read(path).config.id == path.parent.name:
                yield path
            else:
                announce(
                    f"- {path.parent}: was renamed, or is of an earlier version that named runs by "
                    "their number of threads, too; it is not counted."
                )

    def _tidy(self) -> None:
        """Take away folders in which a kill left nothing but half a proposal."""
        for folder in self.root.glob("*/"):
            left = list(folder.iterdir())
            if all(is_temporary(path) for path in left):
                for path in left:
                    path.unlink()
                folder.rmdir()

    def differences(self, asked: Asked) -> set[str]:
        """Names of what sets a foreign proposal apart from this search."""
        variants, there = self.space.variants, asked.config.hyperparameters
        names = {
            name
            for name, value in there
            if name != "lr" and all(value != getattr(variant, name) for variant in variants)
        }
        others = {n for n, v in asked.config if v != getattr(self.template, n)}
        return names | (others - {"hyperparameters"})

    def _is_alike(self, config: RunConfig) -> bool:
        return config.replace(hyperparameters=self.template.hyperparameters) == self.template

    def _trial(self, asked: Asked, point: Point) -> Trial:
        seeds = range(asked.config.seed, asked.config.seed + self.repeats)
        configs = tuple(asked.config.replace(seed=seed) for seed in seeds)
        results = tuple(self._result(config) for config in configs)
        return Trial(asked=asked, point=point, configs=configs, results=results)

    def _result(self, config: RunConfig) -> RunResult | None:
        """A run that failed gets another try whenever the search is started."""
        result = read_result(self.root / config.id)
        return None if result is not None and result.status == "failed" else result
