"""Figure 5: the best error at each effective weight decay λ/η.

    kintune reproduce figure5 --data DATA --runs RUNS

Cost: nothing beyond Figure 4. The paper printed curves without numbers: the best λ' = λ/η is larger
for sets near to the source.
"""

from kintune_paper.engine.declaration import (
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
    by_value,
)
from kintune_paper.iclr2020.axes import core, full_grid
from kintune_paper.iclr2020.figure4 import PANELS

LETTERS = {"small": ("b",), "paper": ("a", "d", "e")}


def declare(protocol: Protocol) -> Figure:
    """A panel a source, a line a set; λ = 0 has no place on the axis."""
    networks = (PANELS[protocol.name][letter] for letter in LETTERS[protocol.name])
    return Figure(
        panels=tuple(_panel(protocol, network) for network in networks),
        x_label="effective weight decay λ' = λ/η",
        x_log=True,
    )


def _panel(protocol: Protocol, network: str) -> Panel:
    lines = (_line(protocol, network, target) for target in core(protocol))
    return Panel(title=protocol.networks[network].title, lines=tuple(lines))


def _line(protocol: Protocol, network: str, target: str) -> Line:
    runs = (run for run in full_grid(protocol, network, target) if run.settings.weight_decay)
    points = by_value(tuple(runs), lambda used: used.effective_weight_decay)
    return Line(label=protocol.title(target), points=points)


EXPERIMENT = Experiment(
    name="figure5",
    title="Best error at each effective weight decay",
    printed="The best λ' = λ/η is larger when the set is near to the source.",
    declare=declare,
    differs="One source: the MobileNetV2 runs have one decay.",
)
