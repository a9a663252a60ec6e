"""Facts about a fine-tuning before it starts, measured for the cases of a study."""

import math
from collections.abc import Mapping
from pathlib import Path

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.errors import ModelError
from kintune.experiments.rate_evidence import inputs_of, rank_between
from kintune.experiments.rate_units import SHIPPED_UNIT, rate_units
from kintune.records import Record
from kintune.reference import Origin, origin_of
from kintune.runs import write_json
from kintune.task import Task, measure, probe

FACTS = "facts.json"


class KnownFacts(Record):
    """One network and one target."""

    source: str
    domain: str
    """Source domain of the network."""
    target: str
    relative_distance: float
    prototypes_from: Origin
    """Relative distances compare within `images` and within `head`."""
    extractor: str
    weights_sha256: str = ""
    units: dict[str, float]
    """Units by which rates of the network could be divided (`kintune.experiments.rate_units`)."""
    images: int
    """Training images."""
    classes: int
    probe_top1_error: float
    """Error of a linear probe on the frozen features (`kintune.probe`), a fraction."""
    mean_confidence: float | None = None
    """Mean confidence of the source head on the target's training images."""

    def inputs(self, images_seen: int) -> dict[str, float]:
        """The facts as inputs of the models, with the images that training is to see."""
        error = min(max(self.probe_top1_error, 0.005), 0.995)
        rank = rank_between(self.relative_distance, self.prototypes_from)
        rank, log_images_seen = inputs_of(rank, images_seen)
        return {
            "rank": rank,
            "log_images_seen": log_images_seen,
            "distance": self.relative_distance,
            "log_trust_ratio": math.log10(self.units[SHIPPED_UNIT]),
            "log_images_per_class": math.log10(self.images / self.classes),
            "probe": math.log(error / (1 - error)),
        }


class FactsFile(Record):
    """`facts.json` of a study."""

    facts: tuple[KnownFacts, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """Names of what rates could be divided by."""
        return tuple(self.facts[0].units) if self.facts else ()

    def find(self, source: str, target: str) -> KnownFacts | None:
        """The facts of a network and a target."""
        found = (fact for fact in self.facts if (fact.source, fact.target) == (source, target))
        return next(found, None)


def measured_facts(source: str, backbone: Backbone, dataset: ImageDataset) -> KnownFacts:
    """Distance, weights and linear probe; seconds on a processor.

    Raises:
        ModelError: the weights are random.
    """
    task = Task(backbone=backbone, dataset=dataset, device="cpu")
    similarity, probed = measure(task), probe(task)
    if probed is None:
        raise ModelError(f"{backbone.name}: random weights know nothing beforehand.")
    return KnownFacts(
        source=source,
        domain=backbone.domain,
        target=dataset.name,
        relative_distance=round(similarity.relative_distance, 4),
        prototypes_from=origin_of(similarity),
        extractor=backbone.extractor,
        weights_sha256=backbone.weights_sha256,
        units=rate_units(backbone),
        images=len(dataset.splits["train"]),
        classes=len(dataset.classes),
        probe_top1_error=round(probed, 4),
        mean_confidence=similarity.mean_confidence,
    )


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
