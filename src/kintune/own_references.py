"""`kintune reference`: what recommendations rest on, and a person's own runs added to it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict

from kintune.curves import ErrorCurve, RunError, error_curve
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

ORIGIN = "your own runs: least smoothed validation error"
MIN_RATES = 3
"""Distinct rates that a best one can be read off: one on either side of it."""


class BestRate(NamedTuple):
    """What a search says of the best effective rate."""

    effective_lr: float
    noise: float
    """Standard deviation, decades."""
    nearest: RunResult
    """The run at the nearest rate."""


class _Recommended(Record):
    """Of `recommendation.json`, what a reference needs; other versions say other things beside."""

    model_config = ConfigDict(extra="ignore")

    trust_ratio: float | None = None
    head_start: HeadStart = "random"


class _Summary(Record):
    """Of `summary.json`, what a reference needs."""

    model_config = ConfigDict(extra="ignore")

    facts: dict[str, Any]


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
    best = best_inside(
        _results(folder, recommended and recommended.head_start),
        _validation_images(folder) or measured.images,
        folder,
    )
    used = best.nearest.hyperparameters
    config = RunConfig.read(folder / "runs" / best.nearest.id / "config.json")
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
                rate_noise=round(best.noise, 3),
            ),
        ),
    )


def _recommended(folder: Path) -> _Recommended | None:
    """None where nothing was recommended for that search."""
    path = folder / "recommendation.json"
    return _Recommended.read(path) if path.exists() else None


def best_inside(results: Sequence[RunResult], images: int, folder: Path) -> BestRate:
    """The rate with the least error of the curve through all runs, as in the references that ship:
    the lowest of several noisy errors is often lowest by chance.

    Settings that differ in more than the rate are several curves. Of those with at least three
    rates the one with the least error is taken, of equals the one with more rates.

    Args:
        results: runs of one search.
        images: validation images that an error was measured on.
        folder: of the search, for the message.

    Raises:
        OptionError: there is no such curve, or its least error is at an end.
    """
    by_setting: dict[Hyperparameters, list[RunResult]] = {}
    for result in results:
        by_setting.setdefault(result.hyperparameters.but_rate, []).append(result)
    found = [
        (error_curve(points, images, min_rates=MIN_RATES), runs)
        for runs in by_setting.values()
        for points in [[RunError(_rate(run), _error(run), run.seed) for run in runs]]
        if len({point.effective_lr for point in points}) >= MIN_RATES
    ]
    best = min(found, key=lambda each: (each[0].least_error, -len(each[1])), default=None)
    if best is None or not _is_inside(best[0]):
        tried = ", ".join(
            f"{_rate(run):.3g} ({_error(run):.1%})" for run in sorted(results, key=_rate)
        )
        raise OptionError(
            f"{folder}: its best rate has no worse run on both sides, so that a better one may lie "
            f"beyond. Effective rates tried, with validation errors: {tried or 'none'}. Repeat the "
            "same kintune tune with a larger --runs."
        )
    curve, runs = best
    nearest = min(runs, key=lambda run: abs(math.log(_rate(run) / curve.best_rate)))
    return BestRate(curve.best_rate, curve.rate_noise, nearest)


def _is_inside(curve: ErrorCurve) -> bool:
    """Whether the error rises from the best rate to both ends."""
    ends = curve.at([10 ** curve.places.min(), 10 ** curve.places.max()])
    return bool((ends > curve.least_error).all())


def _results(folder: Path, head_start: HeadStart | None) -> list[RunResult]:
    """Of runs that trained to their end or diverged, which is worse than any error.

    Those of another start than was recommended (an earlier version, the usual default) are another
    curve.
    """
    found = [read_result(run) for run in sorted((folder / "runs").glob("*"))]
    ended = [run for run in found if run is not None and run.status in ("complete", "diverged")]
    return [run for run in ended if head_start in (None, run.hyperparameters.head_start)]


def _rate(result: RunResult) -> float:
    return float(f"{result.effective_lr:.10g}")


def _validation_images(folder: Path) -> int | None:
    """None where the search has not ended."""
    path = folder / "summary.json"
    return _Summary.read(path).facts["data"]["counts"]["val"] if path.exists() else None


def _error(result: RunResult) -> float:
    error = result.validation_top1_error
    return 1.0 if error is None else error
