"""The picture of how far each target class is."""

import pytest

from kintune.report.classes import WIDTHS, class_figure, nearest_of
from kintune.report.parts import Similarity, SourceClass


def similarity(costs, **changes):
    nearest = tuple(
        SourceClass(
            target_class=f"t{index}", source_class=f"s{rank}", cost=cost + 0.1 * rank, share=share
        )
        for index, (cost, share) in enumerate(costs)
        for rank in range(3)
    )
    return Similarity(nearest_source_classes=nearest, **changes)


@pytest.mark.parametrize("width", WIDTHS)
def test_dots_stand_at_the_nearest_cost_and_do_not_touch(width):
    costs = [(0.2, 0.5), (0.21, 0.1), (0.22, 0.1), (0.9, 0.3)]
    figure = class_figure(similarity(costs, far_cost=0.6, far_target_classes=("t3",)), width)
    assert [mark.kind for mark in figure.marks] == ["reference"] * 3 + ["far"]
    assert figure.far_x is not None
    xs = [mark.x for mark in figure.marks]
    assert xs == sorted(xs)
    assert xs[2] < figure.far_x < xs[3]
    for one, other in zip(figure.marks, figure.marks[1:], strict=False):
        gap = ((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5
        assert gap > one.size + other.size
    assert figure.marks[0].size > figure.marks[1].size
    assert "t0: nearest is s0" in figure.marks[0].tip


def test_the_nearest_source_class_counts_in_any_order():
    measured = similarity([(0.5, 0.5), (0.3, 0.5)])
    turned = measured.replace(nearest_source_classes=measured.nearest_source_classes[::-1])
    for each in (measured, turned):
        assert [entry.cost for entry in nearest_of(each)] == [0.3, 0.5]


def test_a_single_class_needs_no_picture():
    assert class_figure(similarity([(0.5, 1.0)]), 800) is None
    assert class_figure(Similarity(), 800) is None
