"""A drawing of lines and words, written as SVG or as PNG."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

FONT = "Helvetica, Arial, sans-serif"
PNG_SCALE = 2
"""Pixels of the PNG for one of the drawing."""
SPELLED = {"η": "eta", "λ": "lambda", "δ": "delta", "±": "+-"}
"""Pillow's own font, the one that is the same everywhere, has no Greek."""
OVERSAMPLING = 2
"""Times as many pixels are drawn and averaged: Pillow's lines have hard edges."""

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Path:
    """Straight lines through points."""

    points: tuple[Point, ...]
    stroke: str = "#000000"
    """Empty for none."""
    fill: str = ""
    width: float = 1.0
    dashes: tuple[float, ...] = ()
    """Lengths of lines and gaps in turn; empty for a solid line."""
    is_closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Text:
    """Words; `y` is their middle."""

    x: float
    y: float
    text: str
    size: float = 11.0
    anchor: Anchor = "start"
    is_upright: bool = False
    """Turned to read upwards."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Shapes, the first at the bottom."""

    width: float
    height: float
    shapes: tuple[Path | Text, ...]
    title: str = ""
    """Text for a screen reader."""


def as_svg(drawing: Drawing) -> str:
    """The drawing as a whole SVG file on white."""
    body = "\n".join(
        _svg_path(shape) if isinstance(shape, Path) else _svg_text(shape)
        for shape in drawing.shapes
    )
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    box = f'viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img" font-family="{FONT}">\n'
        f"<title>{escape(drawing.title)}</title>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _svg_path(path: Path) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in path.points)
    kind = "polygon" if path.is_closed else "polyline"
    dashes = f' stroke-dasharray="{" ".join(f"{d:g}" for d in path.dashes)}"' if path.dashes else ""
    return (
        f'<{kind} points="{places}" fill="{path.fill or "none"}" '
        f'stroke="{path.stroke or "none"}" stroke-width="{path.width:g}"{dashes}/>'
    )


def _svg_text(text: Text) -> str:
    turn = f' transform="rotate(-90 {text.x:.1f} {text.y:.1f})"' if text.is_upright else ""
    return (
        f'<text x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size:g}" '
        f'text-anchor="{text.anchor}" dominant-baseline="central"{turn}>{escape(text.text)}</text>'
    )


def as_png(drawing: Drawing) -> bytes:
    """The drawing as a PNG on white, twice its size in pixels."""
    factor = PNG_SCALE * OVERSAMPLING
    size = (round(drawing.width * factor), round(drawing.height * factor))
    image = Image.new("RGB", size, "#ffffff")
    pen = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if isinstance(shape, Path):
            _draw_path(pen, shape, factor)
        else:
            _draw_text(image, shape, factor)
    small = image.resize((size[0] // OVERSAMPLING, size[1] // OVERSAMPLING), Image.Resampling.BOX)
    stream = io.BytesIO()
    small.quantize(64).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _draw_path(pen: ImageDraw.ImageDraw, path: Path, factor: float) -> None:
    points = [(x * factor, y * factor) for x, y in path.points]
    if path.fill and len(points) > 2:
        pen.polygon(points, fill=path.fill)
    if not path.stroke or len(points) < 2:
        return
    if path.is_closed:
        points.append(points[0])
    width = max(1, round(path.width * factor))
    parts = dashed(points, [d * factor for d in path.dashes]) if path.dashes else [points]
    for part in parts:
        pen.line(part, fill=path.stroke, width=width, joint="curve")


def dashed(points: Sequence[Point], lengths: Sequence[float]) -> list[list[Point]]:
    """The drawn pieces of a dashed line.

    >>> dashed([(0.0, 0.0), (10.0, 0.0)], [4.0, 2.0])
    [[(0.0, 0.0), (4.0, 0.0)], [(6.0, 0.0), (10.0, 0.0)]]
    """
    pieces: list[list[Point]] = []
    turn, left = 0, lengths[0]
    piece: list[Point] = [points[0]]
    for (x1, y1), (x2, y2) in pairwise(points):
        way = math.hypot(x2 - x1, y2 - y1)
        gone = 0.0
        while way - gone > left:
            gone += left
            place = (x1 + (x2 - x1) * gone / way, y1 + (y2 - y1) * gone / way)
            if turn % 2 == 0:
                pieces.append([*piece, place])
            piece = [place]
            turn += 1
            left = lengths[turn % len(lengths)]
        left -= way - gone
        piece.append((x2, y2))
    if turn % 2 == 0 and len(piece) > 1:
        pieces.append(piece)
    return pieces


def _draw_text(image: Image.Image, text: Text, factor: float) -> None:
    font = ImageFont.load_default(text.size * factor)
    words = "".join(SPELLED.get(letter, letter) for letter in text.text)
    left, top, right, bottom = font.getbbox(words, anchor="lm")
    shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor]
    width, height = math.ceil(right - left) + 2, math.ceil(bottom - top) + 2
    label = Image.new("L", (width, height), 0)
    ImageDraw.Draw(label).text((1 - left, 1 - top), words, fill=255, font=font, anchor="lm")
    x, y = text.x * factor, text.y * factor
    if text.is_upright:
        label = label.rotate(90, expand=True)
        place = (x + top, y - width * (1 - shift))
    else:
        place = (x - width * shift, y + top)
    image.paste("#000000", (round(place[0]), round(place[1])), label)
