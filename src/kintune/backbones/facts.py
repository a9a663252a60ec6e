"""Facts about a network's weights: input statistics, labels, source domain.

In order of precedence: flags, the `.json` beside the weights file, the safetensors header, the
model's own defaults. What was used, and who said it, is reported.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from kintune.base.errors import ModelError, OptionError, one_line
from kintune.base.records import Record, faults
from kintune.runs.inputs import CropPct, ImageSize, InputSize, InputSpec, Interpolation, Mean, Std

INPUT_FIELDS = ("input_size", "mean", "std", "crop_pct", "interpolation")


class WeightsFacts(Record):
    """Facts about the weights from one file or the flags: the keys of a sidecar. None: not said.

    Other keys are kept in `model_extra`, not used, and named in a note.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    # Pydantic's own annotation cannot be evaluated where Sphinx imports with TYPE_CHECKING set.
    __pydantic_extra__: dict[str, Any] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride] - see above

    architecture: str | None = None
    model_kwargs: dict[str, Any] | None = None
    num_classes: int | None = Field(default=None, ge=0)
    """Rows of the head; 0 for weights without one."""
    mean: Mean | None = None
    std: Std | None = None
    input_size: InputSize | None = None
    """Channels, height, width."""
    crop_pct: CropPct | None = None
    interpolation: Interpolation | None = None
    labels: tuple[str, ...] | None = None
    """Names of the source classes, in the order of the head's rows."""
    label_file: str | None = None
    """Name of a text file in the folder of the weights, one label a line."""
    source: str | None = None
    """The source domain: what the network was trained on."""
    versions: dict[str, Any] | None = None
    """Versions of the packages that wrote the weights; nothing depends on them."""


class BackboneOverrides(Record):
    """Facts given by flags, which take precedence over those of files."""

    image_size: ImageSize | None = None
    """Side of the square crop, pixels."""
    mean: Mean | None = None
    std: Std | None = None
    crop_pct: CropPct | None = None
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
        if not path.is_file():
            raise ModelError(f"{path}: the labels cannot be read (no such file).")
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the labels cannot be read ({one_line(error)}).") from None


def sidecar_facts(weights: Path) -> WeightsFacts | None:
    """Facts in the `.json` beside a weights file; None where there is none.

    Raises:
        ModelError: the sidecar, or the label file it names, cannot be used; all faults at once.
    """
    path = weights.with_suffix(".json")
    if not path.exists():
        return None
    if not path.is_file():
        raise ModelError(
            f"{path}: not a file, where the description of {weights.name} is expected."
        )
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({one_line(error)}).") from None
    return _with_labels(_validated(content, path), path)


def header_facts(path: Path, metadata: Mapping[str, str]) -> WeightsFacts:
    """Facts in the metadata of a safetensors header; its values are text, JSON where they can be.

    Raises:
        ModelError: a value has the wrong form.
    """
    known = {key: value for key, value in metadata.items() if key in WeightsFacts.model_fields}
    texts = {"architecture", "interpolation", "label_file", "source"}
    content = {key: v if key in texts else _json_or_text(v) for key, v in known.items()}
    return _with_labels(_validated(content, path), path)


@dataclass(frozen=True)
class FactSource:
    """Facts about the weights, and where they are from."""

    name: str
    facts: WeightsFacts


@dataclass(frozen=True)
class MergedFacts:
    """All facts about one network: of two sources that know a field, the first counts."""

    sources: tuple[FactSource, ...]

    def value(self, field: str) -> Any:
        """Return a field from the first source that knows it; None where none does."""
        source = self.source_of(field)
        return None if source is None else getattr(source.facts, field)

    def source_of(self, field: str) -> FactSource | None:
        """Return the first source that knows a field."""
        for source in self.sources:
            if getattr(source.facts, field) is not None:
                return source
        return None

    def name(self, field: str) -> str:
        """Return the name of the source of a field."""
        source = self.source_of(field)
        return "nobody" if source is None else source.name

    def model_kwargs(self) -> dict[str, Any]:
        """Arguments of the architecture; each is taken from the first source that has it."""
        kwargs: dict[str, Any] = {}
        for source in reversed(self.sources):
            kwargs |= source.facts.model_kwargs or {}
        return kwargs

    def input_spec(self) -> InputSpec:
        """The input that the network expects."""
        return InputSpec(
            image_size=self.value("input_size")[1],
            mean=self.value("mean"),
            std=self.value("std"),
            crop_pct=self.value("crop_pct"),
            interpolation=self.value("interpolation"),
        )

    def pretraining_size(self) -> int:
        """Image side in the pretraining, pixels; flags do not change it."""
        return MergedFacts(self.sources[1:]).value("input_size")[1]

    def notes(self) -> tuple[str, ...]:
        """One line for each source from which the input or the architecture was taken."""
        said: dict[str, list[str]] = {}
        for field in INPUT_FIELDS:
            said.setdefault(self.name(field), []).append(f"{field} {_text(self.value(field))}")
        for key, value in self.model_kwargs().items():
            who = next(s for s in self.sources if key in (s.facts.model_kwargs or {}))
            said.setdefault(who.name, []).append(f"{key}={value}")
        notes = [f"From {who}: {', '.join(parts)}." for who, parts in said.items()]
        for source in self.sources:
            if source.facts.model_extra:
                unused = ", ".join(source.facts.model_extra)
                notes.append(f"Not used of {source.name}: {unused}.")
        return tuple(notes)


def _validated(content: Any, path: Path) -> WeightsFacts:
    try:
        facts = WeightsFacts.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{path}: {faults(error)}. Correct or delete these entries.") from None
    known = [
        name
        for name in WeightsFacts.model_fields
        if name != "versions" and getattr(facts, name) is None
    ]
    for key in facts.model_extra or {}:
        near = difflib.get_close_matches(key.lower(), known, 1, 0.8)
        if near:
            raise ModelError(f"{path}: unknown key {key}. Write {near[0]}, or delete the entry.")
    return facts


def _with_labels(facts: WeightsFacts, path: Path) -> WeightsFacts:
    """The facts with the lines of the label file that they name.

    A model may come from anywhere: what it says must not make Kintune read, and print, files of the
    user's outside the model's folder.
    """
    if facts.labels is not None or facts.label_file is None:
        return facts
    try:
        folder = path.parent.resolve()
        labels = (folder / facts.label_file).resolve()
        inside = labels.is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):
        inside, labels = False, path
    if not inside:
        raise ModelError(
            f"{path}: label_file {facts.label_file!r} is outside the folder of the weights. Only a "
            "file in that folder is read; links out of it are not followed. Copy the file there, "
            "or pass the labels in the key labels."
        )
    return facts.replace(labels=read_labels(labels))


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=str)  # NaN is no JSON
    except ValueError:
        return value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{entry:g}" for entry in value) + "]"
    return str(value)
