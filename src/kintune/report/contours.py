"""Lines of equal height over a grid."""

import math
from collections.abc import Iterator, Sequence

LEVELS = 8

Point = tuple[float, float]
Heights = Sequence[Sequence[float]]


def contour_lines(
    x: Sequence[float], y: Sequence[float], heights: Heights
) -> list[tuple[float, list[list[Point]]]]:
    """Lines at heights that grow by equal factors, for losses span decades.

    Args:
        x: coordinates of the columns, ascending.
        y: coordinates of the rows, ascending.
        heights: positive, a row a y.

    Returns:
        Each level with its lines.
    """
    flat = [height for row in heights for height in row]
    low, high = max(min(flat), 1e-6), max(flat)
    if high <= low:
        return []
    steps = [math.log(low) + math.log(high / low) * (k + 1) / (LEVELS + 1) for k in range(LEVELS)]
    levels = [float(f"{math.exp(step):.2g}") for step in steps]
    return [(level, joined(list(segments(x, y, heights, level)))) for level in levels]


def segments(
    x: Sequence[float], y: Sequence[float], heights: Heights, level: float
) -> Iterator[tuple[Point, Point]]:
    """Marching over triangles: each cell of the grid is cut into two, in which height is linear.

    >>> list(segments([0, 1], [0, 1], [[0, 2], [0, 2]], 1))
    [((0.5, 0.0), (0.5, 0.5)), ((0.5, 1.0), (0.5, 0.5))]
    """
    for row in range(len(y) - 1):
        for column in range(len(x) - 1):
            corners = [
                (x[column + a], y[row + b], heights[row + b][column + a])
                for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))
            ]
            for triangle in ((0, 1, 2), (3, 2, 0)):
                yield from _across([corners[corner] for corner in triangle], level)


def _across(
    triangle: list[tuple[float, float, float]], level: float
) -> Iterator[tuple[Point, Point]]:
    crossings: list[Point] = []
    for (x1, y1, h1), (x2, y2, h2) in ((triangle[i], triangle[(i + 1) % 3]) for i in range(3)):
        if (h1 < level) != (h2 < level):
            share = (level - h1) / (h2 - h1)
            crossings.append((x1 + share * (x2 - x1), y1 + share * (y2 - y1)))
    if len(crossings) == 2:
        yield crossings[0], crossings[1]


def joined(pieces: list[tuple[Point, Point]]) -> list[list[Point]]:
    """Segments put together to lines where their ends meet.

    >>> joined([((0, 0), (1, 0)), ((2, 0), (1, 0))])
    [[(0, 0), (1, 0), (2, 0)]]
    """
    whole = [piece for piece in pieces if _rounded(piece[0]) != _rounded(piece[1])]
    left = dict(enumerate(whole))
    ends: dict[Point, list[int]] = {}
    for place, piece in left.items():
        for end in piece:
            ends.setdefault(_rounded(end), []).append(place)
    lines: list[list[Point]] = []
    while left:
        _, (first, last) = left.popitem()
        line = [first, last]
        _grow(line, left, ends)
        line.reverse()
        _grow(line, left, ends)
        lines.append(line)
    return lines


def _grow(
    line: list[Point], left: dict[int, tuple[Point, Point]], ends: dict[Point, list[int]]
) -> None:
    while True:
        end = _rounded(line[-1])
        place = next((each for each in ends[end] if each in left), None)
        if place is None:
            return
        first, last = left.pop(place)
        line.append(last if _rounded(first) == end else first)


def _rounded(point: Point) -> Point:
    return round(point[0], 9), round(point[1], 9)
