"""Which distance between a source and a target says what a person knows, and what training finds?

Candidates are computed for four networks and all sets of `sets`; `judgement`
holds them against known orders, the error of a linear probe, and subsamples.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.data import load_unsplit
from kintune.similarity import (
    bootstrap,
    class_costs,
    domain_shift,
    earth_movers_distance,
    optimal_transport,
    relative_distance,
    source_center,
)
from kintune.similarity.features import Features, extract_features
from kintune.similarity.prototypes import (
    Prototypes,
    class_prototypes,
    clustered,
    head_prototypes,
    source_prototypes,
)
from studies.similarity.sets import prepare_sets

NETWORKS = ("pocket", "in1k", "inat_birds", "inat_insects")
IMAGE_SIZE = 96
"""Pixels, of all networks but `pocket`."""
COUNTS = (1, 2, 3, 5, 10, 20, 50)
"""Images a class of the curves."""
CURVE_CLASSES = 50
"""Images that every class of a set needs for a curve."""
CURVE_NETWORKS = ("in1k",)
REPEATS = 8
MEASURES = {
    "emd": "Earth Mover's Distance of class means (the paper's)",
    "emd_in_spreads": "the same, over the mean distance of a source class from the source's mean",
    "emd_of_directions": "Earth Mover's Distance of directions around the source's mean",
    "nearest_class": "nearest source class of each target class, cosine",
    "nearest_class_of_images": "the same for each single image",
    "shift_of_mean": "distance of the mean features, over the length of the source's",
    "nearest_class_and_half_shift": "nearest class, plus half of 1 - cos of the mean features",
    "nearest_class_and_shift": "nearest class, plus 1 - cos of the mean features",
    "head_doubt": "1 - mean confidence of the source's head",
    "head_entropy": "mean entropy of the source's head, over its largest value",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source as it is known from one kind of prototypes."""

    network: str
    kind: str
    """`head`, `images`, or `one image a class`."""
    backbone: Backbone
    prototypes: Prototypes


def run(
    data: Path,
    models: Path,
    work: Path,
    results: dict[str, Any],
    save: Callable[[dict[str, Any]], None],
) -> None:
    """Measure everything, saving after each network.

    Args:
        data: folder of the image sets.
        models: folder of `mobilenetv2_100.NAME.safetensors`.
        work: where the sets of the study are made.
        results: of a run that was stopped, whose networks are not measured again; or empty.
        save: gets all results so far.
    """
    sets = {name: str(folder) for name, folder in prepare_sets(data, work).items()}
    sets["digits"] = "sklearn:digits"
    results = {"image_size": IMAGE_SIZE, "sources": results.get("sources", [])}
    held = {entry["network"] for entry in results["sources"]}
    for network in (network for network in NETWORKS if network not in held):
        sources = list(_sources(network, models))
        backbone = sources[0].backbone
        entries: list[dict[str, Any]] = [
            {"network": source.network, "prototypes": source.kind, "sets": {}} for source in sources
        ]
        for name, place in sets.items():
            train, probe = _features_and_probe(backbone, place)
            for source, entry in zip(sources, entries, strict=True):
                measured = _measured(source, train) | {"probe_error": probe}
                if source.kind == "head" and network in CURVE_NETWORKS:
                    measured["curve"] = _curve(source.prototypes, train)
                entry["sets"][name] = measured
        results["sources"] += entries
        save(results)


def measures(source: Prototypes, features: Features) -> dict[str, float | None]:
    """Every candidate for one source and one target; None where it has no meaning."""
    target = class_prototypes(features)
    center = source_center(source)
    lengths = np.linalg.norm(source.means - center, axis=1)
    emd = None if source.origin == "head" else earth_movers_distance(source, target)
    directions = class_costs(source, target)
    images = class_costs(source, _each_image(target, features)).min(axis=0)
    classes = len(source.means)
    nearest = float(target.weights @ directions.min(axis=0))
    shift = domain_shift(source, target) or 0.0
    doubt = None if features.mean_confidence is None else 1 - features.mean_confidence
    entropy = features.mean_entropy
    return {
        "emd": emd,
        "emd_in_spreads": None if emd is None else emd / float(source.weights @ lengths),
        # The Euclidean distance of two unit vectors.
        "emd_of_directions": optimal_transport(
            source.weights, target.weights, np.sqrt(2 * directions)
        ).cost,
        "nearest_class": nearest,
        "nearest_class_and_half_shift": nearest + 0.5 * shift,
        "nearest_class_and_shift": nearest + shift,
        "nearest_class_of_images": float(images.mean()),
        "shift_of_mean": float(
            np.linalg.norm(features.values.mean(axis=0) - center) / np.linalg.norm(center)
        ),
        "head_doubt": doubt,
        "head_entropy": None if entropy is None else entropy / float(np.log(classes)),
    }


def _each_image(target: Prototypes, features: Features) -> Prototypes:
    """Every image as a class of its own."""
    count = len(features.labels)
    return replace(
        target,
        means=np.ascontiguousarray(features.values),
        weights=np.full(count, 1 / count),
        counts=np.ones(count, np.int64),
        classes=tuple(str(index) for index in range(count)),
    )


