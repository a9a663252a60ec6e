"""The curves of the reference study, as they are so far, and the cases that they make."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kintune.curves import LEAST_RATES, ErrorCurve, RunError, error_curve, noise_floor
from kintune.experiment import RecordFile, RunArchive, RunRecord
from kintune.experiments.known_facts import FactsFile
from kintune.experiments.recommenders import Case
from kintune.experiments.reference_study import (
    BATCH_SIZE,
    DECAY,
    SOURCES,
    BudgetName,
    SourceName,
    converged,
    curve_runs,
    means,
    point_of,
)

FLAT = 0.01
"""Rates whose smoothed error is this close to the least are not told apart."""
LEAST_NOISE = 0.05
"""Decades: a best rate is not known better than to a fifth of a step of the grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyCurve:
    """Error against rate of one source, target and budget, at the study's usual decay."""

    source: SourceName
    target: str
    budget: BudgetName
    steps: int
    runs: tuple[RunRecord, ...]
    counts: Mapping[str, int]

    @cached_property
    def validation(self) -> ErrorCurve:
        """What may decide."""
        return error_curve(self._errors(lambda run: run.validation_error), self.counts["val"])

    @cached_property
    def test(self) -> ErrorCurve:
        """What scores."""
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
        at = means({point_of(run.config): run.validation_error for run in self.runs})
        return min(at) < min(at, key=lambda rate: at[rate]) < max(at)

    @property
    def unfinished(self) -> tuple[float, ...]:
        """Rates of complete runs whose loss still moved at the end."""
        return tuple(
            run.result.effective_lr
            for run in self.runs
            if run.result.status == "complete" and not converged(run.train_losses)
        )

    def _errors(self, error: Callable[[RunRecord], float]) -> list[RunError]:
        return [
            RunError(round(run.result.effective_lr, 10), error(run), run.config.seed)
            for run in self.runs
        ]


def study_curves(archive: RunArchive) -> Iterator[StudyCurve]:
    """All curves of at least four rates, in the order of the sources and targets."""
    files = {(file.source, file.target): file for file in archive.files()}
    for name, source in SOURCES.items():
        for target in source.targets:
            for budget in source.epochs:
                if (name, target) in files:
                    yield from _curve(files[name, target], name, budget)


def study_cases(curves: Sequence[StudyCurve], facts: FactsFile) -> list[Case]:
    """A case for each curve of a pretrained network whose best rate lies inside.

    Place and noise come from validation errors, as does `regret`, by which models are chosen;
    `final_regret`, by which they are reported, comes from test errors.
    """
    cases: list[Case] = []
    for curve in curves:
        known = facts.find(curve.source, curve.target)
        if known is not None and curve.is_inside and curve.source != "scratch":
            validation, test = curve.validation, curve.test
            low, high = (math.log10(edge) for edge in validation.within(FLAT))
            cases.append(
                Case(
                    target=curve.target,
                    network=curve.source,
                    budget=curve.budget,
                    inputs=known.inputs(curve.steps),
                    place=math.log10(validation.best_rate),
                    noise=max(LEAST_NOISE, (high - low) / math.sqrt(12)),
                    regret=validation.regret,
                    final_regret=test.regret,
                )
            )
    return cases


def _curve(file: RecordFile, source: SourceName, budget: BudgetName) -> Iterator[StudyCurve]:
    points = curve_runs(file.runs, source, budget)
    runs = tuple(run for point, run in points.items() if point.decay == DECAY)
    if len({run.result.effective_lr for run in runs}) >= LEAST_RATES:
        epochs = SOURCES[source].epochs[budget]
        yield StudyCurve(
            source=source,
            target=file.target,
            budget=budget,
            steps=epochs * math.ceil(file.counts["train"] / BATCH_SIZE),
            runs=runs,
            counts=file.counts,
        )
