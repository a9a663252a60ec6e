"""`kintune reference`: what recommendations rest on, and a person's own runs added to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from pydantic import ConfigDict

from kintune.errors import OptionError
from kintune.hyperparameters import HeadStart, Hyperparameters
from kintune.rate_evidence import origin_of
from kintune.records import Record
from kintune.reference import (
    ReferenceRow,
    ReferenceTable,
    load_reference_tables,
    own_reference_tables,
    own_references_path,
    with_reference,
)
from kintune.runs import RunConfig, RunResult, read_result, write_json
from kintune.similarity import Similarity

ORIGIN = "your own runs: lowest validation error"


class _Recommended(Record):
    """Of `recommendation.json`, what a reference needs; other versions say other things beside."""

    model_config = ConfigDict(extra="ignore")

    trust_ratio: float | None = None
    head_start: HeadStart = "random"


class References(Record):
    """What `reference` returns."""

    path: str
    """Where a person's own references are kept."""
    tables: tuple[ReferenceTable, ...]
    added: tuple[str, ...] = ()
    """Targets that this call added."""


def list_references() -> References:
    """All tables, those that ship first."""
    return References(path=str(own_references_path()), tables=load_reference_tables())


def add_reference(folder: Path) -> References:
    """Add the best rate of an output folder of `kintune tune` to the person's own references.

    From then on it tells of what that network needs, at whatever input size, and a little of what
    others need.

    Raises:
        OptionError: the folder is no such output, or its best rate is not known well enough: there
            is no worse run on both sides of it.
    """
    table = reference_of(folder)
    own = with_reference(own_reference_tables(), table)
    write_json(own_references_path(), [each.to_json() for each in own])
    return References(
        path=str(own_references_path()),
        tables=load_reference_tables(),
        added=tuple(row.target for row in table.rows),
    )


def reference_of(folder: Path) -> ReferenceTable:
    """The row that an output folder makes, in a table of its network.

    Raises:
        OptionError: as `add_reference`.
        IncomparableError: the source's prototypes were clusters.
    """
    if not (folder / "similarity.json").exists():
        raise OptionError(
            f"{folder}: holds no finished search of kintune tune (no similarity.json). Name the "
            "folder that its --output named."
        )
    measured = Similarity.read(folder / "similarity.json")
    recommended = _recommended(folder)
    best = best_inside(folder, _results(folder, recommended and recommended.head_start))
    used, config = best.hyperparameters, RunConfig.read(folder / "runs" / best.id / "config.json")
    return ReferenceTable(
        source=measured.source,
        network=measured.model,
        origin=ORIGIN,
        prototypes_from=origin_of(measured),
        extractor=measured.extractor,
        weights_sha256=config.weights_sha256,
        trust_ratio=recommended and recommended.trust_ratio,
        rows=(
            ReferenceRow(
                target=measured.target,
                relative_distance=measured.relative_distance,
                effective_lr=float(f"{best.effective_lr:.3g}"),
                batch_size=used.batch_size,
                epochs=used.epochs,
                iterations=used.iterations,
                images=measured.images,
                classes=measured.classes,
            ),
        ),
    )


def _recommended(folder: Path) -> _Recommended | None:
    """None where nothing was recommended for that search."""
    path = folder / "recommendation.json"
    return _Recommended.read(path) if path.exists() else None


def best_inside(folder: Path, results: Sequence[RunResult]) -> RunResult:
    """A run at the rate with the lowest mean validation error, of equal ones the smallest.

    Settings that differ in more than the rate are several curves: of these the one with the lowest
    error, of equals the one with more rates.

    Raises:
        OptionError: no worse run lies below it, or none above.
    """
    curves: dict[Hyperparameters, dict[float, list[RunResult]]] = {}
    for result in results:
        at = curves.setdefault(result.hyperparameters.but_rate, {})
        at.setdefault(float(f"{result.effective_lr:.10g}"), []).append(result)
    means = {name: _means(at) for name, at in curves.items()}
    lowest = min(
        means, key=lambda name: (min(means[name].values()), -len(means[name])), default=None
    )
    at, errors = (curves[lowest], means[lowest]) if lowest else ({}, {})
    best = min(errors, key=lambda rate: (errors[rate], rate), default=None)
    worse = [rate for rate, error in errors.items() if best is not None and error > errors[best]]
    if best is None or not worse or not min(worse) < best < max(worse):
        tried = ", ".join(f"{rate:.3g} ({error:.1%})" for rate, error in errors.items()) or "none"
        raise OptionError(
            f"{folder}: its best rate has no worse run on both sides, so that a better one may lie "
            f"beyond. Effective rates tried, with validation errors: {tried}. Go on with the same "
            "kintune tune and a larger --runs."
        )
    return at[best][0]


def _results(folder: Path, head_start: HeadStart | None) -> list[RunResult]:
    """Of runs that trained to their end or diverged, which is worse than any error.

    Those of another start than was recommended (an earlier version, the usual default) are another
    curve.
    """
    found = [read_result(run) for run in sorted((folder / "runs").glob("*"))]
    ended = [run for run in found if run is not None and run.status in ("complete", "diverged")]
    return [run for run in ended if head_start in (None, run.hyperparameters.head_start)]


def _means(at: Mapping[float, Sequence[RunResult]]) -> dict[float, float]:
    """Error at each rate over the seeds, by rate."""
    return {rate: mean(map(_error, each)) for rate, each in sorted(at.items())}


def _error(result: RunResult) -> float:
    error = result.validation_top1_error
    return 1.0 if error is None else error
