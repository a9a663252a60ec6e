"""Table 2: eight settings on seven sets.

    kintune reproduce table2 --data DATA --runs RUNS

Cost: small 56 runs, 0.6 core-hours, most of them shared with Figures 1, 8 and 9; paper 56 runs. The
paper printed: at equal learning rate momentum 0 is better on Dogs, Caltech and Indoor, 0.9 on Cars,
Aircrafts and Flowers.
"""

from kintune_paper.engine.declaration import Experiment, Protocol, Table
from kintune_paper.iclr2020.axes import error_row, titles
from kintune_paper.iclr2020.protocols import MOMENTA

SETTINGS = tuple(
    (momentum, lr, decay) for momentum in MOMENTA for lr in (0.01, 0.005) for decay in (1e-4, 0.0)
)


def declare(protocol: Protocol) -> Table:
    """A row a setting, a column a set."""
    return Table(
        head=("m", "η", "λ", *titles(protocol)),
        rows=tuple(
            error_row(
                (f"{momentum:g}", f"{lr:g}", f"{decay:g}"),
                protocol,
                protocol.main,
                protocol.sets,
                momentum=momentum,
                lr=lr,
                weight_decay=decay,
            )
            for momentum, lr, decay in SETTINGS
        ),
    )


EXPERIMENT = Experiment(
    name="table2",
    title="Eight settings of momentum, learning rate and decay",
    printed="Momentum 0 is better on the near sets, 0.9 on the far ones, at equal learning rate.",
    declare=declare,
)
