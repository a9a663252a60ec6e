"""Figures of a search: its course from run to run, and the plane of learning rate and momentum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kintune.report.axes import Frame, Scale, Tick, log_scale, padded_scale
from kintune.report.parts import Run
from kintune.report.rates import Mark, describe_run
from kintune.report.reading import Output
from kintune.report.wording import number

_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 64, 12, 16, 48
_PLANE_LEFT = 80


@dataclass(frozen=True, kw_only=True)
class TraceFigure:
    """Errors in the order in which settings were tried, and the lowest so far."""

    frame: Frame
    marks: tuple[Mark, ...]
    lowest: str
    """Points of a line of steps; empty where nothing has an error."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A setting in the plane."""

    x: float
    y: float
    share: float | None
    """0 for the lowest error in the plane, 1 for the highest; None where there is none."""
    tip: str
    is_best: bool


@dataclass(frozen=True, kw_only=True)
class Diagonal:
    """Settings of one effective learning rate."""

    x1: float
    y1: float
    x2: float
    y2: float
    text: str


@dataclass(frozen=True, kw_only=True)
class PlaneFigure:
    """Settings over lr and 1 / (1 - m), both logarithmic: equal rates η' lie on diagonals."""

    frame: Frame
    cells: tuple[Cell, ...]
    diagonals: tuple[Diagonal, ...]


def tried(output: Output) -> tuple[Run, ...]:
    """The settings that a search proposed, in their order; none of anything else."""
    return tuple(run for run in output.summary.runs if run.proposed_because is not None)


def compared_error(run: Run) -> float | None:
    """The error that settings are compared by: the mean over seeds where there are several."""
    mean = run.mean_validation_top1_error
    return run.validation_top1_error if mean is None else mean


def trace_figure(output: Output, width: int) -> TraceFigure | None:
    """The course of a search of at least two settings."""
    runs = tried(output)
    errors = [compared_error(run) for run in runs]
    measured = [error for error in errors if error is not None]
    if len(runs) < 2 or not measured:
        return None
    bottom = _HEIGHT - _BOTTOM
    x = Scale(low=0.5, high=len(runs) + 0.5, start=_LEFT, end=width - _RIGHT)
    y = padded_scale(measured, bottom, _TOP + 20, least=0.04)
    marks = tuple(
        Mark(
            x=x(order),
            y=_TOP + 6 if error is None else y(error),
            tip=describe_run(run, f"run {order}"),
            kind="lost" if error is None else "best" if run.id == _winner(output) else "run",
        )
        for order, (run, error) in enumerate(zip(runs, errors, strict=True), start=1)
    )
    every = math.ceil(len(runs) / max(4, width // 60))
    frame = Frame(
        width=width,
        height=_HEIGHT,
        left=_LEFT,
        right=width - _RIGHT,
        top=_TOP,
        bottom=bottom,
        x_ticks=tuple(Tick(x(n), str(n)) for n in range(1, len(runs) + 1, every)),
        y_ticks=y.ticks(5, in_percent=True),
    )
    return TraceFigure(frame=frame, marks=marks, lowest=_steps(errors, x, y))


def _winner(output: Output) -> str | None:
    return output.winner.id if output.winner else None


def _steps(errors: Sequence[float | None], x: Scale, y: Scale) -> str:
    """The lowest error so far, level until a run lowers it."""
    points: list[str] = []
    lowest: float | None = None
    for order, error in enumerate(errors, start=1):
        if error is not None and (lowest is None or error < lowest):
            if lowest is not None:
                points.append(f"{x(order)},{y(lowest)}")
            lowest = error
        if lowest is not None:
            points.append(f"{x(order)},{y(lowest)}")
    return " ".join(points)


def plane_figure(output: Output, width: int) -> PlaneFigure | None:
    """Learning rate against momentum, where a search tried more than one momentum."""
    runs = tried(output)
    if len({run.hyperparameters.momentum for run in runs}) < 2:
        return None
    x = log_scale([run.hyperparameters.lr for run in runs], _PLANE_LEFT, width - _RIGHT)
    gains = sorted({1 / (1 - run.hyperparameters.momentum) for run in runs})
    y = log_scale(gains, _HEIGHT - _BOTTOM, _TOP)
    frame = Frame(
        width=width,
        height=_HEIGHT,
        left=_PLANE_LEFT,
        right=width - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        x_ticks=x.ticks(max(4, width // 80)),
        y_ticks=tuple(Tick(y(gain), f"m = {number(1 - 1 / gain)}") for gain in gains),
    )
    return PlaneFigure(frame=frame, cells=_cells(output, runs, x, y), diagonals=_diagonals(x, y))


def _cells(output: Output, runs: Sequence[Run], x: Scale, y: Scale) -> tuple[Cell, ...]:
    errors = [error for error in map(compared_error, runs) if error is not None]
    low, high = (min(errors), max(errors)) if errors else (0.0, 1.0)
    span = max(high - low, 1e-9)
    return tuple(
        Cell(
            x=x(run.hyperparameters.lr),
            y=y(1 / (1 - run.hyperparameters.momentum)),
            share=None if error is None else round((error - low) / span, 3),
            tip=describe_run(run),
            is_best=run.id == _winner(output),
        )
        for run, error in zip(runs, map(compared_error, runs), strict=True)
    )


def _diagonals(x: Scale, y: Scale) -> tuple[Diagonal, ...]:
    """Lines of equal lr / (1 - m) at every power of ten that crosses the plane."""
    least, most = x.low * y.low, x.high * y.high
    powers = range(math.ceil(math.log10(least)), math.floor(math.log10(most)) + 1)
    lines: list[Diagonal] = []
    for rate in (10.0**power for power in powers):
        left, right = max(x.low, rate / y.high), min(x.high, rate / y.low)
        if right > left:
            lines.append(
                Diagonal(
                    x1=x(left),
                    y1=y(rate / left),
                    x2=x(right),
                    y2=y(rate / right),
                    text=number(rate),
                )
            )
    return tuple(lines)
