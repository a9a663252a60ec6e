"""The curves of the reference study, as they are so far, and the cases that they make.

A curve takes in every run that was trained as the study trains, whichever study it was made for:
also at rates off the study's grid and with less decay. Not with another momentum, for at the
largest rates the same effective rate without it breaks the weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from statistics import mean

from kintune.curves import MIN_RATES, ErrorCurve, RunError, error_curve, noise_floor
from kintune.errors import KintuneError
from kintune.experiment import RecordFile, RunArchive, RunRecord
from kintune.experiments.known_facts import FactsFile
from kintune.experiments.rate_evidence import log_unit
from kintune.experiments.rate_units import SHIPPED_UNIT
from kintune.experiments.recommenders import Case
from kintune.experiments.reference_study import BATCH_SIZE, DECAY, Point, converged, settings
from kintune.experiments.study_sources import SOURCES, BudgetName, SourceName, network_file
from kintune.experiments.targets import set_of


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyCurve:
    """Error against rate of one source, target and budget."""

    source: SourceName
    target: str
    budget: BudgetName
    steps: int
    runs: tuple[RunRecord, ...]
    counts: Mapping[str, int]

    @cached_property
    def validation(self) -> ErrorCurve:
        """Error that may decide."""
        return error_curve(self._errors(lambda run: run.validation_error), self.counts["val"])

    @cached_property
    def test(self) -> ErrorCurve:
        """Error that scores."""
        return error_curve(self._errors(lambda run: run.test_error), self.counts["test"])

    @property
    def noise_floor(self) -> float | None:
        """Test regret of choosing by one seed's validation errors; None with one seed."""
        return noise_floor(
            self._errors(lambda run: run.validation_error),
            self._errors(lambda run: run.test_error),
            self.counts["test"],
        )

    @property
    def is_inside(self) -> bool:
        """Whether the least validation error lies at neither end."""
        at: dict[float, list[float]] = {}
        for each in self._errors(lambda run: run.validation_error):
            at.setdefault(each.effective_lr, []).append(each.error)
        return min(at) < min(at, key=lambda rate: mean(at[rate])) < max(at)

    @property
    def unfinished(self) -> tuple[float, ...]:
        """Rates of complete runs whose loss still moved at the end."""
        return tuple(
            run.result.effective_lr
            for run in self.runs
            if run.result.status == "complete" and not converged(run.train_losses)
        )

    def _errors(self, error: Callable[[RunRecord], float]) -> list[RunError]:
        """One for each rate and seed, the mean where decays make several of one."""
        found: dict[tuple[float, int], list[float]] = {}
        for run in self.runs:
            found.setdefault((_rate_of(run), run.config.seed), []).append(error(run))
        return [RunError(rate, mean(each), seed) for (rate, seed), each in found.items()]


def study_curves(*archives: RunArchive) -> Iterator[StudyCurve]:
    """All curves of at least four rates, in the order of the sources and targets.

    Raises:
        KintuneError: the archives hold runs on different images of the same name.
    """
    files: dict[tuple[str, str], list[RecordFile]] = {}
    for file in chain.from_iterable(archive.files() for archive in archives):
        files.setdefault((file.source, file.target), []).append(file)
    for name, source in SOURCES.items():
        for target in source.all_targets:
            for budget in source.epochs:
                if (name, target) in files and target in source.targets_of(budget):
                    yield from _curve(files[name, target], name, budget)


def study_cases(
    curves: Sequence[StudyCurve], facts: FactsFile, unit: str = SHIPPED_UNIT
) -> list[Case]:
    """A case for each curve that may be a reference and whose best rate lies inside.

    Place and noise come from validation errors, as does `regret`, by which models are chosen;
    `final_regret`, by which they are reported, comes from test errors.

    Args:
        curves: of a study.
        facts: what was known beforehand.
        unit: what models divide rates by (`kintune.experiments.rate_units`).
    """
    cases: list[Case] = []
    for curve in curves:
        known = facts.find(curve.source, curve.target)
        if known is not None and curve.is_inside and SOURCES[curve.source].is_reference:
            validation, test = curve.validation, curve.test
            cases.append(
                Case(
                    target=set_of(curve.target),
                    network=curve.source,
                    architecture=network_file(curve.source).model,
                    budget=curve.budget,
                    inputs=known.inputs(SOURCES[curve.source].epochs[curve.budget] * known.images),
                    log_rate=math.log10(validation.best_rate),
                    noise=curve.validation.rate_noise,
                    log_unit=log_unit(BATCH_SIZE, known.units[unit]),
                    regret=validation.regret,
                    final_regret=test.regret,
                    validation=(validation.error, curve.counts["val"]),
                )
            )
    return cases


def _curve(
    files: Sequence[RecordFile], source: SourceName, budget: BudgetName
) -> Iterator[StudyCurve]:
    found = {run.config.id_on_any_device: run for file in files for run in file.runs}
    runs = tuple(run for run in found.values() if _is_of(run, source, budget))
    if len({_rate_of(run) for run in runs}) >= MIN_RATES:
        images = {run.config.data_sha256 for run in runs}
        if len(images) > 1:
            raise KintuneError(f"{source}, {files[0].target}: recorded runs are of other images.")
        counts, epochs = files[0].counts, SOURCES[source].epochs[budget]
        yield StudyCurve(
            source=source,
            target=files[0].target,
            budget=budget,
            steps=epochs * math.ceil(counts["train"] / BATCH_SIZE),
            runs=runs,
            counts=counts,
        )


def _rate_of(run: RunRecord) -> float:
    return round(run.result.effective_lr, 10)


def _is_of(run: RunRecord, source: SourceName, budget: BudgetName) -> bool:
    """Whether a run was trained as the study trains, at whatever effective rate."""
    like, config = settings(source, budget, Point(0)), run.config
    used = config.hyperparameters
    free = {name: getattr(like, name) for name in ("lr", "weight_decay")}
    return (
        config.trainable == "all"
        and (config.initialization == "random") == (source == "scratch")
        and used.weight_decay <= DECAY
        and used.replace(**free) == like
    )
