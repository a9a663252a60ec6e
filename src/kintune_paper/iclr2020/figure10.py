"""Figure 10: momentum of the batch statistics at the best settings.

    kintune reproduce figure10 --data DATA --runs RUNS

Cost: small 3 runs a set beyond Figure 8, 0.03 core-hours each; paper 28 runs. The paper printed
bars without numbers: no great difference from 0.9 on, 0.99 slightly better on some sets.
"""

from kintune_paper.engine.declaration import (
    Choice,
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
    Variation,
)
from kintune_paper.iclr2020.axes import core, full_grid, rates

KEPT = (0.0, 0.9, 0.95, 0.99)
"""Share of the running statistics that a step keeps."""
OWN = 0.9
"""Momentum of the batch statistics of all networks here."""


def declare(protocol: Protocol) -> Figure:
    """A line a set, at its best rate (small) or best setting (paper)."""
    lines = (
        Line(
            label=protocol.title(target),
            points=tuple((kept, _choice(protocol, target, kept)) for kept in KEPT),
        )
        for target in core(protocol)
    )
    return Figure(
        panels=(Panel(title="at the best setting", lines=tuple(lines)),),
        x_label="momentum of batch statistics",
    )


def _choice(protocol: Protocol, target: str, kept: float) -> Choice:
    searched = (
        full_grid(protocol, protocol.main, target)
        if protocol.name == "paper"
        else rates(protocol, protocol.main, target, 0.9)
    )
    if kept == OWN:
        return searched
    return (Variation(of=searched, change=(("bn_momentum", kept),)),)


EXPERIMENT = Experiment(
    name="figure10",
    title="Momentum of batch statistics",
    printed="No great difference from 0.9 on; 0.99 is slightly better on some sets.",
    declare=declare,
    differs="The best learning rate at momentum 0.9 instead of the best of the whole grid.",
)
