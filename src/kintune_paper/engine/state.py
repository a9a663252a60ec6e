"""Result of `kintune reproduce`, and its table."""

from collections.abc import Sequence
from typing import Literal

from kintune.base.records import Record


class ExperimentState(Record):
    """One table or figure of the paper under one protocol."""

    name: str
    title: str
    protocol: str
    hours_of: str
    """Unit of the hours: `core` or `GPU`."""
    runs: int
    """Number of runs; several experiments may need the same ones."""
    missing: int
    hours: float
    """Estimate for all runs, those that others share counted here too."""
    missing_hours: float
    measurements: int
    """Quantities that are measured without a run of training, or from finished ones."""
    missing_measurements: int
    state: Literal["complete", "begun", "not begun"]


class StageState(Record):
    """The runs of one stage of a protocol, each counted once."""

    stage: int
    runs: int
    missing: int
    missing_hours: float


class Reproduction(Record):
    """Result of `reproduce`."""

    protocol: str
    experiments: tuple[ExperimentState, ...]
    stages: tuple[StageState, ...]
    """Stages of all experiments here together, in the order in which they are run."""
    results: str
    """Folder of records, tables and figures."""
    failed: tuple[str, ...] = ()
    """Configurations of runs that failed now."""
    written: tuple[str, ...] = ()
    """Tables and figures."""


def reproduction_table(reproduction: Reproduction) -> str:
    """Each experiment with its runs, hours and state; then the stages of them all together."""
    head = ("", "protocol", "runs", "missing", "hours", "missing", "of a", "state", "")
    rows = [
        (
            each.name,
            each.protocol,
            str(each.runs),
            str(each.missing),
            f"{each.hours:.1f}",
            f"{each.missing_hours:.1f}",
            each.hours_of,
            each.state,
            each.title,
        )
        for each in reproduction.experiments
    ]
    stages = [
        (str(each.stage), str(each.runs), str(each.missing), f"{each.missing_hours:.1f}")
        for each in reproduction.stages
    ]
    left = sum(each.missing for each in reproduction.stages)
    hours = sum(each.missing_hours for each in reproduction.stages)
    summary = (
        f"{reproduction.protocol}: {left} runs are missing, each counted once, about {hours:.1f} "
        f"hours. Results: {reproduction.results}"
    )
    lines = [*_aligned([head, *rows]), ""]
    lines += _aligned([("stage", "runs", "missing", "hours"), *stages])
    if reproduction.failed:
        count = f"{len(reproduction.failed)} run{'s' * (len(reproduction.failed) > 1)}"
        summary += f"\n{count} failed: {', '.join(reproduction.failed)}"
    return "\n".join([*lines, summary, *reproduction.written])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
