"""Where things land in the figures."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest

from kintune.report.axes import Scale, log_scale, padded_scale
from kintune.report.confusion import class_scores, confused_pairs, confusion_matrix
from kintune.report.curves import ERROR, LOSS, curve_figure
from kintune.report.images import Gallery
from kintune.report.parts import Evaluation, EvidenceRow, RateRange, Recommendation
from kintune.report.rates import WIDTHS, error_figure, evidence_figure
from kintune.report.reading import read_output


def test_log_scale_puts_equal_factors_at_equal_distances():
    scale = Scale(low=0.001, high=10, start=0, end=400, is_log=True)
    assert [scale(value) for value in (0.001, 0.01, 0.1, 1, 10)] == [0, 100, 200, 300, 400]
    assert [tick.text for tick in scale.ticks(5)] == ["0.001", "0.01", "0.1", "1", "10"]
    assert [tick.text for tick in scale.ticks(3)] == ["0.001", "0.1", "10"]


def test_one_decade_has_finer_ticks():
    ticks = log_scale([0.01, 0.1], 0, 100).ticks(5)
    assert [tick.text for tick in ticks] == ["0.01", "0.02", "0.05", "0.1"]


@pytest.mark.parametrize("values", [[0.0], [0.5], [0.1, 0.12], [0.0, 1.0]])
def test_errors_lie_within_their_axis(values):
    scale = padded_scale(values, 300, 0, least=0.04)
    assert scale.low >= 0
    assert scale.high - scale.low >= 0.04
    assert all(0 <= scale(value) <= 300 for value in values)
    texts = [tick.text for tick in scale.ticks(6, in_percent=True)]
    assert 2 <= len(texts) == len(set(texts)) <= 7


@pytest.mark.parametrize("width", WIDTHS)
def test_error_figure_marks_runs_and_band(make_tune, width):
    output = read_output(make_tune())
    figure = error_figure(output, width)
    assert figure is not None
    assert figure.band is not None
    assert figure.band.low < figure.band.best < figure.band.high
    kinds = {mark.tip.split("run ")[-1]: mark.kind for mark in figure.marks}
    assert kinds == {
        "aaaa00000001": "run",
        "aaaa00000002": "best",
        "aaaa00000003": "run",
        "aaaa00000004": "lost",
    }
    lowest = max(figure.marks, key=lambda mark: mark.y)
    assert lowest.kind == "best"
    lost = next(mark for mark in figure.marks if mark.kind == "lost")
    assert lost.y == figure.lost_y
    assert lost.y < figure.frame.top
    assert {label.text for label in figure.labels} == {"selected, recommended", "usual default"}


def test_circles_do_not_cover_each_other():
    draw = np.random.default_rng(0)
    rows = tuple(
        EvidenceRow(source="a", target="b", effective_lr=rate, weight=weight)
        for rate, weight in zip(draw.choice([0.01, 0.0105, 0.1], 20), draw.random(20), strict=True)
    )
    recommendation = Recommendation(
        effective_lr=RateRange(low=0.01, best=0.05, high=0.2),
        lr=0.005,
        momentum=0.9,
        weight_decay=0,
        batch_size=8,
        epochs=1,
        evidence=rows,
    )
    figure = evidence_figure(recommendation, 350)
    assert figure is not None
    for one, other in combinations(figure.marks, 2):
        assert math.hypot(one.x - other.x, one.y - other.y) > one.size + other.size
    assert all(mark.y - mark.size >= figure.frame.top for mark in figure.marks)
    assert all(mark.y + mark.size <= figure.frame.bottom for mark in figure.marks)


@pytest.mark.parametrize("quantity", [LOSS, ERROR])
def test_labels_at_line_ends_do_not_overlap(make_tune, quantity):
    figure = curve_figure(read_output(make_tune()), quantity)
    assert figure is not None
    heights = sorted(line.label_y for line in figure.lines if line.label_y is not None)
    assert len(heights) == len(figure.lines)
    assert all(below - above >= 13.9 for above, below in pairwise(heights))
    assert figure.frame.top <= heights[0]
    assert heights[-1] <= figure.frame.bottom


@pytest.fixture
def evaluation():
    return Evaluation(
        split="test",
        paths=tuple("abcdef"),
        classes=("cat", "dog", "owl"),
        labels=(0, 0, 0, 1, 1, 2),
        predictions=(0, 1, 1, 1, 0, 2),
        confidences=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4),
        top1_error=0.5,
    )


def test_confusion_counts_rows_as_true_classes(evaluation):
    assert confusion_matrix(evaluation).tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]
    worst = confused_pairs(evaluation, 1)[0]
    assert (worst.true, worst.predicted, worst.count) == ("cat", "dog", 2)
    assert worst.share == pytest.approx(2 / 3)
    assert [score.name for score in class_scores(evaluation)] == ["cat", "dog", "owl"]


def test_right_samples_take_each_class_in_turn(make_tune):
    output = read_output(make_tune())
    assert output.evaluation is not None
    samples = Gallery(output.evaluation).right(4)
    assert {sample.true for sample in samples} == set(output.evaluation.classes)
    assert all(sample.true == sample.predicted for sample in samples)


def test_wrong_samples_begin_with_the_most_confident(make_tune):
    output = read_output(make_tune())
    assert output.evaluation is not None
    samples = Gallery(output.evaluation).wrong(5)
    confidences = [sample.confidence for sample in samples]
    assert confidences == sorted(confidences, reverse=True)
    assert all(sample.true != sample.predicted for sample in samples)
