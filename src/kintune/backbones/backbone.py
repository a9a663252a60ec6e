"""A pretrained network with all that is known about it: `load_backbone` -> `Backbone`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kintune.backbones.architectures import (
    build_network,
    build_pretrained,
    find_loader,
    other_model_of,
    require_trainable,
    split_revision,
)
from kintune.backbones.facts import (
    BackboneOverrides,
    FactSource,
    MergedFacts,
    header_facts,
    sidecar_facts,
)
from kintune.backbones.heads import find_head, head_rows, replaced_head, require_finite_outputs
from kintune.backbones.weights import (
    NOT_PLAIN,
    is_plain,
    load_weights,
    storage_notes,
    weights_sha256,
    with_names_of,
)
from kintune.backbones.weights_file import WeightsFile, is_weights_path, read_weights
from kintune.base.errors import ModelError, OptionError
from kintune.base.records import content_id
from kintune.runs.inputs import InputSpec

POCKET_WEIGHTS = Path(__file__).parent / "pocket.safetensors"


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network, where it comes from and what input it expects. Never trained in place."""

    name: str
    """As given: `mobilenetv2_100`, `torchvision:resnet18`, `pocket`."""
    model_kwargs: dict[str, Any]
    """Arguments of the architecture."""
    network: nn.Module
    """In evaluation mode, with its source head when that was loaded."""
    head_name: str
    """Dotted path of the last linear layer (or 1x1 convolution of the pooled features)."""
    num_features: int
    """Width d of the features before the head."""
    input: InputSpec
    pretraining_size: int
    """Side of the images that it was pretrained on, pixels."""
    domain: str
    """Source domain, e.g. `ImageNet-1k`."""
    num_source_classes: int | None
    """Rows of the source head; None when no head was loaded."""
    source_labels: tuple[str, ...]
    """Names of the source classes, `class 0` ... where unknown; empty without a head."""
    weights_sha256: str
    """Hash of the tensors in the order of their names; empty for random weights."""
    notes: tuple[str, ...]
    """Where weights, input and head came from."""
    warnings: tuple[str, ...] = ()
    """What was guessed, left out or not found."""
    weights_path: Path | None = None
    """Absolute path of a local file of weights; None for published, shipped or random ones."""

    @property
    def extractor(self) -> str:
        """Names what decides the features: architecture, weights and input.

        Features and prototypes can be compared only where this is equal.
        """
        architecture = _without_tag(self.name)
        identity = [architecture, self.model_kwargs, self.weights_sha256, self.input.to_json()]
        return f"{architecture}@{self.input.image_size}px-{content_id(identity)}"


