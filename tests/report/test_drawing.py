"""Charts, contours and their two file formats."""

import io
import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image

from kintune.report.charts import Chart, PanelChart, Series, Surface, drawn
from kintune.report.contours import contour_lines, joined, segments
from kintune.report.drawing import Drawing, Path, Text, as_png, as_svg, dashed
from kintune.report.grids import Grid, as_csv, as_markdown


def pixels(drawing):
    return Image.open(io.BytesIO(as_png(drawing))).convert("RGB")


def test_a_line_is_where_it_should_be_in_both_formats():
    line = Path(points=((10, 20), (90, 20)), stroke="#000000", width=2)
    drawing = Drawing(width=100, height=40, shapes=(line,))
    picture = pixels(drawing)
    assert picture.size == (200, 80)
    assert picture.getpixel((100, 40)) == (0, 0, 0)
    assert picture.getpixel((100, 20)) == picture.getpixel((10, 40)) == (255, 255, 255)
    root = ElementTree.fromstring(as_svg(drawing))
    (drawn_line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    assert drawn_line.get("points") == "10.0,20.0 90.0,20.0"


def test_words_are_escaped_in_svg_and_dark_in_png():
    drawing = Drawing(
        width=100, height=40, shapes=(Text(x=50, y=20, text="a < η", anchor="middle"),)
    )
    assert "a &lt; η" in as_svg(drawing)
    dark = _dark(pixels(drawing))
    assert dark
    assert abs(sum(x for x, _ in dark) / len(dark) - 100) < 6
    assert abs(sum(y for _, y in dark) / len(dark) - 40) < 6


def _dark(picture):
    gray = picture.convert("L")
    return [
        (x, y) for x in range(gray.width) for y in range(gray.height) if gray.getpixel((x, y)) < 100
    ]


def test_upright_words_read_upwards():
    flat, upright = (
        _dark(pixels(Drawing(width=60, height=60, shapes=(text,))))
        for text in (
            Text(x=30, y=30, text="words", anchor="middle"),
            Text(x=30, y=30, text="words", anchor="middle", is_upright=True),
        )
    )

    def extent(points, axis):
        values = [point[axis] for point in points]
        return max(values) - min(values)

    assert extent(flat, 0) > extent(flat, 1)
    assert extent(upright, 1) > extent(upright, 0)
    assert abs(sum(y for _, y in upright) / len(upright) - 60) < 6


def test_dashes_go_around_corners_and_keep_their_lengths():
    pieces = dashed([(0.0, 0.0), (3.0, 0.0), (3.0, 5.0)], [4.0, 2.0])
    assert pieces == [[(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)], [(3.0, 3.0), (3.0, 5.0)]]


def test_a_contour_of_a_bowl_is_a_circle():
    axis = [-2 + 0.1 * step for step in range(41)]
    heights = [[x * x + y * y for x in axis] for y in axis]
    lines = joined(list(segments(axis, axis, heights, 1.0)))
    assert len(lines) == 1
    assert lines[0][0] == pytest.approx(lines[0][-1])
    assert all(math.hypot(x, y) == pytest.approx(1, abs=0.01) for x, y in lines[0])


def test_levels_grow_by_equal_factors_within_the_heights():
    levels = [level for level, _ in contour_lines([0, 1], [0, 1], [[0.01, 10.0], [0.01, 10.0]])]
    assert all(0.01 < level < 10 for level in levels)
    ratios = [later / earlier for earlier, later in pairwise(levels)]
    assert max(ratios) / min(ratios) < 1.2


def test_flat_ground_has_no_lines():
    assert contour_lines([0, 1], [0, 1], [[2.0, 2.0], [2.0, 2.0]]) == []


def chart(*panels):
    return Chart(title="a chart", panels=panels)


def texts(drawing):
    return [shape.text for shape in drawing.shapes if isinstance(shape, Text)]


def test_a_panel_has_its_title_axes_and_a_legend_entry_a_label():
    series = (
        Series(label="m = 0", points=((0.01, 30.0), (0.1, 20.0)), spreads=(1.0, 2.0)),
        Series(label="m = 0.9", points=((0.01, 25.0), (0.1, 40.0))),
    )
    panel = PanelChart(title="Dogs", series=series, x_label="rate", y_label="error, %", x_log=True)
    found = texts(drawn(chart(panel)))
    assert {"Dogs", "rate", "error, %", "m = 0", "m = 0.9", "0.01", "0.1"} <= set(found)


def test_lines_differ_without_color():
    """By dashes and by the shape of their marks."""
    series = tuple(
        Series(label=str(place), points=((0.0, 10.0 * place), (1.0, 10.0 * place)))
        for place in range(7)
    )
    shapes = [
        s for s in drawn(chart(PanelChart(title="", series=series))).shapes if isinstance(s, Path)
    ]
    lines = [shape for shape in shapes if shape.width == 1.2 and len(shape.points) == 2]
    assert len({shape.dashes for shape in lines}) == 7
    marks = [shape for shape in shapes if shape.is_closed and shape.width == 0.9]
    looks = set()
    for mark in marks:
        x = mark.points[0][0]
        middle = sum(px for px, _ in mark.points) / len(mark.points)
        looks.add((len(mark.points), mark.fill == "#ffffff", round(x - middle, 1)))
    assert len(looks) == 7


def test_what_lies_above_the_top_is_cut_and_nothing_leaves_the_frame():
    series = (
        Series(label="loss", points=((1.0, 400.0), (2.0, 50.0), (3.0, 10.0)), has_marks=False),
    )
    panel = PanelChart(title="", series=series, y_label="error, %", top=100.0)
    drawing = drawn(chart(panel))
    for shape in drawing.shapes:
        if isinstance(shape, Path):
            assert all(
                0 <= y <= drawing.height and 0 <= x <= drawing.width for x, y in shape.points
            )


def test_a_panel_without_runs_says_so():
    empty = PanelChart(title="later", series=(Series(label="a", points=()),))
    assert texts(drawn(chart(empty))) == ["later", "not yet computed"]


def test_a_surface_names_its_points_and_its_levels():
    axis = tuple(-1 + 0.25 * step for step in range(9))
    heights = tuple(tuple(0.1 + x * x + y * y for x in axis) for y in axis)
    surface = Surface(x=axis, y=axis, heights=heights, named=(("start", 0.5, 0.5),))
    found = texts(drawn(chart(PanelChart(title="bowl", surface=surface))))
    assert {"bowl", "start"} <= set(found)


def test_panels_lie_side_by_side_and_below_each_other():
    panels = [
        PanelChart(title=str(place), series=(Series(label="a", points=((0.0, 1.0), (1.0, 2.0))),))
        for place in range(4)
    ]
    drawing = drawn(Chart(title="", panels=tuple(panels), columns=2))
    titles = [s for s in drawing.shapes if isinstance(s, Text) and s.y % (drawing.height / 2) == 12]
    places = {title.text: (title.x, title.y) for title in titles}
    assert drawing.width == 600
    assert places["1"][0] - places["0"][0] == places["3"][0] - places["2"][0] == 300
    assert places["2"][1] - places["0"][1] == drawing.height / 2


def test_tables_quote_what_their_format_needs():
    grid = Grid(head=("a|b", "c"), rows=(("1,5", ""),), notes=("A note.",))
    assert as_markdown(grid) == "| a\\|b | c |\n| --- | --- |\n| 1,5 |   |\n\nA note.\n"
    assert as_csv(grid) == 'a|b,c\n"1,5",\n'