def _sources(network: str, models: Path) -> Iterator[Source]:
    if network == "pocket":
        backbone = load_backbone("pocket")
        shipped = source_prototypes(backbone)
        yield Source(network=network, kind="images", backbone=backbone, prototypes=shipped)
    else:
        backbone = load_backbone(
            "mobilenetv2_100",
            weights=models / f"mobilenetv2_100.{network}.safetensors",
            overrides=BackboneOverrides(image_size=IMAGE_SIZE),
        )
    head = head_prototypes(backbone)
    yield Source(network=network, kind="head", backbone=backbone, prototypes=head)
    one_image = models / f"mobilenetv2_100.{network}.class_features.safetensors"
    if one_image.exists():
        values = load_file(one_image)[f"features_{IMAGE_SIZE}px"].astype(np.float32)
        made = replace(head, means=values, center=values.mean(axis=0), origin="images")
        kind = "one image a class"
        yield Source(network=network, kind=kind, backbone=backbone, prototypes=made)


def _features_and_probe(backbone: Backbone, place: str) -> tuple[Features, float | None]:
    """Training features, and the test error of a linear probe where there is a test split."""
    dataset = load_unsplit(place, backbone.input)
    train = extract_features(backbone, dataset, "train")
    if len(dataset.splits["test"]) == 0:
        return train, None
    return train, probe_error(train, extract_features(backbone, dataset, "test"))


def probe_error(train: Features, test: Features) -> float:
    """Error of logistic regression on standardized features (L2, C = 1/d)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    penalty = 1 / train.values.shape[1]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=500, tol=1e-3))
    model.fit(train.values, train.labels)
    return float(1 - model.score(test.values, test.labels))


def _measured(source: Source, features: Features) -> dict[str, Any]:
    draws = bootstrap(source.prototypes, features).relative_distance
    rng = np.random.Generator(np.random.Philox(key=1))
    return {
        "images": len(features.labels),
        "classes": len(features.classes),
        "measures": measures(source.prototypes, features),
        "half_of_images": _spread(source.prototypes, features, rng, half_of_images),
        "half_of_classes": _spread(source.prototypes, features, rng, half_of_classes),
        "bootstrap": {"spread": float(draws.std()), "mean": float(draws.mean())},
        "clusters": _relative(source.prototypes, clustered(features)),
    }


def _relative(source: Prototypes, features: Features) -> float:
    return relative_distance(source, class_prototypes(features))


def _spread(
    source: Prototypes,
    features: Features,
    rng: np.random.Generator,
    part: Callable[[Features, np.random.Generator], np.ndarray],
) -> dict[str, float | None]:
    """Standard deviation of each measure over random parts of the images."""
    found = [measures(source, _rows(features, part(features, rng))) for _ in range(REPEATS)]
    return {
        name: None
        if found[0][name] is None
        else float(np.std(np.array([each[name] for each in found], dtype=float), ddof=1))
        for name in MEASURES
    }


def half_of_images(features: Features, rng: np.random.Generator) -> np.ndarray:
    """Half of each class's images, at least one."""
    return n_of_each(features, rng, None)


def half_of_classes(features: Features, rng: np.random.Generator) -> np.ndarray:
    """All images of half of the classes, at least two of them."""
    present = np.unique(features.labels)
    chosen = rng.choice(present, max(min(2, len(present)), len(present) // 2), replace=False)
    return np.flatnonzero(np.isin(features.labels, chosen))


def n_of_each(features: Features, rng: np.random.Generator, count: int | None) -> np.ndarray:
    """So many images of each class (None: half of them), drawn without replacement."""
    rows: list[np.ndarray] = []
    for label in np.unique(features.labels):
        members = np.flatnonzero(features.labels == label)
        size = max(1, len(members) // 2) if count is None else min(count, len(members))
        rows.append(rng.choice(members, size, replace=False))
    return np.sort(np.concatenate(rows))


def _rows(features: Features, rows: np.ndarray) -> Features:
    outputs = None if features.outputs is None else features.outputs[rows]
    values = np.asarray(features.values)[rows]
    return replace(features, values=values, labels=features.labels[rows], outputs=outputs)


def _curve(source: Prototypes, features: Features) -> dict[str, list[float]]:
    """Relative distance at so many images a class: mean, spread, and bootstrap's estimate of how
    much too far it is; empty where classes are too small."""
    counts = np.bincount(features.labels)
    if counts[counts > 0].min() < CURVE_CLASSES:
        return {}
    rng = np.random.Generator(np.random.Philox(key=2))
    curve: dict[str, list[float]] = {}
    for count in COUNTS:
        values, excess = [], []
        for _ in range(REPEATS):
            part = _rows(features, n_of_each(features, rng, count))
            value = _relative(source, part)
            values.append(value)
            excess.append(float(bootstrap(source, part, draws=40).relative_distance.mean()) - value)
        curve[str(count)] = [float(np.mean(values)), float(np.std(values)), float(np.mean(excess))]
    return curve
