"""Figure 6: the penalties during training with the best settings of Table 5.

    kintune reproduce figure6 --data DATA --runs RUNS

Cost: nothing beyond Table 5. The paper printed the best settings in its legends: L2 shrinks the
weights, L2-SP holds them, and on Dogs both terms first grow.
"""

from kintune.runs.hyperparameters import RegularizerName
from kintune_paper.engine.declaration import Experiment, Figure, Line, Panel, Protocol
from kintune_paper.iclr2020.axes import core
from kintune_paper.iclr2020.table5 import searched


def declare(protocol: Protocol) -> Figure:
    """Panel a for L2, b for L2-SP, a line a set."""
    return Figure(
        panels=(
            Panel(title="(a) L2", lines=_lines(protocol, "l2"), course="normalized l2"),
            Panel(title="(b) L2-SP", lines=_lines(protocol, "l2-sp"), course="normalized penalty"),
        ),
        x_label="iterations",
        y_label="over its value at the start",
    )


def _lines(protocol: Protocol, method: RegularizerName) -> tuple[Line, ...]:
    return tuple(
        Line(label=protocol.title(target), course=searched(protocol, target, method))
        for target in core(protocol)
    )


EXPERIMENT = Experiment(
    name="figure6",
    title="The penalties during training",
    printed="L2 lowers the norm of the weights, L2-SP holds it; on Dogs both first grow.",
    declare=declare,
)
