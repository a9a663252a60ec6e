"""The one kind of record that crosses a process or a disk."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from kintune.base.errors import OptionError
from kintune.base.files import read_regular


class Record(BaseModel):
    """Frozen, keyword-only, validated on the way in, round-trips through JSON.

    Non-finite numbers are refused: what has no value is `None`, `null` in JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, validated as a new record is.

        `model_copy` would not validate, so it is not used in this package.

        Raises:
            ValidationError: a value or a name that the record does not allow; `OptionError` from
                a record of options.
        """
        return type(self)(**{**dict(self), **changes})

    @classmethod
    def implied(cls) -> dict[str, Any]:
        """Values of the fields that a record does not name: the defaults."""
        fields = cls.model_fields.items()
        return {name: field.default for name, field in fields if not field.is_required()}

    def without_defaults(self) -> dict[str, Any]:
        """The record as plain JSON values, fields left out that have their implied value to 10
        significant digits."""
        values, implied = self.to_json(), self.implied()
        found: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Record):
                found[name] = value.without_defaults()
            elif name not in implied or _rounded(values[name]) != _rounded(implied[name]):
                found[name] = values[name]
        return found

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in a JSON file.

        Raises:
            OptionError: the file is missing or is not this record; all its faults at once.
        """
        try:
            return cls.model_validate_json(read_regular(path))
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror}).") from None
        except ValidationError as error:
            raise OptionError(f"{path}: not a {cls.__name__}. {faults(error)}") from None


def faults(error: ValidationError) -> str:
    """All faults of a record in one line each: field, rule, value got."""
    lines = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'record'}: "
        f"{fault['msg'].removeprefix('Value error, ')}, got {_shown(fault['input'])}"
        for fault in error.errors(include_url=False)
    ]
    return "; ".join(lines)


def _shown(value: Any, limit: int = 100) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]} ..."


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Differences between two records of the same kind, in words.

    >>> differences({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0})
    ['lr is 0.1 there and 0.2 here']
    """
    return [
        f"{key} is {there.get(key)} there and {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]


def content_id(value: Any, digits: int = 12) -> str:
    """The first `digits` hexadecimal digits of the SHA-256 of a JSON value, floats rounded to 10
    significant digits, keys sorted: equal settings get equal ids.

    >>> content_id({"lr": 0.1 + 0.2}) == content_id({"lr": 0.3})
    True
    """
    text = json.dumps(_rounded(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {key: _rounded(entry) for key, entry in entries.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in cast("list[Any]", value)]
    return value
