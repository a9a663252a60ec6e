"""How far each target class lies from the source: one dot a class."""

from dataclasses import dataclass

from kintune.report.axes import Frame, Scale
from kintune.report.parts import Similarity, SourceClass
from kintune.report.rates import WIDTHS, Mark, stacked
from kintune.report.wording import number, percent

__all__ = ["WIDTHS", "ClassFigure", "class_figure", "nearest_of"]

_MARGIN, _TOP, _BELOW = 14, 24, 42
_SMALLEST, _LARGEST = 3.0, 8.0


@dataclass(frozen=True, kw_only=True)
class ClassFigure:
    """Target classes over the cosine distance to their nearest source class."""

    frame: Frame
    marks: tuple[Mark, ...]
    far_x: float | None
    """Right of it classes are farther from the source than its own are from each other."""


def nearest_of(similarity: Similarity) -> list[SourceClass]:
    """The nearest source class of each target class, the nearest first."""
    found: dict[str, SourceClass] = {}
    for entry in similarity.nearest_source_classes:
        held = found.get(entry.target_class)
        if held is None or entry.cost < held.cost:
            found[entry.target_class] = entry
    return sorted(found.values(), key=lambda entry: entry.cost)


def class_figure(similarity: Similarity, width: int) -> ClassFigure | None:
    """A dot for each target class, larger with more of the images; touching ones pile up."""
    nearest = nearest_of(similarity)
    if len(nearest) < 2:
        return None
    far = similarity.far_cost
    highest = max(1.0, *(entry.cost for entry in nearest), far or 0.0)
    x = Scale(low=0.0, high=highest, start=_MARGIN, end=width - _MARGIN)
    largest = max(entry.share for entry in nearest) or 1.0
    radii = [max(_SMALLEST, _LARGEST * (entry.share / largest) ** 0.5) for entry in nearest]
    columns = [x(entry.cost) for entry in nearest]
    heights = stacked(columns, radii)
    bottom = _TOP + max(50.0, max(heights) + 12)
    beyond = set(similarity.far_target_classes)
    marks = tuple(
        Mark(
            x=column,
            y=round(bottom - height, 1),
            tip=f"{entry.target_class}: nearest is {entry.source_class}, {number(entry.cost)}; "
            f"{percent(entry.share)} of the images",
            kind="far" if entry.target_class in beyond else "reference",
            size=round(radius, 1),
        )
        for entry, column, height, radius in zip(nearest, columns, heights, radii, strict=True)
    )
    frame = Frame(
        width=width,
        height=round(bottom) + _BELOW,
        left=_MARGIN,
        right=width - _MARGIN,
        top=_TOP,
        bottom=bottom,
        x_ticks=x.ticks(5),
    )
    return ClassFigure(frame=frame, marks=marks, far_x=None if far is None else x(far))
