"""Charts of panels whose lines differ in shade, dashes and marks, so that print needs no color."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kintune.report.axes import Scale, log_scale, padded_scale
from kintune.report.contours import contour_lines
from kintune.report.drawing import Drawing, Path, Point, Text
from kintune.report.wording import number

_HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 44
_LEGEND_ROW = 15
_SAMPLE = 26
_LABEL_AT = 0.12
"""Share of the way along a line of equal height, where its height is written."""
_MIN_SPAN = 4.0
"""Smallest span of a percent axis."""

SHADES = ("#000000", "#c04000", "#0060b0", "#808080", "#208040", "#902090", "#a08000")
"""In gray print from dark to light and back: black, rust, blue, gray, green, purple, ochre."""
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2), (8, 3, 2, 3), (4, 4), (1, 3), (10, 4))


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a panel."""

    label: str
    points: tuple[Point, ...]
    spreads: tuple[float, ...] = ()
    """Half length of the error bar of each point; empty for none."""
    bars: tuple[Point, ...] = ()
    """Lower and upper end of each error bar instead, where they are not as far from the point."""
    is_dashed: bool = False
    """Whether this is the second of two lines with one label: drawn dashed and without marks."""
    has_marks: bool = True


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Heights over a plane, drawn as lines of equal height, with named points."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    heights: tuple[tuple[float, ...], ...]
    """A row a y."""
    named: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class PanelChart:
    """One pair of axes."""

    title: str
    series: tuple[Series, ...] = ()
    surface: Surface | None = None
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    categories: tuple[str, ...] = ()
    """Names of x = 0, 1, ..."""
    top: float | None = None
    """Top of the y axis: what lies above is cut."""
    width: float = 300
    """Pixels; the same for all panels of a chart."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Panels side by side and below each other."""

    title: str
    panels: tuple[PanelChart, ...]
    columns: int = 3


def drawn(chart: Chart) -> Drawing:
    """All panels, each with its legend below."""
    columns = min(chart.columns, len(chart.panels))
    legend = max((_legend_height(panel) for panel in chart.panels), default=0)
    height = _HEIGHT + legend
    width = chart.panels[0].width
    shapes: list[Path | Text] = []
    for place, panel in enumerate(chart.panels):
        row, column = divmod(place, columns)
        shapes += _shifted(_panel(panel), column * width, row * height)
    rows = math.ceil(len(chart.panels) / columns)
    return Drawing(
        width=columns * width, height=rows * height, shapes=tuple(shapes), title=chart.title
    )


def _shifted(shapes: Iterable[Path | Text], right: float, down: float) -> list[Path | Text]:
    moved: list[Path | Text] = []
    for shape in shapes:
        if isinstance(shape, Path):
            points = tuple((x + right, y + down) for x, y in shape.points)
            moved.append(_replaced(shape, points))
        else:
            moved.append(
                Text(
                    x=shape.x + right,
                    y=shape.y + down,
                    text=shape.text,
                    size=shape.size,
                    anchor=shape.anchor,
                    is_upright=shape.is_upright,
                )
            )
    return moved


def _replaced(path: Path, points: tuple[Point, ...]) -> Path:
    return Path(
        points=points,
        stroke=path.stroke,
        fill=path.fill,
        width=path.width,
        dashes=path.dashes,
        is_closed=path.is_closed,
    )


def _panel(panel: PanelChart) -> list[Path | Text]:
    if panel.surface is not None:
        return _surface_panel(panel, panel.surface)
    shown = [series for series in panel.series if series.points]
    if not shown:
        nothing = Text(x=panel.width / 2, y=_HEIGHT / 2, text="not yet computed", anchor="middle")
        return [_title(panel), nothing]
    x, y = _x_scale(panel, shown), _y_scale(panel, shown)
    shapes: list[Path | Text] = [*_axes(panel, x, y), _title(panel)]
    for place, label in enumerate(_labels(panel)):
        for series in (each for each in shown if each.label == label):
            shapes += _line(series, place, x, y)
    return [*shapes, *_legend(panel)]


