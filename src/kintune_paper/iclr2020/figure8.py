"""Figure 8: learning curves of momentum 0.9 and 0 over learning rates on the nearest set.

    kintune reproduce figure8 --data DATA --runs RUNS

Cost: small 11 runs, 0.12 core-hours; paper 14 runs. The paper printed curves on Dogs: the best
learning rate grows tenfold from momentum 0.9 to 0.
"""

from kintune_paper.engine.declaration import (
    DeclaredRun,
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
)
from kintune_paper.iclr2020.axes import LEARNING_CURVES, rates
from kintune_paper.iclr2020.protocols import MOMENTA

ONE_MORE = 0.0005
"""A learning rate that Figures 8 and 9 of the paper show beside those of section 3.1."""


def curves(protocol: Protocol, targets: tuple[str, ...]) -> Figure:
    """Two panels a set, a line a learning rate."""
    panels = (_panel(protocol, target, momentum) for target in targets for momentum in MOMENTA)
    return Figure(panels=tuple(panels), x_label="epochs", y_label=LEARNING_CURVES, columns=4)


def _panel(protocol: Protocol, target: str, momentum: float) -> Panel:
    runs = rates(protocol, protocol.main, target, momentum)
    if protocol.name == "paper":
        runs += protocol.runs(protocol.main, target, momentum=momentum, lr=ONE_MORE)
    ordered = sorted(runs, key=lambda run: -run.settings.lr)
    title = f"{protocol.title(target)}, m = {momentum:g}"
    return Panel(title=title, lines=tuple(_line(run) for run in ordered))


def _line(run: DeclaredRun) -> Line:
    return Line(label=f"η = {run.settings.lr:g}", course=(run,))


def declare(protocol: Protocol) -> Figure:
    """The nearest set."""
    return curves(protocol, protocol.sets[:1])


EXPERIMENT = Experiment(
    name="figure8",
    title="Learning curves over learning rates, nearest set",
    printed="On Dogs the best learning rate grows tenfold from momentum 0.9 to 0.",
    declare=declare,
    differs="The training curve is the loss.",
)
