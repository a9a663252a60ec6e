"""Table 4: domain similarity and the best effective learning rate.

    kintune reproduce table4 --data DATA --models MODELS --runs RUNS

Cost: some minutes beyond Figure 4. The paper printed exp(-0.01 d) by six extractors, JFT's for five
sets only, and the best η' of five networks: the nearer the set, the smaller, roughly.
"""

from kintune_paper.engine.declaration import (
    Cell,
    Experiment,
    Measurement,
    Protocol,
    Row,
    Table,
)
from kintune_paper.iclr2020.axes import core, full_grid, repeated_rates
from kintune_paper.iclr2020.figure4 import PANELS
from kintune_paper.iclr2020.protocols import MOBILE_SETS

EXTRACTORS = (
    "sim is exp(-0.01 d) of equation (4); δ is the relative distance, which needs no images of the "
    "source. CIFAR-100 is measured by the network trained on it and by one that is the same for "
    "all, the two kinds of extractor of appendix B."
)
JFT = "not available"
SMALL_SOURCES = ("inat_birds", "inat_insects")


def declare(protocol: Protocol) -> Table:
    """A row a set; a similarity and a rate for each source."""
    if protocol.name == "paper":
        networks = tuple(PANELS["paper"].values())
        pairs = (
            part for network in networks for part in (f"{_title(protocol, network)} sim", "η'")
        )
        rows = (_paper_row(protocol, networks, target) for target in protocol.sets)
        return Table(
            head=("", "JFT, ResNet-101 sim", *pairs),
            rows=tuple(rows),
            notes=("JFT and its network were never published: that column is the paper's alone.",),
        )
    return _small(protocol)


def _title(protocol: Protocol, network: str) -> str:
    return protocol.networks[network].title


def _paper_row(protocol: Protocol, networks: tuple[str, ...], target: str) -> Row:
    cells = [Cell(text=JFT)]
    for network in networks:
        measured = Measurement(kind="similarity", network=network, target=target)
        cells += [
            Cell(measurement=measured, fact="similarity"),
            Cell(choice=full_grid(protocol, network, target), kind="effective rate"),
        ]
    return Row(labels=(protocol.title(target),), cells=tuple(cells))


def _small(protocol: Protocol) -> Table:
    sets = dict.fromkeys((*protocol.sets, *(() if protocol.own_sets else MOBILE_SETS)))
    return Table(
        head=(
            "",
            "CIFAR-100 by pocket: sim",
            "δ",
            "η'",
            "CIFAR-100 by MobileNetV2: sim",
            "ImageNet by MobileNetV2: sim",
            "δ",
            "η'",
            "iNat birds: δ",
            "η'",
            "iNat insects: δ",
            "η'",
        ),
        rows=tuple(_small_row(protocol, target) for target in sets),
        notes=(EXTRACTORS, "ImageNet's class means are of one image a class, at 96 px."),
    )


def _small_row(protocol: Protocol, target: str) -> Row:
    own = Measurement(kind="similarity", network="pocket", target=target)
    fixed = Measurement(kind="similarity", network="pocket", extractor="in1k", target=target)
    imagenet = Measurement(kind="similarity", network="in1k_96px", target=target)
    grid = full_grid(protocol, protocol.main, target) if target in protocol.sets else ()
    if target in core(protocol):
        grid = (*repeated_rates(protocol, target), *grid)
    cells = [
        Cell(measurement=own, fact="similarity"),
        Cell(measurement=own, fact="relative_distance"),
        Cell(choice=grid, kind="effective rate"),
        Cell(measurement=fixed, fact="similarity"),
        Cell(measurement=imagenet, fact="similarity"),
        Cell(measurement=imagenet, fact="relative_distance"),
        Cell(choice=full_grid(protocol, "in1k", target), kind="effective rate"),
    ]
    for network in SMALL_SOURCES:
        measured = Measurement(kind="similarity", network=network, target=target)
        cells += [
            Cell(measurement=measured, fact="relative_distance"),
            Cell(choice=full_grid(protocol, network, target), kind="effective rate"),
        ]
    return Row(labels=(protocol.title(target),), cells=tuple(cells))


EXPERIMENT = Experiment(
    name="table4",
    title="Domain similarity and best effective learning rate",
    printed="The more similar the domains, the smaller the best η', roughly.",
    declare=declare,
)
