"""One target, one or several candidate sources: what `kintune similarity` names, measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from kintune.backbones import Backbone, BackboneOverrides, load_backbone, named_architecture
from kintune.base.errors import OptionError
from kintune.base.progress import announce, detail
from kintune.data import ImageDataset, load_unsplit
from kintune.options import PrototypesOptions, SimilarityOptions
from kintune.options.results import PrototypeFile
from kintune.similarity import Similarity, SourceRanking, domain_similarity, rank_sources
from kintune.similarity.features import extract_features
from kintune.similarity.prototypes import (
    SourceSpec,
    clustered,
    save_prototypes,
    source_prototypes,
)
from kintune.similarity.task import resolve_device, use_processor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network, and what stands for its source domain where that is not the network itself."""

    model: str
    weights: Path | None
    source: Path | None


def measure_candidates(options: SimilarityOptions) -> Similarity | SourceRanking:
    """Measure the target against every candidate that the options name; several are ranked.

    Raises:
        OptionError: the flags do not fit together.
        IncomparableError: the candidates cannot be measured alike.
        ModelError, DataError: a network or images that cannot be used.
    """
    named = candidates(options)
    use_processor(options)
    # Heads and images are different scales, so candidates without images all use their heads.
    is_one_scale = len(named) == 1 or any(each.source for each in named)
    origin = "auto" if is_one_scale else "head"
    measured = [_measure(each, options, origin) for each in named]
    _refuse_idle_clusters(options, measured)
    return measured[0] if len(measured) == 1 else rank_sources(measured, by=options.by)


def candidates(options: SimilarityOptions) -> tuple[Candidate, ...]:
    """The candidates that the flags name: each flag counts for all of them, or once for each.

    Raises:
        OptionError: no network, or flags given other numbers of times.
    """
    models = _models(options)
    flags = {
        "--extractor" if options.extractor else "--model": models,
        "--weights": options.weights,
        "--source": options.source,
    }
    count = max(len(values) for values in flags.values())
    uneven = [f"{flag} {len(v)} times" for flag, v in flags.items() if len(v) not in (0, 1, count)]
    if uneven:
        raise OptionError(
            f"{', '.join(uneven)}, but there are {count} candidates. Give each flag once for all "
            "candidates, or once for each, in the same order."
        )
    rows = zip(
        _for_each(models, count),
        _for_each(options.weights, count),
        _for_each(options.source, count),
        strict=True,
    )
    candidates: list[Candidate] = []
    for model, weights, source in rows:
        name, file = named_architecture(str(model), weights)
        candidates.append(Candidate(model=name, weights=file, source=source))
    return tuple(candidates)


def write_prototypes(options: PrototypesOptions) -> PrototypeFile:
    """Make prototypes of a folder's images and write them to a file."""
    use_processor(options)
    backbone = _load(options.model, options.weights, options)
    spec = SourceSpec(
        path=Path(options.data),
        min_images=options.min_images,
        clusters=options.clusters,
        seed=options.seed,
        skip_unreadable=options.skip_unreadable,
        verify=options.verify_cache,
    )
    made = source_prototypes(backbone, spec, device=resolve_device(options.device))
    save_prototypes(made, options.output, backbone)
    return PrototypeFile(
        path=str(options.output.absolute()),
        domain=made.domain,
        extractor=made.extractor,
        classes=len(made.classes),
        images=0 if made.counts is None else int(made.counts.sum()),
        min_images=made.min_images,
        prototypes_from=made.origin,
        notes=made.notes,
    )


def _models(options: SimilarityOptions) -> tuple[str, ...]:
    if options.extractor is None:
        if not options.model:
            raise OptionError("--model: name at least one network, e.g. --model resnet50.")
        return options.model
    if options.model:
        raise OptionError(
            "--extractor and --model exclude each other: either one network measures every "
            "--source, or each --model measures with its own features."
        )
    if not options.source:
        raise OptionError(
            f"--extractor {options.extractor}: give the domains that it shall measure, each as "
            "--source FOLDER or --source FILE.safetensors."
        )
    if len(options.weights) > 1:
        raise OptionError("--extractor is one network: give --weights once.")
    return (options.extractor,)


def _for_each(values: Sequence[T], count: int) -> Sequence[T | None]:
    return values if len(values) == count else [values[0] if values else None] * count


def _measure(
    candidate: Candidate, options: SimilarityOptions, origin: Literal["auto", "head"]
) -> Similarity:
    backbone = _load(candidate.model, candidate.weights, options)
    device = resolve_device(options.device)
    spec = SourceSpec(
        path=candidate.source,
        origin=origin,
        min_images=options.min_images,
        clusters=options.clusters,
        seed=options.seed,
        skip_unreadable=options.skip_unreadable,
        verify=options.verify_cache,
    )
    dataset = _target(options, backbone)
    source = source_prototypes(backbone, spec, device=device)
    for warning in (*backbone.warnings, *dataset.notes, *source.notes):
        announce(f"- {warning}")
    for note in backbone.notes:
        detail(note)
    features = extract_features(backbone, dataset, device=device)
    if not dataset.is_labeled:
        features = clustered(features, options.clusters, seed=options.seed)
    return domain_similarity(
        source, features, model=backbone.name, target=dataset.name, gamma=options.gamma
    )


def _load(
    model: str, weights: Path | None, options: SimilarityOptions | PrototypesOptions
) -> Backbone:
    overrides = BackboneOverrides(
        image_size=options.image_size,
        mean=options.mean,
        std=options.std,
        model_kwargs=options.model_kwargs,
    )
    return load_backbone(model, weights=weights, overrides=overrides)


def _target(options: SimilarityOptions, backbone: Backbone) -> ImageDataset:
    return load_unsplit(
        options.data,
        backbone.input,
        skip_unreadable=options.skip_unreadable,
        verify=options.verify_cache,
    )


def _refuse_idle_clusters(options: SimilarityOptions, measured: Sequence[Similarity]) -> None:
    kinds = {
        kind for each in measured for kind in (each.prototypes_from, each.target_prototypes_from)
    }
    if options.clusters is not None and "clusters" not in kinds:
        raise OptionError(
            f"--clusters {options.clusters}: groups images without class folders, and there are "
            "none: all have classes. Leave it out."
        )
