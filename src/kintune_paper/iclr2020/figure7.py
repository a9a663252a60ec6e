"""Figure 7: learning curves of five momenta, three decays and two batch sizes on one set.

    kintune reproduce figure7 --data DATA --runs RUNS

Cost: small 30 runs, 0.3 core-hours for batches of 32 and more for those of 8; paper 30 runs. The
paper printed curves: momentum 0 was best in 5 of 6 configurations on Birds.
"""

from kintune_paper.engine.declaration import (
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
)
from kintune_paper.iclr2020.axes import LEARNING_CURVES, example
from kintune_paper.iclr2020.figure1 import DECAYS
from kintune_paper.iclr2020.protocols import ALL_MOMENTA

BATCH_SIZES = {"small": (32, 8), "paper": (256, 16)}


def declare(protocol: Protocol) -> Figure:
    """A panel a batch size and decay, a line a momentum."""
    return Figure(
        panels=tuple(
            _panel(protocol, batch_size, decay)
            for batch_size in BATCH_SIZES[protocol.name]
            for decay in DECAYS[protocol.name]
        ),
        x_label="epochs",
        y_label=LEARNING_CURVES,
    )


def _panel(protocol: Protocol, batch_size: int, decay: float) -> Panel:
    lines = (
        Line(
            label=f"m = {momentum:g}",
            course=protocol.runs(
                protocol.main,
                example(protocol),
                momentum=momentum,
                weight_decay=decay,
                batch_size=batch_size,
            ),
        )
        for momentum in ALL_MOMENTA
    )
    return Panel(title=f"n = {batch_size}, λ = {decay:g}", lines=tuple(lines))


EXPERIMENT = Experiment(
    name="figure7",
    title="Learning curves of momentum, decay and batch size",
    printed="On Birds momentum 0 has the lowest validation error in 5 of 6 configurations.",
    declare=declare,
    differs="Batches of 32 and 8 instead of 256 and 16; the training curve is the loss.",
)
