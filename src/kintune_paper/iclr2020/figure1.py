"""Figure 1: momentum and learning rate on one set.

    kintune reproduce figure1 --data DATA --runs RUNS

Cost: small 46 runs with two more seeds, 0.5 core-hours; paper 25 runs. The paper printed no
numbers: at learning rate 0.01 momentum 0 was best on Birds (a), and the best rate grew without
momentum (b).
"""

from kintune_paper.engine.declaration import (
    DeclaredRun,
    Experiment,
    Figure,
    Line,
    Panel,
    Protocol,
    by_value,
)
from kintune_paper.iclr2020.axes import example, repeated_rates
from kintune_paper.iclr2020.protocols import ALL_MOMENTA, MOMENTA

DECAYS = {"small": (0.01, 1e-4, 0.0), "paper": (5e-4, 1e-4, 0.0)}


def declare(protocol: Protocol) -> Figure:
    """(a) error against momentum, a line a decay; (b) against learning rate, a line a momentum."""
    target = example(protocol)
    decays = tuple(_momenta(protocol, target, decay) for decay in DECAYS[protocol.name])
    runs = repeated_rates(protocol, target)
    rates = tuple(_rates(runs, momentum) for momentum in MOMENTA)
    name = protocol.title(target)
    return Figure(
        panels=(
            Panel(title=f"(a) {name}, η = 0.01", lines=decays, x_label="momentum"),
            Panel(
                title=f"(b) {name}, λ = 0.0001", lines=rates, x_label="learning rate η", x_log=True
            ),
        ),
    )


def _momenta(protocol: Protocol, target: str, decay: float) -> Line:
    runs = protocol.runs(protocol.main, target, momentum=ALL_MOMENTA, weight_decay=decay)
    return Line(label=f"λ = {decay:g}", points=by_value(runs, lambda used: used.momentum))


def _rates(runs: tuple[DeclaredRun, ...], momentum: float) -> Line:
    kept = tuple(run for run in runs if run.settings.momentum == momentum)
    return Line(label=f"m = {momentum:g}", points=by_value(kept, lambda used: used.lr))


EXPERIMENT = Experiment(
    name="figure1",
    title="Momentum and learning rate on one set",
    printed="On Birds momentum 0 is best at η = 0.01; without momentum larger rates are.",
    declare=declare,
)
