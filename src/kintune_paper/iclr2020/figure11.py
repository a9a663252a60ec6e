"""Figure 11: learning curves of three augmentations at two momenta.

    kintune reproduce figure11 --data DATA --runs RUNS

Cost: nothing beyond Table 6. The paper printed curves on Dogs, Aircrafts and Flowers: strong
augmentation is slower to learn, overfits Dogs at momentum 0.9 and does not at 0.
"""

from kintune.runs.hyperparameters import AugmentationName
from kintune_paper.engine.declaration import Experiment, Figure, Line, Panel, Protocol
from kintune_paper.iclr2020.axes import LEARNING_CURVES, core
from kintune_paper.iclr2020.protocols import MOMENTA
from kintune_paper.iclr2020.table6 import LABELS

PAPER_SETS = ("stanford-dogs", "fgvc-aircraft", "flowers102")


def curves(protocol: Protocol, targets: tuple[str, ...]) -> Figure:
    """A panel a momentum and set, a line an augmentation."""
    panels = (_panel(protocol, target, momentum) for momentum in MOMENTA for target in targets)
    return Figure(panels=tuple(panels), x_label="epochs", y_label=LEARNING_CURVES)


def shown_here(protocol: Protocol) -> tuple[str, ...]:
    """The nearest set and the two farthest."""
    sets = core(protocol)
    return PAPER_SETS if protocol.name == "paper" else (sets[0], *sets[1:][-2:])


def _panel(protocol: Protocol, target: str, momentum: float) -> Panel:
    title = f"{protocol.title(target)}, m = {momentum:g}"
    lines = (_line(protocol, target, momentum, kind) for kind in LABELS)
    return Panel(title=title, lines=tuple(lines))


def _line(protocol: Protocol, target: str, momentum: float, kind: AugmentationName) -> Line:
    runs = protocol.runs(protocol.main, target, momentum=momentum, augmentation=kind)
    return Line(label=LABELS[kind], course=runs)


def declare(protocol: Protocol) -> Figure:
    """A near set and two far ones."""
    return curves(protocol, shown_here(protocol))


EXPERIMENT = Experiment(
    name="figure11",
    title="Learning curves of augmentations",
    printed="Strong augmentation overfits Dogs at momentum 0.9, helps Aircrafts and Flowers.",
    declare=declare,
    differs="The training curve is the loss.",
)
