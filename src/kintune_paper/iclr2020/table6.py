"""Table 6: augmentations at two momenta, random crops at a larger rate too.

    kintune reproduce table6 --data DATA --runs RUNS

Cost: small 24 runs beside those of Table 2, 0.25 core-hours; paper 42 runs. The paper printed:
without momentum random resized crops no longer overfit Dogs and Caltech; random crops then need a
larger rate.
"""

from kintune.runs.hyperparameters import AugmentationName
from kintune_paper.engine.declaration import Experiment, Protocol, Row, Table
from kintune_paper.iclr2020.axes import core, error_row
from kintune_paper.iclr2020.protocols import MOMENTA

LABELS: dict[AugmentationName, str] = {
    "random_resized_crop": "Rand resized crop",
    "random_crop": "Rand crop",
    "flip": "Random flip",
}
LINES: tuple[tuple[AugmentationName, float], ...] = (
    ("random_resized_crop", 0.01),
    ("random_crop", 0.01),
    ("random_crop", 0.05),
)
OWN: tuple[AugmentationName, float] = ("flip", 0.01)


def declare(protocol: Protocol) -> Table:
    """A row an augmentation, rate and momentum; `small` adds its own standard, mirroring."""
    lines = LINES if protocol.name == "paper" else (*LINES, OWN)
    rows = (_row(protocol, kind, lr, momentum) for kind, lr in lines for momentum in MOMENTA)
    names = tuple(protocol.title(target) for target in core(protocol))
    return Table(head=("Data Augmentation", "m", "η", *names), rows=tuple(rows))


def _row(protocol: Protocol, kind: AugmentationName, lr: float, momentum: float) -> Row:
    return error_row(
        (LABELS[kind], f"{momentum:g}", f"{lr:g}"),
        protocol,
        protocol.main,
        core(protocol),
        augmentation=kind,
        lr=lr,
        momentum=momentum,
    )


EXPERIMENT = Experiment(
    name="table6",
    title="Augmentation and momentum",
    printed="Random resized crops overfit near sets with momentum 0.9 and not without.",
    declare=declare,
)
