"""Which declared runs are recorded already, and what a choice among them comes to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from kintune_paper.engine.declaration import (
    CellKind,
    Choice,
    DeclaredRun,
    Variation,
    run_key,
)
from kintune_paper.run_records import RecordFile, RunArchive, RunRecord


@dataclass(frozen=True)
class _Read:
    """A record file as it was when it was last read."""

    stamp: tuple[int, int]
    file: RecordFile


@dataclass
class KnownRuns:
    """The runs in several folders of record files; read again where a file has changed."""

    archives: Sequence[RunArchive]
    runs: dict[str, RunRecord] = field(default_factory=dict[str, RunRecord])
    """By `DeclaredRun.key`."""
    seeds: dict[str, dict[int, RunRecord]] = field(default_factory=dict[str, dict[int, RunRecord]])
    """By `DeclaredRun.setting_key` and seed."""
    files: dict[tuple[str, str], RecordFile] = field(
        default_factory=dict[tuple[str, str], RecordFile]
    )
    """By network and set; of the first folder that has one."""
    _read: dict[Path, _Read] = field(default_factory=dict[Path, _Read])

    def refresh(self) -> None:
        """Read what was added."""
        for archive in self.archives:
            for path in archive.paths():
                status = path.stat()
                stamp = (status.st_mtime_ns, status.st_size)
                held = self._read.get(path)
                if held is None or held.stamp != stamp:
                    self._read[path] = _Read(stamp, RecordFile.read(path))
                    self._add(self._read[path].file)

    def add(self, source: str, target: str, record: RunRecord) -> None:
        """Take a run in; of two equal ones the first stays."""
        config = record.config
        key = run_key(source, target, config.hyperparameters, config.seed)
        held = self.runs.setdefault(key, record)
        self.seeds.setdefault(key.rpartition("-")[0], {})[config.seed] = held

    def find(self, run: DeclaredRun) -> RunRecord | None:
        """The record of a run."""
        return self.runs.get(run.key)

    def resolved(self, run: DeclaredRun | Variation) -> DeclaredRun | None:
        """The run itself; of a variation the run that it comes to, None where that is not known.

        The best of others is that of their own seeds, so that it stays when more seeds are run.
        """
        if isinstance(run, DeclaredRun):
            return run
        best = self.best_of(run.of, run.kind)
        if best is None:
            return None
        settings = best.settings.replace(**dict(run.change))
        return DeclaredRun(
            network=best.network, target=best.target, settings=settings, seed=run.seed
        )

    def best_of(
        self, runs: Sequence[DeclaredRun], kind: CellKind = "top-1 error"
    ) -> DeclaredRun | None:
        """The run with the lowest validation error, the first of equal ones; None before all are
        recorded."""
        found = [(run, self.find(run)) for run in runs]
        errors = [(_validation(record, kind), run) for run, record in found if record is not None]
        if not runs or len(errors) < len(runs):
            return None
        return min(errors, key=lambda pair: pair[0])[1]

    def _add(self, file: RecordFile) -> None:
        self.files.setdefault((file.source, file.target), file)
        for record in file.runs:
            self.add(file.source, file.target, record)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a choice: the runs of the best setting, one a seed."""

    runs: tuple[RunRecord, ...]
    found: int
    """Settings with at least one run."""
    declared: int
    """Settings that the choice is among."""

    @property
    def effective_lr(self) -> float:
        """η' of the setting."""
        return self.runs[0].config.hyperparameters.effective_lr

    def errors(self, kind: CellKind) -> list[float]:
        """Test errors, one a seed, fractions; 1 for a run that diverged."""
        if kind == "average class error":
            errors = (run.test_average_class_error for run in self.runs)
            return [1.0 if error is None else error for error in errors]
        return [run.test_error for run in self.runs]

    def mean(self, kind: CellKind = "top-1 error") -> float:
        """Mean test error over the seeds."""
        return mean(self.errors(kind))

    def spread(self, kind: CellKind = "top-1 error") -> float | None:
        """Its standard deviation over the seeds; None for one seed."""
        errors = self.errors(kind)
        return stdev(errors) if len(errors) > 1 else None


def outcome(choice: Choice, known: KnownRuns, kind: CellKind = "top-1 error") -> Outcome | None:
    """The setting of a choice with the lowest validation error, and its test errors.

    Settings are compared by the mean over the seeds that all of them have; what is reported is the
    mean over all seeds of the chosen one. Test errors choose nothing.

    Args:
        choice: the runs; of one setting that counts whatever its error is.
        known: the recorded runs.
        kind: compare average class errors or top-1 errors.

    Returns:
        None where no run is recorded.
    """
    resolved = [known.resolved(run) for run in choice]
    keys = list(dict.fromkeys(run.setting_key for run in resolved if run is not None))
    declared = list(
        dict.fromkeys(run.setting_key for run in choice if isinstance(run, DeclaredRun))
    )
    seeds = {key: known.seeds[key] for key in keys if key in known.seeds}
    if not seeds:
        return None
    common = set.intersection(*(set(each) for each in seeds.values()))

    def compared(key: str) -> float:
        each = seeds[key]
        return mean(_validation(each[seed], kind) for seed in (common or each))

    best = seeds[min(seeds, key=compared)]
    return Outcome(
        runs=tuple(best[seed] for seed in sorted(best)),
        found=len(seeds),
        declared=max(len(declared), len(keys)),
    )


def _validation(record: RunRecord, kind: CellKind) -> float:
    if kind == "average class error":
        error = record.result.validation_average_class_error
        return 1.0 if error is None else error
    return record.validation_error


def is_done(run: DeclaredRun | Variation, known: KnownRuns) -> bool:
    """Whether a run is recorded."""
    resolved = known.resolved(run)
    return resolved is not None and known.find(resolved) is not None


def missing(
    runs: Iterable[DeclaredRun | Variation], known: KnownRuns
) -> list[DeclaredRun | Variation]:
    """Those that are not recorded, in their order."""
    return [run for run in runs if not is_done(run, known)]
