"""Training curves: one line a run, colored by effective learning rate from low to high."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kintune.report.axes import Frame, Scale, padded_scale
from kintune.report.parts import EpochMetrics, Run
from kintune.report.rates import describe_run
from kintune.report.reading import Output
from kintune.report.wording import number, percent

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 390, 290, 46, 62, 12, 46
_LABEL_HEIGHT = 14


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Quantity that a figure shows of each epoch."""

    title: str
    of: Callable[[EpochMetrics], float | None]
    say: Callable[[float], str]
    is_fraction: bool = False


LOSS = Quantity(title="Training loss", of=lambda epoch: epoch.train_loss, say=number)
ERROR = Quantity(
    title="Validation error",
    of=lambda epoch: epoch.validation_top1_error,
    say=percent,
    is_fraction=True,
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A run's values over epochs."""

    name: str
    rate: str
    points: str
    tips: str
    """One text a vertex, parted by |."""
    rank: int
    rank_share: float
    """0 for the lowest effective learning rate, 1 for the highest."""
    is_winner: bool
    end_x: float
    end_y: float
    is_outside: bool
    """Whether its end lies above the figure."""
    label_y: float | None = None
    """Where the rate stands beside the line's end; None where there is no room."""


@dataclass(frozen=True, kw_only=True)
class CurveFigure:
    """Lines over epochs."""

    title: str
    frame: Frame
    lines: tuple[Line, ...]


_Series = Mapping[Run, Sequence[tuple[int, float]]]


def curve_figure(output: Output, quantity: Quantity) -> CurveFigure | None:
    """One quantity over the epochs of every run that recorded it."""
    found = {run: _values(output.curves.get(run.id, ()), quantity) for run in output.runs}
    series = {run: values for run, values in found.items() if values}
    if not series:
        return None
    last_epoch = max(epoch for values in series.values() for epoch, _ in values)
    x = Scale(low=1, high=max(last_epoch, 2), start=_LEFT, end=_WIDTH - _RIGHT)
    least = 0.04 if quantity.is_fraction else 0.1
    y = padded_scale(_deciding_values(series), _HEIGHT - _BOTTOM, _TOP, least=least)
    frame = Frame(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        x_ticks=tuple(tick for tick in x.ticks(6) if "." not in tick.text),
        y_ticks=y.ticks(6, in_percent=quantity.is_fraction),
    )
    lines = _lines(output, series, x, y, quantity)
    return CurveFigure(title=quantity.title, frame=frame, lines=_with_labels(lines, frame))


def _lines(
    output: Output, series: _Series, x: Scale, y: Scale, quantity: Quantity
) -> tuple[Line, ...]:
    far = -_HEIGHT  # above the top: the browser clips the line there
    return tuple(
        Line(
            name=describe_run(run, output.name_of(run)),
            rate=number(run.effective_lr),
            points=" ".join(f"{x(epoch)},{max(y(value), far)}" for epoch, value in values),
            tips="|".join(f"epoch {epoch}: {quantity.say(value)}" for epoch, value in values),
            rank=rank,
            rank_share=round(rank / max(len(series) - 1, 1), 3),
            is_winner=run == output.winner,
            end_x=x(values[-1][0]),
            end_y=max(y(values[-1][1]), _TOP),
            is_outside=y(values[-1][1]) < _TOP,
        )
        for rank, (run, values) in enumerate(series.items())
    )


def _values(epochs: Sequence[EpochMetrics], quantity: Quantity) -> list[tuple[int, float]]:
    pairs = ((epoch.epoch, quantity.of(epoch)) for epoch in epochs)
    return [(epoch, value) for epoch, value in pairs if value is not None]


def _deciding_values(series: _Series) -> list[float]:
    """Values that the axis must hold: a run that diverged must not flatten the others."""
    sound = [values for run, values in series.items() if run.validation_top1_error is not None]
    return [value for values in sound or series.values() for _, value in values]


def _with_labels(lines: Sequence[Line], frame: Frame) -> tuple[Line, ...]:
    """The lines with their labels pushed apart; the winner's comes first where room is short."""
    room = int((frame.bottom - frame.top) // _LABEL_HEIGHT)
    labeled = sorted(lines, key=lambda line: not line.is_winner)[:room]
    heights: dict[int, float] = {}
    lowest_free = frame.top
    for line in sorted(labeled, key=lambda line: line.end_y):
        heights[line.rank] = max(line.end_y, lowest_free)
        lowest_free = heights[line.rank] + _LABEL_HEIGHT
    ceiling = frame.bottom
    for rank in reversed(heights):
        heights[rank] = min(heights[rank], ceiling)
        ceiling = heights[rank] - _LABEL_HEIGHT
    return tuple(replace(line, label_y=heights.get(line.rank)) for line in lines)
