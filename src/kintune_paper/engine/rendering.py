"""Declared tables and figures with the numbers of recorded runs: grids, charts, files."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kintune.base.files import write_atomically
from kintune.report.charts import Chart, PanelChart, Series, Surface, drawn
from kintune.report.drawing import as_png, as_svg
from kintune.report.grids import Grid, as_csv, as_markdown
from kintune.report.wording import NO_VALUE
from kintune_paper.engine.declaration import (
    Cell,
    DeclaredRun,
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
    Table,
    choices_of,
    declared_runs,
    measurements_of,
)
from kintune_paper.engine.known import KnownRuns, Outcome, missing, outcome
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.run_records import RunRecord

PLUS_MINUS = " ± "
SELECTION = (
    "Test error in percent, with the standard deviation over seeds where there are several. Of "
    "several settings the one with the lowest validation error counts; test images choose nothing."
)
NORMAL, WIDE = 300, 620
"""Pixels of a panel; wide ones have names below the axis."""
TOP = 100.0
"""Percent: a training loss above that of a guess is cut off."""


def grid_of(table: Table, known: KnownRuns, measurements: MeasurementArchive) -> Grid:
    """A table with its numbers; a dash where nothing is recorded yet."""
    rows = tuple(
        (*row.labels, *(_text(cell, known, measurements) for cell in row.cells))
        for row in table.rows
    )
    has_errors = any(cell.choice for row in table.rows for cell in row.cells)
    return Grid(
        head=table.head,
        rows=rows,
        notes=(*table.notes, *([SELECTION, standing(table, known)] if has_errors else [])),
    )


def _text(cell: Cell, known: KnownRuns, measurements: MeasurementArchive) -> str:
    if cell.measurement is not None:
        found = measurements.read(cell.measurement)
        return _fact(None if found is None else found.get(cell.fact), cell.fact)
    if not cell.choice:
        return cell.text or NO_VALUE
    found = outcome(cell.choice, known, cell.kind)
    if found is None:
        return NO_VALUE
    if cell.kind == "effective rate":
        return f"{found.effective_lr:.3g}"
    return error_text(found, cell)


def error_text(found: Outcome, cell: Cell) -> str:
    """Mean and spread in percent."""
    mean, spread = found.mean(cell.kind), found.spread(cell.kind)
    return f"{100 * mean:.1f}" + ("" if spread is None else f"{PLUS_MINUS}{100 * spread:.1f}")


def _fact(value: Any, name: str) -> str:
    if value is None:
        return NO_VALUE
    if name.endswith("error"):
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def standing(view: Table | Figure, known: KnownRuns) -> str:
    """How much of what a table or figure needs is there, and how many seeds it rests on."""
    runs = declared_runs(view)
    if not runs:
        return "No run of training is needed."
    left = len(missing(runs, known))
    if left == len(runs):
        return f"None of {len(runs)} runs yet."
    found = [outcome(choice, known, kind) for choice, kind in choices_of(view) if choice]
    seeds = {len(each.runs) for each in found if each is not None}
    said = " to ".join(str(count) for count in sorted({min(seeds), max(seeds)})) if seeds else ""
    rests = f", {said} seed{'' if said == '1' else 's'} a value" if said else ""
    if left:
        choices = "; choices are among what is there" if seeds else ""
        return f"{len(runs) - left} of {len(runs)} runs so far{rests}{choices}."
    return f"All {len(runs)} runs{rests}."


def chart_of(
    figure: Figure, title: str, known: KnownRuns, measurements: MeasurementArchive
) -> Chart:
    """A figure with its numbers; a panel says where nothing is recorded yet."""
    panels = tuple(_panel(panel, figure, known, measurements) for panel in figure.panels)
    columns = figure.columns or (2 if len(panels) in (2, 4) else 3)
    return Chart(title=title, panels=panels, columns=columns)


def _panel(
    panel: Panel, figure: Figure, known: KnownRuns, measurements: MeasurementArchive
) -> PanelChart:
    found = None if panel.plane is None else measurements.read(panel.plane)
    is_course = any(line.course for line in panel.lines)
    return PanelChart(
        title=panel.title,
        series=tuple(
            series for line in panel.lines for series in _series(line, panel, figure, known)
        ),
        surface=None if found is None else _surface(found),
        x_label=panel.x_label or figure.x_label,
        y_label=figure.y_label,
        x_log=panel.x_log or figure.x_log,
        categories=figure.categories,
        top=TOP if is_course and panel.course == "errors" else None,
        width=WIDE if figure.categories else NORMAL,
    )


def _surface(found: dict[str, Any]) -> Surface:
    first, second = found["ends"]
    return Surface(
        x=tuple(found["x"]),
        y=tuple(found["y"]),
        heights=tuple(map(tuple, found["loss"])),
        named=(
            ("pretrained", *found["start"]),
            ("m = 0.9", *first),
            ("m = 0", *second),
        ),
    )


def _series(line: Line, panel: Panel, figure: Figure, known: KnownRuns) -> Iterator[Series]:
    if line.course and panel.course == "errors":
        yield from _learning_curves(line, known)
    elif line.course:
        yield _penalty(line, panel, known)
    else:
        yield _errors(line, figure, known)


def _errors(line: Line, figure: Figure, known: KnownRuns) -> Series:
    at = [(x, outcome(choice, known)) for x, choice in line.points]
    there = [(x, found) for x, found in at if found is not None]
    best = outcome(tuple(run for _, choice in line.points for run in choice), known)
    label = line.label
    if figure.names_best and best is not None:  # as in the paper's legends
        label = f"{label}, {100 * best.mean():.1f}, η' = {best.effective_lr:.3g}"
    return Series(
        label=label,
        points=tuple((x, 100 * found.mean()) for x, found in there),
        spreads=tuple(100 * (found.spread() or 0.0) for _, found in there),
    )


def _learning_curves(line: Line, known: KnownRuns) -> Iterator[Series]:
    """Learning curves of the first seed: the training loss in percent of that of a guess, solid;
    validation errors, dashed. The label ends in the test error."""
    found = outcome(line.course, known)
    if found is None:
        yield Series(label=line.label, points=())
        return
    run = found.runs[0]
    label = f"{line.label}, {100 * run.test_error:.1f}"
    yield Series(label=label, points=_shares_of_a_guess(run), has_marks=False)
    errors = tuple((float(epoch), 100 * error) for epoch, error in run.validation_errors)
    yield Series(label=label, points=errors, is_dashed=True, has_marks=False)


def _shares_of_a_guess(run: RunRecord) -> tuple[tuple[float, float], ...]:
    """Training losses in percent of ln K, the loss of a guess among K classes.

    ln K is not recorded itself; the first loss and its recorded ratio give it.
    """
    ratio = run.result.first_epoch_loss_ratio
    if not ratio or not run.train_losses:
        return ()
    guess = run.train_losses[0] / ratio
    return tuple((place + 1.0, 100 * loss / guess) for place, loss in enumerate(run.train_losses))


def _penalty(line: Line, panel: Panel, known: KnownRuns) -> Series:
    """Penalty of the best setting by average class error, the first seed."""
    kind = "average class error"
    found = outcome(line.course, known, kind)
    if found is None:
        return Series(label=line.label, points=())
    run, used = found.runs[0], found.runs[0].config.hyperparameters
    values = run.normalised_l2 if panel.course == "normalized l2" else run.normalised_penalty
    label = (
        f"{line.label}, {100 * found.mean(kind):.1f}, η = {used.lr:g}, λ = {used.weight_decay:g}"
    )
    steps = _steps(line, run, known) / max(len(values), 1)
    points = tuple((steps * (place + 1), value) for place, value in enumerate(values))
    return Series(label=label, points=((0.0, 1.0), *points))


def _steps(line: Line, run: RunRecord, known: KnownRuns) -> int:
    """Iterations of a run on so many images."""
    used = run.config.hyperparameters
    first = next(run for run in line.course if isinstance(run, DeclaredRun))
    file = known.files.get((first.network, first.target))
    if used.iterations is not None or file is None:
        return used.iterations or used.epochs
    return used.epochs * math.ceil(file.counts["train"] / used.batch_size)


def written(
    experiment: Experiment,
    protocol: Protocol,
    known: KnownRuns,
    measurements: MeasurementArchive,
    folder: Path,
) -> list[Path]:
    """Write a table as Markdown and CSV, or a figure as SVG and PNG; nothing of what is not begun.

    Returns:
        The files.
    """
    view = experiment.declare(protocol)
    runs, measured = declared_runs(view), measurements_of(view)
    if len(missing(runs, known)) == len(runs) and not any(map(measurements.has, measured)):
        return []
    stem = folder / experiment.name
    if isinstance(view, Table):
        grid = grid_of(view, known, measurements)
        files = {".md": as_markdown(grid).encode(), ".csv": as_csv(grid).encode()}
    else:
        drawing = drawn(chart_of(view, experiment.title, known, measurements))
        files = {".svg": as_svg(drawing).encode(), ".png": as_png(drawing)}
    for suffix, content in files.items():
        write_atomically(stem.with_suffix(suffix), content)
    return [stem.with_suffix(suffix) for suffix in files]