def load_backbone(
    model: str,
    *,
    weights: Path | None = None,
    overrides: BackboneOverrides | None = None,
    pretrained: bool = True,
) -> Backbone:
    """Load a pretrained network.

    What is known about it is taken from, in this order: `overrides`, the `.json` beside the weights
    file, the safetensors header, the model's own defaults. The number of source classes is that of
    the head's rows in the file.

    Args:
        model: a timm name, also with a commit of its weights' repository (`NAME@COMMIT`),
            `torchvision:NAME` or `pocket`; or a file of weights that names its own architecture, in
            its sidecar or header.
        weights: a local file; None takes the published weights, out of the cache where they are.
        overrides: what the person says.
        pretrained: False gives random weights where `weights` is None.

    Raises:
        ModelError: unknown model, unusable weights, no network, or a transformer.
        OptionError: a model argument that is not `key=value`.
    """
    asked, weights = named_architecture(model, weights)
    model, revision = split_revision(asked)
    if revision is not None and (weights is not None or not pretrained or model == "pocket"):
        raise ModelError(
            f"--model {asked}: a revision is of published weights of timm, which are "
            "not loaded here. Omit @ and what follows."
        )
    if model == "pocket" and weights is None and pretrained:
        weights = POCKET_WEIGHTS
    file = None if weights is None else read_weights(weights)
    merged = _merged_facts(model, file, overrides or BackboneOverrides(), pretrained)
    spec, model_kwargs = merged.input_spec(), merged.model_kwargs()
    if model_kwargs:
        with _own_random_state(seed=0):
            require_trainable(model, model_kwargs, spec.image_size)
    with _own_random_state(seed=0):
        if file is not None:
            network, head_name, file = _from_file(model, model_kwargs, file, spec.image_size)
            has_head = f"{head_name}.weight" in file.tensors
        else:
            network = (
                build_pretrained(model, model_kwargs, revision)
                if pretrained
                else build_network(model, model_kwargs)
            )
            has_head = pretrained
            head_name = find_head(network, model, spec.image_size)
    rows, width = head_rows(network, head_name).shape
    if has_head:
        _check_num_classes(merged, rows)
    return Backbone(
        name=model,
        model_kwargs=model_kwargs,
        network=network.eval(),
        head_name=head_name,
        num_features=width,
        input=spec,
        pretraining_size=merged.pretraining_size(),
        domain=_domain(model, file, merged),
        num_source_classes=rows if has_head else None,
        source_labels=_labels(merged, rows) if has_head else (),
        weights_sha256=weights_sha256(network) if file is not None or pretrained else "",
        notes=_notes(asked, file, merged, rows if has_head else None, pretrained),
        warnings=_warnings(file, merged, has_head=has_head),
        weights_path=None if weights in (None, POCKET_WEIGHTS) else weights.absolute(),
    )


def named_architecture(model: str, weights: Path | None) -> tuple[str, Path | None]:
    """The architecture and the file of weights behind `--model`, which may be such a file itself.

    Raises:
        ModelError: the file cannot be read, or neither its sidecar nor its header names its
            architecture.
        OptionError: another file is given as well.
    """
    if not is_weights_path(model):
        return model, weights
    path = Path(model)
    if weights is not None:
        raise OptionError(f"--model {model} is a file of weights already: omit --weights.")
    sidecar = sidecar_facts(path)
    said = None if sidecar is None else sidecar.architecture
    said = said or header_facts(path, read_weights(path).metadata).architecture
    if said is None:
        raise ModelError(
            f"--model {path}: neither a .json beside it nor its header names its architecture. "
            f"Give it: --model NAME --weights {path}"
        )
    if is_weights_path(said):
        raise ModelError(f"--model {path}: its architecture {said!r} is not the name of a network.")
    return said, path


def with_new_head(backbone: Backbone, num_classes: int, seed: int) -> nn.Module:
    """A copy of the network with a new head: weights from N(0, 0.01^2), bias 0.

    They are drawn from a generator of their own: the same seed and shape give the same head.
    """
    return replaced_head(backbone.network, backbone.head_name, num_classes, seed)


def randomly_initialized(backbone: Backbone, num_classes: int, seed: int) -> nn.Module:
    """The same architecture from scratch, with the head that `with_new_head` draws.

    Torch's global random state stays as it was.
    """
    with _own_random_state(seed):
        network = build_network(backbone.name, backbone.model_kwargs, num_classes)
    return replaced_head(network, backbone.head_name, num_classes, seed)


def _from_file(
    model: str, model_kwargs: dict[str, Any], file: WeightsFile, image_size: int
) -> tuple[nn.Module, str, WeightsFile]:
    """The network with the file's weights, its head's name, and the file as it was read for it."""
    network = build_network(model, model_kwargs)
    head_name = find_head(network, model, image_size)
    given, file = file, with_names_of(network, file, head_name)
    head = file.tensors.get(f"{head_name}.weight")
    rows = len(head) if head is not None and head.ndim > 1 else 0
    if head is not None and not is_plain(head):  # a small file could ask for a head of any size
        raise ModelError(f"{file.path}: {head_name}.weight is {NOT_PLAIN}.")
    if rows and rows != len(head_rows(network, head_name)):
        network = build_network(model, model_kwargs, num_classes=rows)
    try:
        load_weights(network, file, head_name)
    except ModelError as error:
        other = other_model_of(model, given.tensors)
        hint = f"\nThey fit --model {other}." if other else ""
        raise ModelError(f"{error}{hint}") from None
    require_finite_outputs(network, str(file.path), image_size)
    return network, head_name, file


