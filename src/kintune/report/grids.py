"""Tables of words and numbers as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A head and rows as long."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    """Sentences below."""


def as_markdown(grid: Grid) -> str:
    """A table with its notes below, each a paragraph."""
    lines = [_line(grid.head), _line(["---"] * len(grid.head)), *map(_line, grid.rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in grid.notes)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|") or " " for cell in cells)
    return f"| {' | '.join(escaped)} |"


def as_csv(grid: Grid) -> str:
    """Head and rows, comma separated; notes are left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(grid.head)
    writer.writerows(grid.rows)
    return stream.getvalue()
