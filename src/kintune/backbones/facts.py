"""What is known about a network's weights: input statistics, labels, source domain.

In order of precedence: flags, the `.json` beside the weights file, the safetensors header, the
model's own defaults. What was used, and who said it, is reported.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from kintune.errors import ModelError, OptionError
from kintune.inputs import InputSpec, Interpolation, Triple
from kintune.records import Record, faults

INPUT_FIELDS = ("input_size", "mean", "std", "crop_pct", "interpolation")


class WeightsFacts(Record):
    """What one file, or the flags, say about the weights: the keys of a sidecar. None: not said."""

    model_config = ConfigDict(extra="ignore")

    architecture: str | None = None
    model_kwargs: dict[str, Any] | None = None
    num_classes: int | None = Field(default=None, ge=1)
    mean: Triple | None = None
    std: Triple | None = None
    input_size: tuple[int, int, int] | None = None
    """Channels, height, width."""
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    interpolation: Interpolation | None = None
    labels: tuple[str, ...] | None = None
    """Names of the source classes, in the order of the head's rows."""
    label_file: str | None = None
    """Name of a text file beside the weights, one label a line."""
    source: str | None = None
    """The source domain: what the network was trained on."""


class BackboneOverrides(Record):
    """What the person says by flags; it goes before what any file says."""

    image_size: int | None = Field(default=None, ge=8)
    """Side of the square crop, pixels."""
    mean: Triple | None = None
    std: Triple | None = None
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    interpolation: Interpolation | None = None
    model_kwargs: tuple[str, ...] = ()
    """Arguments of the architecture, each `key=value`, e.g. `pad_type=same`."""
    labels: Path | None = None
    """Text file with the names of the source classes, one a line."""
    source: str | None = None
    """Name of the source domain."""

    def facts(self) -> WeightsFacts:
        """The flags in the form of the sidecar.

        Raises:
            OptionError: a model argument is not `key=value`.
            ModelError: the label file cannot be read.
        """
        size = self.image_size
        return WeightsFacts(
            model_kwargs=parse_model_kwargs(self.model_kwargs) or None,
            mean=self.mean,
            std=self.std,
            input_size=None if size is None else (3, size, size),
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            labels=None if self.labels is None else read_labels(self.labels),
            source=self.source,
        )


def parse_model_kwargs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs as keyword arguments; a value is a JSON literal where it reads as one.

    >>> parse_model_kwargs(("pad_type=same", "drop_rate=0.2"))
    {'pad_type': 'same', 'drop_rate': 0.2}

    Raises:
        OptionError: a pair without a key or without `=`.
    """
    kwargs: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise OptionError(f"--model-kwargs {pair}: expected key=value, e.g. pad_type=same.")
        kwargs[key] = _json_or_text(value)
    return kwargs


def read_labels(path: Path) -> tuple[str, ...]:
    """The lines of a label file.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: the labels cannot be read ({error}).") from None


def sidecar_facts(weights: Path) -> WeightsFacts | None:
    """What the `.json` beside a weights file says; None where there is none.

    Raises:
        ModelError: the sidecar, or the label file it names, cannot be used; all faults at once.
    """
    path = weights.with_suffix(".json")
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}).") from None
    facts = _validated(content, path)
    if facts.labels is None and facts.label_file is not None:
        return facts.replace(labels=read_labels(path.parent / facts.label_file))
    return facts


def header_facts(path: Path, metadata: Mapping[str, str]) -> WeightsFacts:
    """What the metadata of a safetensors header says; its values are text, JSON where they can be.

    Raises:
        ModelError: a value has the wrong form.
    """
    known = {key: value for key, value in metadata.items() if key in WeightsFacts.model_fields}
    texts = {"architecture", "interpolation", "label_file", "source"}
    content = {key: v if key in texts else _json_or_text(v) for key, v in known.items()}
    return _validated(content, path)


@dataclass(frozen=True)
class Witness:
    """Somebody who says something about the weights."""

    name: str
    facts: WeightsFacts


@dataclass(frozen=True)
class Testimony:
    """All that is said about one network, the first witness being believed first."""

    witnesses: tuple[Witness, ...]

    def value(self, field: str) -> Any:
        """What the first witness who knows says; None when nobody knows."""
        witness = self.said_by(field)
        return None if witness is None else getattr(witness.facts, field)

    def said_by(self, field: str) -> Witness | None:
        """The first witness who knows a field."""
        for witness in self.witnesses:
            if getattr(witness.facts, field) is not None:
                return witness
        return None

    def name(self, field: str) -> str:
        """Who says a field."""
        witness = self.said_by(field)
        return "nobody" if witness is None else witness.name

    def model_kwargs(self) -> dict[str, Any]:
        """Arguments of the architecture; each is taken from the first witness who gives it."""
        merged: dict[str, Any] = {}
        for witness in reversed(self.witnesses):
            merged |= witness.facts.model_kwargs or {}
        return merged

    def input_spec(self) -> InputSpec:
        """The input that the network expects.

        Raises:
            ModelError: not three channels, not square, or a standard deviation not above 0.
        """
        size, std = self.value("input_size"), self.value("std")
        if size[0] != 3 or size[1] != size[2]:
            who = self.name("input_size")
            raise ModelError(f"{who}: input_size {list(size)}; only [3, s, s] is covered.")
        if min(std) <= 0:
            raise ModelError(f"{self.name('std')}: std {list(std)}; each must be above 0.")
        return InputSpec(
            image_size=size[1],
            mean=self.value("mean"),
            std=std,
            crop_pct=self.value("crop_pct"),
            interpolation=self.value("interpolation"),
        )

    def notes(self) -> tuple[str, ...]:
        """One line for each witness whose word on the input or the architecture was used."""
        said: dict[str, list[str]] = {}
        for field in INPUT_FIELDS:
            said.setdefault(self.name(field), []).append(f"{field} {_text(self.value(field))}")
        for key, value in self.model_kwargs().items():
            who = next(w for w in self.witnesses if key in (w.facts.model_kwargs or {}))
            said.setdefault(who.name, []).append(f"{key}={value}")
        return tuple(f"From {who}: {', '.join(parts)}." for who, parts in said.items())


def _validated(content: Any, path: Path) -> WeightsFacts:
    try:
        return WeightsFacts.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{path}: {faults(error)}. Mend or delete these entries.") from None


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=str)  # NaN is no JSON
    except ValueError:
        return value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{entry:g}" for entry in value) + "]"
    return str(value)