def _title(panel: PanelChart) -> Text:
    return Text(
        x=(_LEFT + panel.width - _RIGHT) / 2, y=12, text=panel.title, size=11, anchor="middle"
    )


def _labels(panel: PanelChart) -> list[str]:
    return list(dict.fromkeys(series.label for series in panel.series))


def _x_scale(panel: PanelChart, shown: Sequence[Series]) -> Scale:
    values = [x for series in shown for x, _ in series.points]
    start, end = _LEFT, panel.width - _RIGHT
    if panel.categories:
        return Scale(low=-0.5, high=len(panel.categories) - 0.5, start=start, end=end)
    if panel.x_log:
        return log_scale(values, start, end)
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.5
    return Scale(low=low - margin, high=high + margin, start=start, end=end)


def _y_scale(panel: PanelChart, shown: Sequence[Series]) -> Scale:
    values = [end for series in shown for bar in _bars(series) for end in bar]
    if panel.top is not None:
        values = [min(value, panel.top) for value in values]
    least = _MIN_SPAN if panel.y_label.endswith("%") else 0.1
    return padded_scale([max(0.0, value) for value in values], _HEIGHT - _BOTTOM, _TOP, least=least)


def _bars(series: Series) -> Sequence[Point]:
    """The ends of the error bar of each point, which is both of them where it has none."""
    spreads = series.spreads or [0.0] * len(series.points)
    pairs = zip(series.points, spreads, strict=True)
    return series.bars or [(y - spread, y + spread) for (_, y), spread in pairs]


def _axes(panel: PanelChart, x: Scale, y: Scale) -> list[Path | Text]:
    bottom, right = _HEIGHT - _BOTTOM, panel.width - _RIGHT
    box = ((_LEFT, _TOP), (right, _TOP), (right, bottom), (_LEFT, bottom))
    shapes: list[Path | Text] = []
    for tick in y.ticks(5):
        shapes.append(
            Path(points=((_LEFT, tick.at), (right, tick.at)), stroke="#dddddd", width=0.5)
        )
        shapes.append(Text(x=_LEFT - 5, y=tick.at, text=tick.text, size=10, anchor="end"))
    for at, text in _x_ticks(panel, x):
        shapes.append(Path(points=((at, bottom), (at, bottom + 4)), width=0.7))
        shapes.append(Text(x=at, y=bottom + 11, text=text, size=10, anchor="middle"))
    shapes.append(Path(points=box, is_closed=True, width=0.8))
    shapes.append(
        Text(x=(_LEFT + right) / 2, y=bottom + 27, text=panel.x_label, size=10, anchor="middle")
    )
    middle = (_TOP + bottom) / 2
    return [
        *shapes,
        Text(x=12, y=middle, text=panel.y_label, size=10, anchor="middle", is_upright=True),
    ]


def _x_ticks(panel: PanelChart, x: Scale) -> list[tuple[float, str]]:
    if panel.categories:
        return [(x(place), name) for place, name in enumerate(panel.categories)]
    return [(tick.at, plain(tick.text)) for tick in x.ticks(6)]


def plain(text: str) -> str:
    """A number without the superscripts that few fonts have.

    >>> plain("1 × 10⁻⁵")
    '1e-5'
    """
    mantissa, _, exponent = text.partition(" × 10")
    if not exponent:
        return text
    return mantissa + "e" + exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))


