"""Tables and figures of records with known numbers."""

import csv
import io

import pytest
from PIL import Image

from kintune_paper.engine.declaration import (
    Cell,
    Experiment,
    Figure,
    Line,
    Measurement,
    Panel,
    Row,
    Table,
    by_value,
)
from kintune_paper.engine.known import KnownRuns
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.engine.rendering import chart_of, grid_of, standing, written


@pytest.fixture
def rates(protocol):
    return protocol.runs("pocket", "near", lr=(0.1, 0.05, 0.01))


@pytest.fixture
def nothing(tmp_path):
    return MeasurementArchive(tmp_path / "measurements")


def one_row(*cells, **changes):
    head = ("", *(str(place) for place, _ in enumerate(cells)))
    return Table(head=head, rows=(Row(labels=("row",), cells=cells),), **changes)


def test_a_cell_is_the_test_error_of_what_validation_chooses(rates, known_of, nothing):
    known = known_of((rates[0], 0.3, 0.1), (rates[1], 0.2, 0.412), (rates[2], 0.25, 0.2))
    table = one_row(
        Cell(choice=rates),
        Cell(choice=rates, kind="effective rate"),
        Cell(choice=rates[:1]),
        Cell(),
        Cell(text="published only"),
    )
    grid = grid_of(table, known, nothing)
    assert grid.rows == (("row", "41.2", "0.5", "10.0", "–", "published only"),)
    assert grid.notes[-1] == "All 3 runs, 1 seed a value."


def test_seeds_give_a_spread_and_gaps_are_said(protocol, known_of, nothing):
    runs = protocol.runs("pocket", "near", seeds=(0, 1, 2))
    other = protocol.runs("pocket", "far")
    known = known_of(*((run, 0.2, error) for run, error in zip(runs, (0.1, 0.2, 0.3), strict=True)))
    table = one_row(Cell(choice=runs), Cell(choice=other))
    assert grid_of(table, known, nothing).rows == (("row", "20.0 ± 10.0", "–"),)
    assert standing(table, known).startswith("3 of 4 runs so far, 3 seeds a value")


def test_a_measured_number_is_put_in_its_place(nothing, known_of):
    measured = Measurement(kind="similarity", network="pocket", target="near")
    nothing.write(measured, {"similarity": 0.9437, "relative_distance": None})
    table = one_row(
        Cell(measurement=measured, fact="similarity"),
        Cell(measurement=measured, fact="relative_distance"),
        Cell(measurement=Measurement(kind="images", target="far"), fact="train"),
    )
    assert grid_of(table, known_of(), nothing).rows == (("row", "0.944", "–", "–"),)


def test_the_points_of_a_line_are_the_best_at_each_rate(protocol, known_of, nothing):
    runs = (
        *protocol.runs("pocket", "near", lr=(0.1, 0.01), momentum=0.9),
        *protocol.runs("pocket", "near", lr=(0.1,), momentum=0.0),
    )
    known = known_of((runs[0], 0.5, 0.5), (runs[1], 0.3, 0.31), (runs[2], 0.2, 0.22))
    line = Line(label="near", points=by_value(runs, lambda used: used.effective_lr))
    figure = Figure(panels=(Panel(title="a", lines=(line,)),), x_log=True, names_best=True)
    series = chart_of(figure, "title", known, nothing).panels[0].series[0]
    assert series.points == ((0.1, 22.0), (1.0, 50.0))
    assert series.label == "near, 22.0, η' = 0.1"


def test_a_learning_curve_is_the_loss_in_percent_of_a_guess_and_validation_errors(
    rates, known_of, nothing
):
    figure = Figure(panels=(Panel(title="a", lines=(Line(label="η", course=rates[:1]),)),))
    chart = chart_of(figure, "title", known_of((rates[0], 0.3, 0.1)), nothing)
    loss, errors = chart.panels[0].series
    # The first loss, 1.0, is half of a guess's.
    assert loss.points == ((1.0, 50.0), (2.0, 25.0), (3.0, 12.5))
    assert errors.points == ((1.0, 60.0), (3.0, 30.0))
    assert (loss.is_dashed, errors.is_dashed) == (False, True)
    assert loss.label == errors.label == "η, 10.0"


def test_a_penalty_runs_over_iterations(protocol, known_of, nothing):
    runs = protocol.runs("pocket", "near", iterations=30, regularizer="l2-sp")
    known = known_of((runs[0], 0.3, 0.25))
    panel = Panel(title="b", lines=(Line(label="near", course=runs),), course="normalized penalty")
    series = chart_of(Figure(panels=(panel,)), "title", known, nothing).panels[0].series[0]
    assert series.points == ((0.0, 1.0), (10.0, 1.5), (20.0, 2.0), (30.0, 2.0))
    assert series.label == "near, 25.0, η = 0.01, λ = 0.0001"


def experiment(view):
    return Experiment(name="table9", title="A table", printed="", declare=lambda _: view)


def test_a_table_is_written_twice(rates, known_of, nothing, protocol, tmp_path):
    view = one_row(Cell(choice=rates[:1]))
    known = known_of((rates[0], 0.3, 0.123))
    paths = written(experiment(view), protocol, known, nothing, tmp_path)
    assert [path.name for path in paths] == ["table9.md", "table9.csv"]
    assert "| row | 12.3 |" in paths[0].read_text()
    assert list(csv.reader(io.StringIO(paths[1].read_text()))) == [["", "0"], ["row", "12.3"]]


def test_a_figure_is_written_twice(rates, known_of, nothing, protocol, tmp_path):
    line = Line(label="near", points=by_value(rates, lambda used: used.lr))
    view = Figure(panels=(Panel(title="a & b", lines=(line,)),), x_label="η")
    known = known_of((rates[0], 0.3), (rates[1], 0.2))
    paths = written(experiment(view), protocol, known, nothing, tmp_path)
    assert [path.name for path in paths] == ["table9.svg", "table9.png"]
    assert "a &amp; b" in paths[0].read_text()
    with Image.open(paths[1]) as picture:
        assert picture.size == (600, 2 * (230 + 21))


def test_nothing_is_written_of_what_is_not_begun(rates, nothing, protocol, tmp_path):
    view = one_row(Cell(choice=rates))
    assert written(experiment(view), protocol, KnownRuns([]), nothing, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
