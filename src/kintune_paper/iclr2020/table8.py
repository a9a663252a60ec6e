"""Table 8: default settings against a search, fine-tuned and from random weights.

    kintune reproduce table8 --data DATA --models MODELS --runs RUNS

Cost: nothing beyond Figures 4 and 13. The paper printed: with default settings training from random
weights looks far behind; after a search the gaps close on Cars and Aircrafts.
"""

from collections.abc import Callable

from kintune.runs.defaults import MOMENTUM, USUAL_LR, WEIGHT_DECAY
from kintune_paper.engine.declaration import (
    Cell,
    Choice,
    Experiment,
    Protocol,
    Row,
    Table,
)
from kintune_paper.iclr2020.axes import (
    core,
    full_grid,
    repeated,
    repeated_rates,
    scratch_grid,
    titles,
)
from kintune_paper.iclr2020.protocols import MOBILE_SETS

Chooser = Callable[[Protocol, str, str], Choice]
"""Candidates for a cell of a source and a set."""
SOURCES = {
    "small": ("pocket", "in1k", "inat_birds", "inat_insects"),
    "paper": ("resnet101v2", "resnet101v2.inat2017", "resnet101v2.places365"),
}


def declare(protocol: Protocol) -> Table:
    """Default, then searched; a row a source, the last from random weights."""
    sources = SOURCES[protocol.name]
    return Table(
        head=("Method", "Source", *titles(protocol)),
        rows=(
            *(_row(protocol, "FT Default", source, default) for source in sources),
            _row(protocol, "ST Default", protocol.scratch, scratch_default),
            *(_row(protocol, "FT HPO", source, searched) for source in sources),
            _row(protocol, "ST HPO", protocol.scratch, scratch_searched),
        ),
    )


def default(protocol: Protocol, source: str, target: str) -> Choice:
    """The usual setting of fine-tuning."""
    if protocol.name == "small" and source != protocol.main and not _is_mobile(protocol, target):
        return ()
    return protocol.runs(source, target, lr=USUAL_LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def searched(protocol: Protocol, source: str, target: str) -> Choice:
    """The grid of Figure 4."""
    grid = full_grid(protocol, source, target)
    is_core = source == protocol.main and target in core(protocol)
    return (*repeated_rates(protocol, target), *grid) if is_core else grid


def scratch_default(protocol: Protocol, source: str, target: str) -> Choice:
    """The usual setting of training: learning rate 0.1."""
    return protocol.runs(source, target) if target in core(protocol) else ()


def scratch_searched(protocol: Protocol, _: str, target: str) -> Choice:
    """The grid of Figure 13."""
    if target not in core(protocol):
        return ()
    return repeated(scratch_grid(protocol, target), protocol)


def _is_mobile(protocol: Protocol, target: str) -> bool:
    return target in MOBILE_SETS or protocol.own_sets


def _row(protocol: Protocol, method: str, source: str, choice: Chooser) -> Row:
    cells = (Cell(choice=choice(protocol, source, target)) for target in protocol.sets)
    return Row(labels=(method, protocol.networks[source].title), cells=tuple(cells))


EXPERIMENT = Experiment(
    name="table8",
    title="Default settings and a search",
    printed="Default settings suggest conclusions that a search does not bear out.",
    declare=declare,
)
