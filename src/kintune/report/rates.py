"""Figures over the effective learning rate: what runs gave, and what past results suggest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kintune.report.axes import Frame, Scale, log_scale, padded_scale
from kintune.report.parts import RateRange, Recommendation, Run
from kintune.report.reading import UNFINISHED, Output
from kintune.report.wording import counted, number, percent
from kintune.runs.setting_text import describe_fields

WIDTHS = (800, 350)
"""Pixels of a figure on a wide and on a narrow screen: text keeps its size on both."""
_HEIGHT, _LEFT, _RIGHT, _BOTTOM = 360, 64, 12, 48
_BAND_ROW, _LOST_ROW, _MARGIN = 24, 28, 14
_LETTER, _LINE, _GAP = 6.8, 15, 3


@dataclass(frozen=True)
class Band:
    """The recommended range in pixels."""

    low: float
    best: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point with what a pointer over it tells."""

    x: float
    y: float
    tip: str
    name: str = ""
    kind: str = "run"
    size: float = 5.0


@dataclass(frozen=True)
class Label:
    """Text beside a point."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class RateFigure:
    """Points over a logarithmic axis of effective learning rates."""

    frame: Frame
    band: Band | None
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...] = ()
    lost_y: float | None = None


def error_figure(output: Output, width: int) -> RateFigure | None:
    """Validation error of every run that ended over its rate; those without one in a row on top."""
    runs = [run for run in output.runs if run.status != UNFINISHED and run.has_rate]
    if not runs:
        return None
    errors = [run.validation_top1_error for run in runs]
    measured = [error for error in errors if error is not None]
    has_lost = len(measured) < len(runs)
    top, bottom = _BAND_ROW + _LOST_ROW * has_lost, _HEIGHT - _BOTTOM
    lost_y = _BAND_ROW + _LOST_ROW / 2
    band = output.recommendation.effective_lr if output.recommendation else None
    x = log_scale([run.effective_lr for run in runs] + _edges(band), _LEFT, width - _RIGHT)
    y = padded_scale(measured or [0.0, 1.0], bottom, top, least=0.04)
    heights = [lost_y if error is None else y(error) for error in errors]
    marks = tuple(
        _mark(output, run, x(run.effective_lr), height)
        for run, height in zip(runs, heights, strict=True)
    )
    frame = Frame(
        width=width,
        height=_HEIGHT,
        left=_LEFT,
        right=width - _RIGHT,
        top=top,
        bottom=bottom,
        x_ticks=x.ticks(_ticks_for(width)),
        y_ticks=y.ticks(6, in_percent=True),
    )
    return RateFigure(
        frame=frame,
        band=_band(band, x),
        marks=marks,
        labels=_place_labels(marks, frame),
        lost_y=lost_y if has_lost else None,
    )


def evidence_figure(recommendation: Recommendation, width: int) -> RateFigure | None:
    """The best rates of past results, piled up, larger where they weigh more."""
    rows, band = recommendation.evidence, recommendation.effective_lr
    if not rows:
        return None
    heaviest = max(row.weight for row in rows) or 1.0
    radii = [max(2.5, 8 * math.sqrt(max(row.weight, 0.0) / heaviest)) for row in rows]
    x = log_scale([row.effective_lr for row in rows] + _edges(band), _MARGIN, width - _MARGIN)
    columns = [x(row.effective_lr) for row in rows]
    heights = stacked(columns, radii)
    bottom = _BAND_ROW + max(50.0, max(heights) + 12)
    marks = tuple(
        Mark(
            x=column,
            y=round(bottom - height, 1),
            tip=f"{row.source} → {row.target}: best at {number(row.effective_lr)}, "
            f"{percent(row.weight, 0)} of the weight",
            kind="reference",
            size=round(radius, 1),
        )
        for row, column, height, radius in zip(rows, columns, heights, radii, strict=True)
    )
    frame = Frame(
        width=width,
        height=round(bottom) + 42,
        left=_MARGIN,
        right=width - _MARGIN,
        top=_BAND_ROW,
        bottom=bottom,
        x_ticks=x.ticks(_ticks_for(width)),
    )
    return RateFigure(frame=frame, band=_band(band, x), marks=marks)


def stacked(columns: Sequence[float], radii: Sequence[float]) -> list[float]:
    """Heights above the axis at which each circle rests on those before it, touching none."""
    placed: list[tuple[float, float, float]] = []
    for column, radius in zip(columns, radii, strict=True):
        height = radius + _GAP
        for other_column, other_height, other_radius in sorted(placed, key=lambda it: it[1]):
            reach, aside = radius + other_radius + _GAP, abs(column - other_column)
            if math.hypot(aside, height - other_height) < reach:
                height = other_height + math.sqrt(reach**2 - aside**2)
        placed.append((column, height, radius))
    return [height for _, height, _ in placed]


def describe_run(run: Run, name: str = "") -> str:
    """One line on a run, for a pointer over its mark."""
    outcome = f"{run.status}: {run.reason}" if run.reason else run.status
    if run.validation_top1_error is not None:
        outcome = f"validation error {percent(run.validation_top1_error)}"
    settings = run.hyperparameters
    parts = (
        name,
        f"effective learning rate {number(run.effective_lr)}",
        outcome,
        describe_fields(settings, ("momentum", "freeze_bn_stats", "augmentation")),
        counted(settings.epochs, "epoch"),
        f"run {run.id}",
    )
    return " · ".join(part for part in parts if part)


def _mark(output: Output, run: Run, x: float, y: float) -> Mark:
    name = output.name_of(run)
    kind = "best" if run == output.winner else "run"
    if run.validation_top1_error is None:
        kind = "lost"
    tip = describe_run(run, name)
    if kind != "best":
        name = ", ".join(filter(None, (name, describe_fields(run.hyperparameters, output.varied))))
    return Mark(x=x, y=y, tip=tip, name=name, kind=kind)


def _ticks_for(width: int) -> int:
    return max(4, width // 80)


def _edges(band: RateRange | None) -> list[float]:
    return [band.low, band.best, band.high] if band else []


def _band(band: RateRange | None, x: Scale) -> Band | None:
    return Band(x(band.low), x(band.best), x(band.high)) if band else None


_Box = tuple[float, float, float, float]


def _place_labels(marks: Sequence[Mark], frame: Frame) -> tuple[Label, ...]:
    """Each name above, below or beside its point, where it covers nothing; else it is left out. The
    best comes first."""
    taken: list[_Box] = [(m.x - 5, m.y - 5, m.x + 5, m.y + 5) for m in marks]
    placed: list[Label] = []
    for mark in sorted(marks, key=lambda mark: mark.kind != "best"):
        free = (label for label in _candidates(mark) if _is_free(_box(label), taken, frame))
        label = next(free, None)
        if mark.name and label:
            placed.append(label)
            taken.append(_box(label))
    return tuple(placed)


def _candidates(mark: Mark) -> tuple[Label, ...]:
    return (
        Label(mark.x, mark.y - 12, mark.name, "middle"),
        Label(mark.x, mark.y + 22, mark.name, "middle"),
        Label(mark.x + 12, mark.y + 4, mark.name, "start"),
        Label(mark.x - 12, mark.y + 4, mark.name, "end"),
    )


def _box(label: Label) -> _Box:
    width = _LETTER * len(label.text)
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return left, label.y - _LINE + 4, left + width, label.y + 4


def _is_free(box: _Box, taken: Sequence[_Box], frame: Frame) -> bool:
    is_inside = box[0] >= frame.left and box[2] <= frame.right and box[3] <= frame.bottom
    return is_inside and not any(_overlap(box, other) for other in taken)


def _overlap(first: _Box, second: _Box) -> bool:
    is_beside = first[2] <= second[0] or second[2] <= first[0]
    is_above = first[3] <= second[1] or second[3] <= first[1]
    return not (is_beside or is_above)
