"""Table 3: momentum from other source domains.

    kintune reproduce table3 --data DATA --models MODELS --runs RUNS

Cost: small 24 runs of MobileNetV2, 0.4 core-hours, and twice that for two more seeds; paper 24
runs. The paper printed: momentum 0 is better from iNat2017 to Birds and from Places-365 to Indoor,
and worse for most other pairs.
"""

from kintune_paper.engine.declaration import Experiment, Protocol, Row, Table
from kintune_paper.iclr2020.axes import error_row
from kintune_paper.iclr2020.protocols import BIRDS_AND_INSECTS, MOMENTA, SEEDS

SMALL_SOURCES = ("in1k", "inat_birds", "inat_insects")
STATISTICS = (
    "The running statistics in the files of these networks are not those of their own training, so "
    "both ways are shown."
)
PAPER_SOURCES = ("resnet101v2.inat2017", "resnet101v2.places365")
PAPER_COLUMNS = (
    "mit-indoor67",
    "cub200",
    "stanford-dogs",
    "caltech256",
    "stanford-cars",
    "fgvc-aircraft",
)


def declare(protocol: Protocol) -> Table:
    """A row a source and momentum; in `small` also with the source's batch statistics frozen."""
    if protocol.name == "paper":
        rows = (
            _row(protocol, source, momentum, PAPER_COLUMNS)
            for source in PAPER_SOURCES
            for momentum in MOMENTA
        )
        names = tuple(protocol.title(target) for target in PAPER_COLUMNS)
        return Table(head=("Source domain", "m", *names), rows=tuple(rows))
    columns = protocol.sets if protocol.own_sets else BIRDS_AND_INSECTS
    rows = (
        _small_row(protocol, source, momentum, columns, is_frozen)
        for is_frozen in (False, True)
        for source in SMALL_SOURCES
        for momentum in MOMENTA
    )
    return Table(
        head=("Source domain", "batch statistics", "m", *map(protocol.title, columns)),
        rows=tuple(rows),
        notes=(STATISTICS,),
    )


def _row(protocol: Protocol, source: str, momentum: float, columns: tuple[str, ...]) -> Row:
    labels = (protocol.networks[source].title, f"{momentum:g}")
    return error_row(labels, protocol, source, columns, momentum=momentum)


def _small_row(
    protocol: Protocol, source: str, momentum: float, columns: tuple[str, ...], is_frozen: bool
) -> Row:
    labels = (
        protocol.networks[source].title,
        "frozen" if is_frozen else "trained",
        f"{momentum:g}",
    )
    changes = {"momentum": momentum, "freeze_bn_stats": is_frozen}
    return error_row(labels, protocol, source, columns, seeds=SEEDS, **changes)


EXPERIMENT = Experiment(
    name="table3",
    title="Momentum from other source domains",
    printed="Momentum 0 helps from iNat2017 to Birds and from Places-365 to Indoor.",
    declare=declare,
    differs="Three MobileNetV2 that differ in what they were trained on; birds and insects.",
)
