"""Networks, image sets and lengths of training of an earlier study of learning
rates, whose best rates the similarity study still reads.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from kintune_paper.context import NetworkFile
from kintune_paper.image_sets import DIGITS, HELD_OUT, TRAIN_IMAGES, whole

WHOLE_EPOCHS = 40
IMAGES_PER_SECOND = {32: 150, 64: 60, 128: 15}
"""Training images that one core of an AMD EPYC gets through, by image size, evaluations and
checkpoints included."""
NOT_WHOLE = (HELD_OUT, "insects")
"""A run on the 20,000 held-out images of CIFAR-100 would be 25,000 steps; of insects the bounded
subset is the whole set."""
WHOLE_IMAGES = 1300
"""To train on in a whole set, on average."""

SourceName = Literal[
    "pocket",
    "scratch",
    "in1k",
    "in1k_128px",
    "inat_birds",
    "inat_insects",
    "dla46_c",
    "tinynet_e",
]
BudgetName = Literal["long", "short", "whole"]

SETS = (
    "caltech101",
    "fsdd-spectrograms",
    "birds",
    "sign-digits",
    "clothing10",
    "grocery-store",
    "insects",
    "omniglot-small",
)


class Source(NamedTuple):
    """A network to start from, and the training that it gets."""

    network: NetworkFile
    image_size: int
    epochs: Mapping[BudgetName, int]
    first: tuple[int, ...]
    """Quarter decades that every curve begins with."""
    targets: tuple[str, ...]
    """Bounded subsets; the whole sets of the same names are those of the budget `whole`."""

    is_reference: bool = True
    """Whether recommendations may rest on its best rates; else they are measured beside them."""

    @property
    def all_targets(self) -> tuple[str, ...]:
        """Targets of any budget."""
        return tuple(dict.fromkeys(t for budget in self.epochs for t in self.targets_of(budget)))

    def targets_of(self, budget: BudgetName) -> tuple[str, ...]:
        """Targets that are trained on for so long."""
        if budget != "whole":
            return self.targets
        return tuple(whole(name) for name in self.targets if name not in NOT_WHOLE)


def _mobilenet(domain: str) -> Source:
    file = NetworkFile("mobilenetv2_100", f"mobilenetv2_100.{domain}.safetensors", 64)
    epochs: Mapping[BudgetName, int] = {"long": 40, "short": 8, "whole": WHOLE_EPOCHS}
    return Source(file, 64, epochs, (-10, -8, -6, -4), SETS)


def _larger(source: Source, image_size: int, targets: tuple[str, ...]) -> Source:
    """A source whose images are larger, short trainings alone: to see what is carried there."""
    return source._replace(
        network=source.network._replace(image_size=image_size),
        image_size=image_size,
        epochs={"short": source.epochs["short"]},
        targets=targets,
        is_reference=False,
    )


def _other_kind(name: str) -> Source:
    file = NetworkFile(name, f"{name}.safetensors")
    return _POCKET._replace(network=file, epochs={"short": 12})


_POCKET = Source(
    NetworkFile("pocket"),
    32,
    {"long": 60, "short": 12, "whole": WHOLE_EPOCHS},
    (-10, -8, -6, -4, -2, 0),
    (HELD_OUT, *SETS, DIGITS),
)
SOURCES: Mapping[SourceName, Source] = {
    "pocket": _POCKET,
    "scratch": _POCKET._replace(epochs={"long": 60, "short": 12}, is_reference=False),
    "in1k": _mobilenet("in1k"),
    "in1k_128px": _larger(_mobilenet("in1k"), 128, ("birds", "sign-digits")),
    "inat_birds": _mobilenet("inat_birds"),
    "inat_insects": _mobilenet("inat_insects"),
    "dla46_c": _other_kind("dla46_c"),
    "tinynet_e": _other_kind("tinynet_e"),
}
TARGETS = tuple(dict.fromkeys(name for plan in SOURCES.values() for name in plan.all_targets))
"""Targets of any source."""


def core_hours(source: SourceName, budget: BudgetName) -> float:
    """Time of a run, roughly, on one core of a processor."""
    plan = SOURCES[source]
    images = plan.epochs[budget] * (WHOLE_IMAGES if budget == "whole" else TRAIN_IMAGES)
    return images / IMAGES_PER_SECOND[plan.image_size] / 3600


def network_file(source: SourceName) -> NetworkFile:
    """Where the network of a source is."""
    return SOURCES[source].network