def _merged_facts(
    model: str, file: WeightsFile | None, overrides: BackboneOverrides, pretrained: bool
) -> MergedFacts:
    loader, name = find_loader(model)
    defaults = loader.defaults(name)
    sources = [FactSource("the flags", overrides.facts())]
    if file is not None:
        sidecar = sidecar_facts(file.path)
        if sidecar is not None:
            sources.append(FactSource(str(file.path.with_suffix(".json")), sidecar))
        header = header_facts(file.path, file.metadata)
        sources.append(FactSource(f"the header of {file.path}", header))
        for source in sources:
            _check_architecture(model, source)
    if file is not None or not pretrained:
        # Labels and domain are of the published weights, which these are not.
        defaults = defaults.replace(labels=None, source=None)
    sources.append(FactSource(f"{loader.label}'s defaults for {name}", defaults))
    return MergedFacts(tuple(sources))


def _check_architecture(model: str, source: FactSource) -> None:
    said = source.facts.architecture
    if said is not None and _without_tag(said) != _without_tag(model):
        raise ModelError(
            f"{source.name} says that these are weights of {said}, but --model is {model}. "
            f"Pass --model {said}."
        )


def _check_num_classes(merged: MergedFacts, rows: int) -> None:
    said = merged.value("num_classes")
    if said is not None and said != rows:
        raise ModelError(
            f"{merged.name('num_classes')}: num_classes is {said}, but the head has {rows} "
            "rows. Correct or delete this entry."
        )


def _labels(merged: MergedFacts, rows: int) -> tuple[str, ...]:
    labels = merged.value("labels")
    if labels is None:
        return tuple(f"class {index}" for index in range(rows))
    if len(labels) != rows:
        raise ModelError(
            f"{merged.name('labels')}: {len(labels)} labels, but the head has {rows} rows. "
            "Give one label a row, or none."
        )
    return labels


def _domain(model: str, file: WeightsFile | None, merged: MergedFacts) -> str:
    if merged.value("source") is not None:
        return merged.value("source")
    return model if file is None else file.path.stem


def _notes(
    model: str, file: WeightsFile | None, merged: MergedFacts, rows: int | None, pretrained: bool
) -> tuple[str, ...]:
    if file is None and not pretrained:
        return ("Random weights.", *merged.notes())
    head = () if rows is None else (f"Source head loaded: {rows} classes.",)
    return (f"Weights: {_origin(model, file)}.", *merged.notes(), *head)


def _warnings(file: WeightsFile | None, merged: MergedFacts, *, has_head: bool) -> tuple[str, ...]:
    if file is None:
        return ()
    found = [] if file.path == POCKET_WEIGHTS else [*file.notes, *storage_notes(file)]
    if not has_head:
        found.append(
            f"Warning: {file.path} holds no head: the source head was not loaded, so there are no "
            "source classes. Prototypes of the source need --source."
        )
    guessed = [key for key in ("mean", "std") if merged.source_of(key) is merged.sources[-1]]
    if guessed:
        found.append(
            f"Warning: nothing beside {file.path} says its input's {' and '.join(guessed)}, so the "
            "model's own defaults are used. Wrong statistics make a network confidently wrong: "
            f"pass --mean and --std, or write {file.path.with_suffix('.json').name} beside it."
        )
    return tuple(found)


def _origin(model: str, file: WeightsFile | None) -> str:
    if file is not None:
        return str(file.path)
    return f"published weights of {model}{_published_origin(model)}"


def _published_origin(model: str) -> str:
    name, revision = split_revision(model)
    loader, name = find_loader(name)
    origin = loader.origin(name, revision)
    return f" ({origin})" if origin else ""


def _without_tag(model: str) -> str:
    return model.partition(".")[0]


@contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    """Draws inside depend on `seed`, and torch's CPU generator is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
