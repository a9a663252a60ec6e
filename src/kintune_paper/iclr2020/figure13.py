"""Figure 13: learning curves from random weights.

    kintune reproduce figure13 --data DATA --runs RUNS

Cost: small 6 runs a set, 0.13 core-hours each set; paper 42 runs of 600 epochs. The paper printed
curves: weight decay 0.0005 is better than 0.0001 on every set.
"""

from kintune_paper.engine.declaration import (
    DeclaredRun,
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
)
from kintune_paper.iclr2020.axes import LEARNING_CURVES, core, scratch_grid


def declare(protocol: Protocol) -> Figure:
    """A panel a set and decay, a line a learning rate."""
    panels = tuple(panel for target in core(protocol) for panel in _panels(protocol, target))
    return Figure(panels=panels, x_label="epochs", y_label=LEARNING_CURVES, columns=4)


def _panels(protocol: Protocol, target: str) -> tuple[Panel, ...]:
    runs = scratch_grid(protocol, target)
    decays = sorted({run.settings.weight_decay for run in runs})
    return tuple(_panel(protocol, target, decay, runs) for decay in decays)


def _panel(protocol: Protocol, target: str, decay: float, runs: tuple[DeclaredRun, ...]) -> Panel:
    kept = (run for run in runs if run.settings.weight_decay == decay)
    lines = (Line(label=f"η = {run.settings.lr:g}", course=(run,)) for run in kept)
    return Panel(title=f"{protocol.title(target)}, λ = {decay:g}", lines=tuple(lines))


EXPERIMENT = Experiment(
    name="figure13",
    title="Learning curves from random weights",
    printed="Weight decay 0.0005 is consistently better than 0.0001.",
    declare=declare,
    differs="24 epochs, learning rates 0.02 to 0.5, decay 0.01 instead of 0.0005.",
)
