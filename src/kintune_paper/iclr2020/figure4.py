"""Figure 4: the best error at each effective learning rate, for sources and networks.

    kintune reproduce figure4 --data DATA --models MODELS --runs RUNS

Cost: small about 5 core-hours with all seeds, nearly all shared; paper 1,722 runs, most of what the
paper computed. The paper printed the best error and rate of each set in its legends: the best η'
grows from 0.001 (Dogs) to 1.0 (Aircrafts) from ImageNet, and is 1 to 2 from random weights.
"""

from kintune_paper.engine.declaration import (
    DeclaredRun,
    Experiment,
    Figure,
    Panel,
    Protocol,
)
from kintune_paper.iclr2020.axes import (
    core,
    full_grid,
    rate_line,
    repeated_rates,
    scratch_grid,
)
from kintune_paper.iclr2020.protocols import MOBILE_SETS

PANELS = {
    "small": {"a": "in1k", "b": "pocket", "d": "inat_birds", "e": "inat_insects"},
    "paper": {
        "a": "resnet101v2",
        "b": "densenet121",
        "c": "mobilenet",
        "d": "resnet101v2.inat2017",
        "e": "resnet101v2.places365",
    },
}


def declare(protocol: Protocol) -> Figure:
    """Panels a to e choose over decay and momentum, f from random weights over decay."""
    panels = (
        _panel(protocol, letter, network) for letter, network in PANELS[protocol.name].items()
    )
    scratch = Panel(
        title=f"(f) {protocol.networks[protocol.scratch].title}",
        lines=tuple(
            rate_line(protocol, target, scratch_grid(protocol, target)) for target in core(protocol)
        ),
    )
    return Figure(
        panels=(*panels, scratch),
        x_label="effective learning rate η / (1 - m)",
        x_log=True,
        names_best=True,
    )


def _panel(protocol: Protocol, letter: str, network: str) -> Panel:
    return Panel(
        title=f"({letter}) {protocol.networks[network].title}",
        lines=tuple(
            rate_line(protocol, target, _runs(protocol, network, target))
            for target in _sets(protocol, network)
        ),
    )


def _sets(protocol: Protocol, network: str) -> tuple[str, ...]:
    is_mobile = protocol.name == "small" and network != protocol.main
    return MOBILE_SETS if is_mobile and not protocol.own_sets else protocol.sets


def _runs(protocol: Protocol, network: str, target: str) -> tuple[DeclaredRun, ...]:
    grid = full_grid(protocol, network, target)
    is_core = network == protocol.main and target in core(protocol)
    return (*repeated_rates(protocol, target), *grid) if is_core else grid


EXPERIMENT = Experiment(
    name="figure4",
    title="Best error at each effective learning rate",
    printed="The best η' is small for near sets and large for far ones, for every network.",
    declare=declare,
    differs=(
        "(a, d, e) MobileNetV2 at four rates with momentum 0.9; (b) pocket as another architecture "
        "and source; (c) has no counterpart, for there is no third network."
    ),
)
