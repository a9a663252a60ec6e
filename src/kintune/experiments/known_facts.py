"""What can be known of a fine-tuning before it starts, measured for the cases of a study."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kintune.backbones import Backbone, squared_filter_norm
from kintune.datasets import ImageDataset
from kintune.features import extract_features
from kintune.records import Record
from kintune.runs import write_json
from kintune.task import Task, measure

FACTS = "facts.json"
PROBE_STRENGTH = 0.1
"""Inverse of the probe's L2 penalty, on features of unit variance."""
PROBE_ITERATIONS = 300


class KnownFacts(Record):
    """One network and one target."""

    source: str
    domain: str
    """What the network was trained on."""
    target: str
    relative_distance: float
    prototypes_from: str
    """Relative distances compare within `images` and within `head`."""
    extractor: str
    squared_filter_norm: float
    images: int
    """Training images."""
    classes: int
    probe_top1_error: float
    """Validation error of logistic regression on frozen features, a fraction."""
    mean_confidence: float | None = None
    """Of the source head on the target's training images."""

    def inputs(self, steps: int) -> dict[str, float]:
        """The facts as inputs of the models, with the steps that are planned."""
        error = min(max(self.probe_top1_error, 0.005), 0.995)
        return {
            "distance": self.relative_distance,
            "log_steps": math.log10(steps),
            "log_norm": math.log10(self.squared_filter_norm),
            "log_images_per_class": math.log10(self.images / self.classes),
            "probe": math.log(error / (1 - error)),
        }


class FactsFile(Record):
    """`facts.json` of a study."""

    facts: tuple[KnownFacts, ...] = ()

    def find(self, source: str, target: str) -> KnownFacts | None:
        """The facts of a network and a target."""
        found = (fact for fact in self.facts if (fact.source, fact.target) == (source, target))
        return next(found, None)


def measured_facts(source: str, backbone: Backbone, dataset: ImageDataset) -> KnownFacts:
    """Distance, weights and linear probe; seconds on a processor."""
    similarity = measure(Task(backbone=backbone, dataset=dataset, device="cpu"), None)
    return KnownFacts(
        source=source,
        domain=backbone.domain,
        target=dataset.name,
        relative_distance=round(similarity.relative_distance, 4),
        prototypes_from=similarity.prototypes_from,
        extractor=backbone.extractor,
        squared_filter_norm=round(squared_filter_norm(backbone.network), 4),
        images=len(dataset.splits["train"]),
        classes=len(dataset.classes),
        probe_top1_error=round(probe_error(backbone, dataset), 4),
        mean_confidence=similarity.mean_confidence,
    )


def probe_error(backbone: Backbone, dataset: ImageDataset) -> float:
    """Validation top-1 error of logistic regression on the features of the training images."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train, val = (extract_features(backbone, dataset, split) for split in ("train", "val"))
    mean, spread = train.values.mean(axis=0), train.values.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    probe = LogisticRegression(C=PROBE_STRENGTH, max_iter=PROBE_ITERATIONS)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        probe.fit((train.values - mean) / spread, train.labels)
    predicted = probe.predict((val.values - mean) / spread)
    return float(np.mean(predicted != val.labels))


def read_facts(path: Path) -> FactsFile:
    """The facts in a file; none where there is none yet."""
    return FactsFile.read(path) if path.exists() else FactsFile()


def add_facts(path: Path, facts: KnownFacts) -> None:
    """Add to a file, in place of what it said of the same network and target."""
    kept: Mapping[tuple[str, str], KnownFacts] = {
        (each.source, each.target): each for each in (*read_facts(path).facts, facts)
    }
    ordered = tuple(kept[key] for key in sorted(kept))
    write_json(path, FactsFile(facts=ordered).to_json())
