"""Table 1: the data sets.

    kintune reproduce table1 --data DATA --runs RUNS

Cost: a minute of decoding; no run of training. The paper printed nine sets with 102 to 5,089
classes and 2,040 to 1,803,460 training images.
"""

from kintune_paper.engine.declaration import (
    Cell,
    Experiment,
    Measurement,
    Protocol,
    Row,
    Table,
)

FACTS = ("classes", "train", "val", "test")


def declare(protocol: Protocol) -> Table:
    """A row a set."""
    sets = protocol.sets
    if protocol.name == "paper":
        sets = (*sets, "inat2017", "places365")
    return Table(
        head=("Datasets", "Classes", "Training", "Validation", "Test"),
        rows=tuple(_row(protocol, target) for target in sets),
        notes=(
            "Validation images are ours: they choose, where the paper chooses on the test images.",
        ),
    )


def _row(protocol: Protocol, target: str) -> Row:
    counted = Measurement(kind="images", network=protocol.main, target=target)
    cells = (Cell(measurement=counted, fact=fact) for fact in FACTS)
    return Row(labels=(protocol.title(target),), cells=tuple(cells))


EXPERIMENT = Experiment(
    name="table1",
    title="Datasets statistics",
    printed="Nine sets; Caltech-256-60 with a test count that its images cannot give.",
    declare=declare,
)
