"""The one place that opens MATLAB files."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kintune.base.errors import DataError

_BROKEN = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, NameError, MemoryError),
    NotImplementedError,  # scipy's answer to a version that it does not read, MATLAB 7.3
    zlib.error,  # broken compression
)
"""Errors that scipy raises, as found by damaging files."""


def read_strings(path: Path, variable: str) -> list[str]:
    """A cell array of texts, whatever its shape.

    Raises:
        DataError: the file cannot be read, or has no such variable.
    """
    values = [_item(cell, path, variable) for cell in _variable(path, variable).ravel()]
    other = next((value for value in values if not isinstance(value, str)), None)
    if other is not None:
        raise DataError(f"{path}: its {variable} holds {str(other)[:40]!r}, not a text.")
    return values


def read_integers(path: Path, variable: str) -> list[int]:
    """An array of whole numbers, whatever its shape and type.

    Raises:
        DataError: the file cannot be read, or has no such variable.
    """
    return [_integer(value, path, variable) for value in _variable(path, variable).ravel()]


def read_structs(path: Path, variable: str, fields: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Some fields of each element of a struct array: texts, and whole numbers as `int`.

    Raises:
        DataError: the file cannot be read, or has no such variable or field.
    """
    array = _variable(path, variable)
    lacking = [field for field in fields if field not in (array.dtype.names or ())]
    if lacking:
        raise DataError(f"{path}: its {variable} has no field {', '.join(lacking)}.")
    columns = [
        [_plain(cell, path, f"{variable}.{field}") for cell in array[field].ravel()]
        for field in fields
    ]
    return list(zip(*columns, strict=True))


def _variable(path: Path, variable: str) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.exists():
        raise DataError(f"{path}: is not there.")
    try:
        content = loadmat(path, variable_names=[variable], appendmat=False)
    except (*_BROKEN, MatReadError) as error:
        raise DataError(
            f"{path}: is damaged or no MATLAB file ({error}). Fetch it again."
        ) from None
    if variable not in content:
        raise DataError(f"{path}: has no variable {variable}.")
    return content[variable]


def _plain(cell: Any, path: Path, what: str) -> str | int:
    value = _item(cell, path, what)
    return value if isinstance(value, str) else _integer(value, path, what)


def _item(cell: Any, path: Path, what: str) -> Any:
    """The one element of a cell; MATLAB knows no scalars."""
    array = np.asarray(cell)
    if array.size != 1:
        raise DataError(f"{path}: its {what} has {array.size} values where one is expected.")
    return array.item()


def _integer(value: Any, path: Path, what: str) -> int:
    try:
        whole = int(value)
    except (TypeError, ValueError):
        whole = None
    if whole is None or whole != value:
        raise DataError(f"{path}: its {what} holds {str(value)[:40]!r}, not a whole number.")
    return whole
