"""Table 5: L2 against L2-SP, average class error after the same search.

    kintune reproduce table5 --data DATA --runs RUNS

Cost: small 72 runs and 16 repeats, 0.9 core-hours; paper 280 runs of 9,000 iterations. The paper
printed, beside quoted results of Li et al. (2018): L2-SP better on Dogs, hardly elsewhere; on
Aircrafts worse.
"""

from kintune.runs.hyperparameters import (
    APPENDIX_D_DECAYS,
    APPENDIX_D_LRS,
    APPENDIX_D_MILESTONES,
    RegularizerName,
)
from kintune_paper.engine.declaration import (
    Cell,
    CellKind,
    DeclaredRun,
    Experiment,
    Protocol,
    Row,
    Table,
)
from kintune_paper.iclr2020.axes import core, repeated

KIND: CellKind = "average class error"
METHODS: tuple[RegularizerName, ...] = ("l2", "l2-sp")
LABELS = {"l2": "L2 with HPO", "l2-sp": "L2-SP with HPO"}
LRS = {"small": (0.02, 0.005, 0.001), "paper": APPENDIX_D_LRS}
DECAYS = {"small": (0.1, 0.01, 0.001), "paper": APPENDIX_D_DECAYS}
ITERATIONS = {"small": None, "paper": 9000}


def searched(protocol: Protocol, target: str, method: RegularizerName) -> tuple[DeclaredRun, ...]:
    """The grid of appendix D; in `small` over as many epochs as all runs."""
    return protocol.runs(
        protocol.regularized,
        target,
        lr=LRS[protocol.name],
        weight_decay=DECAYS[protocol.name],
        regularizer=method,
        milestones=(APPENDIX_D_MILESTONES,),
        convention="torch",
        exempt_bias_and_norm=True,
        iterations=ITERATIONS[protocol.name],
    )


def declare(protocol: Protocol) -> Table:
    """A row a method."""
    columns = core(protocol)
    return Table(
        head=("Method", *(protocol.title(target) for target in columns)),
        rows=tuple(_row(protocol, method, columns) for method in METHODS),
        notes=("Average class error, %.",),
    )


def _row(protocol: Protocol, method: RegularizerName, columns: tuple[str, ...]) -> Row:
    cells = (
        Cell(choice=repeated(searched(protocol, target, method), protocol, KIND), kind=KIND)
        for target in columns
    )
    return Row(labels=(LABELS[method],), cells=tuple(cells))


EXPERIMENT = Experiment(
    name="table5",
    title="L2 and L2-SP after the same search",
    printed="L2-SP is better on Dogs; on the other sets, and the far ones above all, hardly.",
    declare=declare,
    differs="Batches of 32 and 12 epochs; 9 settings a method instead of 20.",
)
