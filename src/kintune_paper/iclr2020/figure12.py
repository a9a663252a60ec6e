"""Figure 12: Figure 11 on the other sets.

    kintune reproduce figure12 --data DATA --runs RUNS

Cost: nothing beyond Table 6. The paper printed curves on Caltech, Indoor, Birds and Cars.
"""

from kintune_paper.engine.declaration import Experiment, Figure, Protocol
from kintune_paper.iclr2020.axes import core
from kintune_paper.iclr2020.figure11 import curves, shown_here


def declare(protocol: Protocol) -> Figure:
    """The sets that Figure 11 leaves out."""
    shown = shown_here(protocol)
    rest = tuple(target for target in core(protocol) if target not in shown)
    return curves(protocol, rest or shown)


EXPERIMENT = Experiment(
    name="figure12",
    title="Learning curves of augmentations, other sets",
    printed="As Figure 11: without momentum Caltech is no longer overfitted.",
    declare=declare,
    differs="The training curve is the loss.",
)
