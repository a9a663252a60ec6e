"""The reference table of a person's own runs: one file, read beside what ships."""

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kintune.errors import OptionError
from kintune.records import faults
from kintune.reference.tables import ReferenceTable

_TABLES = TypeAdapter(tuple[ReferenceTable, ...])


def own_references_path() -> Path:
    """`$KINTUNE_REFERENCES`, else `~/.local/share/kintune/references.json`; it need not exist."""
    named = os.environ.get("KINTUNE_REFERENCES") or "~/.local/share/kintune/references.json"
    return Path(named).expanduser().absolute()


def own_reference_tables() -> tuple[ReferenceTable, ...]:
    """The tables that `add_reference` wrote; none where there are none.

    Raises:
        OptionError: the file is not one of reference tables.
    """
    path = own_references_path()
    try:
        return _TABLES.validate_json(path.read_bytes()) if path.exists() else ()
    except ValidationError as error:
        raise OptionError(
            f"{path}: not a file of reference tables. {faults(error)}. Mend it, or move it away."
        ) from None
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror}).") from None


def with_reference(
    tables: tuple[ReferenceTable, ...], new: ReferenceTable
) -> tuple[ReferenceTable, ...]:
    """The tables with the rows of `new`: joined to the table of the same network and source, in
    place of rows of the same target."""
    fresh = {row.target for row in new.rows}
    merged: list[ReferenceTable] = []
    rows = new.rows
    for table in tables:
        if table.model_dump(exclude={"rows"}) == new.model_dump(exclude={"rows"}):
            rows = (*(row for row in table.rows if row.target not in fresh), *rows)
        else:
            merged.append(table)
    return (*merged, new.replace(rows=rows))
