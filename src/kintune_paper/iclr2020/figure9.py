"""Figure 9: Figure 8 on the other sets.

    kintune reproduce figure9 --data DATA --runs RUNS

Cost: small 11 runs a set, 0.12 core-hours each; paper 84 runs. The paper printed curves, of which
the legends of two are legible: on Indoor with momentum 0.9 the error is lowest at 0.0005, on Cars
at 0.1.
"""

from kintune_paper.engine.declaration import Experiment, Figure, Protocol
from kintune_paper.iclr2020.figure8 import curves


def declare(protocol: Protocol) -> Figure:
    """All sets but the nearest."""
    return curves(protocol, protocol.sets[1:] or protocol.sets)


EXPERIMENT = Experiment(
    name="figure9",
    title="Learning curves over learning rates, other sets",
    printed="The best learning rate grows tenfold from momentum 0.9 to 0 on every set.",
    declare=declare,
    differs="The training curve is the loss.",
)
