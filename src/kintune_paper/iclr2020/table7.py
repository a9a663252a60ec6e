"""Table 7: errors of the source networks on their own validation sets.

    kintune reproduce table7 --data DATA --runs RUNS

Cost: small some seconds; paper 2 runs, the making of the sources iNat2017 and Places-365. The paper
printed 32.2 and 31.5 %; the value of ImageNet is illegible.
"""

from kintune_paper.engine.declaration import (
    Cell,
    Experiment,
    Measurement,
    Protocol,
    Row,
    Table,
)

MADE = ("inat2017", "places365")


def declare(protocol: Protocol) -> Table:
    """A row a source."""
    own = Measurement(kind="source error", network=protocol.main)
    cells = (Cell(measurement=own, fact="classes"), Cell(measurement=own, fact="top1_error"))
    rows = [Row(labels=(protocol.networks[protocol.main].title,), cells=cells)]
    if protocol.name == "paper":
        rows += [_made(protocol, target) for target in MADE]
    return Table(
        head=("Dataset", "class", "Top-1 error"),
        rows=tuple(rows),
        notes=()
        if protocol.name == "paper"
        else ("No validation images of the MobileNetV2 sources are at hand.",),
    )


def _made(protocol: Protocol, target: str) -> Row:
    counted = Measurement(kind="images", network=protocol.main, target=target)
    runs = protocol.runs(protocol.maker, target)
    cells = (Cell(measurement=counted, fact="classes"), Cell(choice=runs))
    return Row(labels=(protocol.title(target),), cells=cells)


EXPERIMENT = Experiment(
    name="table7",
    title="Errors of the source networks",
    printed="iNat2017 32.2 %, Places-365 31.5 %, ImageNet illegible.",
    declare=declare,
)
