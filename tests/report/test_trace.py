"""The search in the report: its course, and the plane of learning rate and momentum."""

import json

import pytest

from kintune.report import write_report
from kintune.report.rates import WIDTHS
from kintune.report.reading import read_output
from kintune.report.trace import plane_figure, trace_figure, tried

SETTINGS = [(0.01, 0.9, 0.3), (0.1, 0.0, 0.31), (0.03, 0.9, None), (0.003, 0.9, 0.2)]


def row(number, lr, momentum, error):
    settings = {"lr": lr, "momentum": momentum, "weight_decay": 0, "batch_size": 8, "epochs": 2}
    return {
        "id": f"run{number}",
        "hyperparameters": settings,
        "status": "complete" if error else "diverged",
        "validation_top1_error": error,
        "mean_validation_top1_error": error,
        "seconds": 1.0,
        "proposed_because": f"reason {number}",
        "taught": f"lesson {number}",
    }


@pytest.fixture
def folder(tmp_path):
    """Four settings of a search, and the usual default beside them, which no search proposed."""
    runs = [row(number, *setting) for number, setting in enumerate(SETTINGS)]
    usual = row(9, 0.02, 0.9, 0.4) | {"proposed_because": None}
    summary = {"runs": [*runs, usual], "best": {"id": "run3"}, "notes": ["it ended so"]}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


@pytest.mark.parametrize("width", WIDTHS)
def test_the_trace_has_the_order_of_the_search_and_the_lowest_so_far(folder, width):
    figure = trace_figure(read_output(folder), width)
    assert [mark.x for mark in figure.marks] == sorted(mark.x for mark in figure.marks)
    assert [mark.kind for mark in figure.marks] == ["run", "run", "lost", "best"]
    steps = [tuple(map(float, point.split(","))) for point in figure.lowest.split()]
    assert steps[0][1] == figure.marks[0].y
    assert steps[-1] == (figure.marks[3].x, figure.marks[3].y)
    heights = [y for _, y in steps]
    assert heights == sorted(heights), "an error that falls goes down the page"


def test_what_no_search_proposed_is_not_in_it(folder):
    assert [run.id for run in tried(read_output(folder))] == ["run0", "run1", "run2", "run3"]


@pytest.mark.parametrize("width", WIDTHS)
def test_equal_effective_rates_lie_on_a_diagonal(folder, width):
    figure = plane_figure(read_output(folder), width)
    usual, plain = figure.cells[0], figure.cells[1]
    [line] = [each for each in figure.diagonals if each.text == "0.1"]

    def across(x, y):
        run, rise = line.x2 - line.x1, line.y2 - line.y1
        return abs((x - line.x1) * rise - (y - line.y1) * run) / (run**2 + rise**2) ** 0.5

    assert across(usual.x, usual.y) < 0.5
    assert across(plain.x, plain.y) < 0.5
    assert across(figure.cells[3].x, figure.cells[3].y) > 20


def test_the_plane_is_colored_by_error(folder):
    cells = plane_figure(read_output(folder), 800).cells
    assert [cell.share for cell in cells] == [pytest.approx(0.909, abs=1e-3), 1, None, 0]
    assert [cell.is_best for cell in cells] == [False, False, False, True]


def test_one_momentum_makes_no_plane_and_one_run_no_trace(folder):
    summary = json.loads((folder / "summary.json").read_text())
    summary["runs"] = [summary["runs"][0]]
    (folder / "summary.json").write_text(json.dumps(summary))
    output = read_output(folder)
    assert plane_figure(output, 800) is None
    assert trace_figure(output, 800) is None


def test_the_page_says_why_each_was_tried_and_what_it_taught(folder):
    page = write_report(folder).read_text()
    for number in range(4):
        assert f"reason {number}" in page
        assert f"lesson {number}" in page
    assert "it ended so" in page
