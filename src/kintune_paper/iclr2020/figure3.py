"""Figure 3: momentum with the effective learning rate held, and without.

    kintune reproduce figure3 --data DATA --runs RUNS

Cost: small 12 runs a set, all of them of Figure 4; paper 168 runs of Figure 4. The paper printed
bars without numbers: at equal η' momentum 0 and 0.9 are nearly even, other η' are not.
"""

from kintune_paper.engine.declaration import (
    Choice,
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
)
from kintune_paper.iclr2020.axes import decays, titles
from kintune_paper.iclr2020.protocols import MOMENTA

RATES = {"small": (1.0, 0.1, 0.01), "paper": (0.1, 0.01, 0.001)}
"""Effective learning rates."""


def declare(protocol: Protocol) -> Figure:
    """A line a rate and momentum over the sets; each point the best over weight decay."""
    lines = (
        Line(
            label=f"η' = {rate:g}, m = {momentum:g}",
            points=tuple(
                (float(place), _choice(protocol, target, rate, momentum))
                for place, target in enumerate(protocol.sets)
            ),
        )
        for rate in RATES[protocol.name]
        for momentum in MOMENTA
    )
    return Figure(
        panels=(Panel(title=protocol.networks[protocol.main].title, lines=tuple(lines)),),
        categories=titles(protocol),
    )


def _choice(protocol: Protocol, target: str, rate: float, momentum: float) -> Choice:
    lr = round(rate * (1 - momentum), 10)
    return protocol.runs(
        protocol.main,
        target,
        momentum=momentum,
        lr=lr,
        weight_decay=decays(protocol, momentum),
    )


EXPERIMENT = Experiment(
    name="figure3",
    title="Momentum with and without a fixed effective learning rate",
    printed="At equal η' momentum 0 and 0.9 are almost equivalent; other η' are not.",
    declare=declare,
)
