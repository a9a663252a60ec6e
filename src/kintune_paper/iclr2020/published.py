"""The paper's numbers, read from `published.toml`."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, model_validator

from kintune.base.records import Record

FILE = Path(__file__).parent / "published.toml"
Value = str | int | float


class Conflict(Record):
    """A number that the paper prints twice and differently."""

    what: str
    values: tuple[float, ...]
    printed_in: tuple[str, ...]
    """Where each value stands."""


class Published(Record):
    """One table or figure as the paper printed it."""

    model_config = ConfigDict(strict=False)

    where: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    """Errors in percent; empty text where nothing legible is printed."""
    quoted: tuple[str, ...] = ()
    """First entries of rows that the paper takes from others."""
    quoted_columns: tuple[str, ...] = ()
    quoted_from: str = ""
    illegible: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    @model_validator(mode="after")
    def _is_rectangular(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row has more or fewer values than there are columns")
        return self

    def column(self, name: str) -> tuple[Value, ...]:
        """The values of a column, from the first row on."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)

    def row(self, *labels: Value) -> dict[str, Value]:
        """The row that begins with these values, by column.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row[: len(labels)] == labels:
                return dict(zip(self.columns, row, strict=True))
        raise KeyError(labels)


@cache
def published() -> dict[str, Published]:
    """By the names of the experiments."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: Published.model_validate(entry) for name, entry in content.items()}