def _line(series: Series, place: int, x: Scale, y: Scale) -> list[Path | Text]:
    shade = SHADES[place % len(SHADES)]
    top, bottom = _TOP, _HEIGHT - _BOTTOM
    points = tuple((x(a), min(max(y(b), top), bottom)) for a, b in series.points)
    dashes = (3.0, 2.5) if series.is_dashed else DASHES[place % len(DASHES)]
    if not series.has_marks and not series.is_dashed:
        dashes = ()
    shapes: list[Path | Text] = []
    if len(points) > 1:
        shapes.append(Path(points=points, stroke=shade, width=1.2, dashes=dashes))
    for (a, _), (low, high) in zip(series.points, _bars(series), strict=True):
        if high > low:
            ends = ((x(a), y(low)), (x(a), max(y(high), top)))
            shapes.append(Path(points=ends, stroke=shade, width=0.8))
    marked = points if series.has_marks or series.is_dashed else points[-1:]
    shapes += [_mark(place, point, shade) for point in marked]
    return shapes


def _mark(place: int, point: Point, shade: str) -> Path:
    """A shape of its own for each line: circle, square, triangle, diamond ...; open from the fifth
    on."""
    corners = (12, 4, 3, 4, 3, 5, 6)[place % 7]
    turn = (0.0, math.pi / 4, -math.pi / 2, 0.0, math.pi / 2, -math.pi / 2, 0.0)[place % 7]
    radius = 3.6 if corners < 12 else 3.0
    x, y = point
    points = tuple(
        (
            x + radius * math.cos(turn + 2 * math.pi * corner / corners),
            y + radius * math.sin(turn + 2 * math.pi * corner / corners),
        )
        for corner in range(corners)
    )
    fill = shade if place % 7 < 4 else "#ffffff"
    return Path(points=points, stroke=shade, fill=fill, width=0.9, is_closed=True)


def _legend_height(panel: PanelChart) -> float:
    return 6 + _LEGEND_ROW * math.ceil(len(_labels(panel)) / _legend_columns(panel))


def _legend_columns(panel: PanelChart) -> int:
    longest = max((len(label) for label in _labels(panel)), default=0)
    return max(1, int(panel.width - 20) // (_SAMPLE + 12 + 6 * max(longest, 1)))


def _legend(panel: PanelChart) -> list[Path | Text]:
    columns = _legend_columns(panel)
    wide = (panel.width - 20) / columns
    shapes: list[Path | Text] = []
    for place, label in enumerate(_labels(panel)):
        row, column = divmod(place, columns)
        x, y = 14 + column * wide, _HEIGHT + row * _LEGEND_ROW
        shade = SHADES[place % len(SHADES)]
        has_marks = any(each.has_marks for each in panel.series if each.label == label)
        dashes = DASHES[place % len(DASHES)] if has_marks else ()
        ends = ((x, y), (x + _SAMPLE, y))
        shapes.append(Path(points=ends, stroke=shade, width=1.2, dashes=dashes))
        shapes.append(_mark(place, (x + _SAMPLE / 2, y), shade))
        shapes.append(Text(x=x + _SAMPLE + 5, y=y, text=label, size=10))
    return shapes


def _surface_panel(panel: PanelChart, surface: Surface) -> list[Path | Text]:
    bottom, right = _HEIGHT - _BOTTOM, panel.width - _RIGHT
    x = Scale(low=surface.x[0], high=surface.x[-1], start=_LEFT, end=right)
    y = Scale(low=surface.y[0], high=surface.y[-1], start=bottom, end=_TOP)
    shapes: list[Path | Text] = [*_axes(panel, x, y), _title(panel)]
    for level, lines in contour_lines(surface.x, surface.y, surface.heights):
        for place, line in enumerate(sorted(lines, key=len, reverse=True)):
            points = tuple((x(a), y(b)) for a, b in line)
            shapes.append(Path(points=points, stroke="#707070", width=0.8, dashes=(3, 2)))
            if place == 0:
                at = points[round(_LABEL_AT * (len(points) - 1))]
                shapes.append(Text(x=at[0], y=at[1], text=number(level), size=8, anchor="middle"))
    for place, (label, a, b) in enumerate(surface.named):
        shapes.append(_mark(place, (x(a), y(b)), SHADES[place]))
        shapes.append(Text(x=x(a) + 6, y=y(b) - 6, text=label, size=10))
    return shapes
