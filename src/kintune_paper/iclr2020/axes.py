"""Grids that several experiments share: the same runs in another table or figure."""

from kintune.runs.defaults import WEIGHT_DECAY
from kintune_paper.engine.declaration import (
    Cell,
    CellKind,
    Choice,
    DeclaredRun,
    Line,
    Protocol,
    Row,
    Variation,
    by_value,
)
from kintune_paper.iclr2020.protocols import (
    CORE,
    MOBILE_LRS,
    MOBILE_SETS,
    MOMENTA,
    PAIR,
    SEEDS,
    STRONG_DECAY,
)

LEARNING_CURVES = "error (dashed), loss (solid), %"
"""Quantities of learning curves: of validation images in percent; of training images in percent of
the loss of a guess."""
PAPER_DECAYS = (0.0, 1e-4, 5e-4, 1e-3)
"""Section 3.1."""


def lrs(protocol: Protocol, momentum: float) -> tuple[float, ...]:
    """The learning rates of a momentum."""
    without = protocol.lrs_without_momentum
    return without if without and momentum == 0 else protocol.lrs


def decays(protocol: Protocol, momentum: float) -> tuple[float, ...]:
    """The weight decays of a momentum, beside those that single experiments add."""
    if protocol.name == "paper":
        return PAPER_DECAYS
    return (WEIGHT_DECAY, STRONG_DECAY[momentum])


def rates(
    protocol: Protocol, network: str, target: str, momentum: float, seeds: tuple[int, ...] = (0,)
) -> tuple[DeclaredRun, ...]:
    """Learning rates at one momentum and the usual decay: Figures 1b, 8 and 9."""
    return protocol.runs(
        network,
        target,
        seeds=seeds,
        momentum=momentum,
        lr=lrs(protocol, momentum),
        weight_decay=WEIGHT_DECAY,
    )


def repeated_rates(protocol: Protocol, target: str) -> tuple[DeclaredRun, ...]:
    """The main network's rates at both momenta; in `small` with the seeds of the claims."""
    seeds = SEEDS if protocol.name == "small" else (0,)
    first, second = (rates(protocol, protocol.main, target, m, seeds) for m in MOMENTA)
    return (*first, *second)


def full_grid(protocol: Protocol, network: str, target: str) -> tuple[DeclaredRun, ...]:
    """Rate, momentum and decay: what Figures 4 and 5 and Table 8 choose from."""
    if protocol.name == "small" and network != protocol.main:
        return mobile_rates(protocol, network, target)
    first, second = (
        protocol.runs(
            network,
            target,
            momentum=momentum,
            lr=lrs(protocol, momentum),
            weight_decay=decays(protocol, momentum),
        )
        for momentum in MOMENTA
    )
    return (*first, *second)


def mobile_rates(protocol: Protocol, network: str, target: str) -> tuple[DeclaredRun, ...]:
    """MobileNetV2's rates, of `small`; none on sets where it is not trained."""
    if target not in MOBILE_SETS and not protocol.own_sets:
        return ()
    return protocol.runs(network, target, lr=MOBILE_LRS)


def scratch_grid(protocol: Protocol, target: str) -> tuple[DeclaredRun, ...]:
    """From random weights: Figures 4f and 13, Table 8."""
    if protocol.name == "paper":
        return protocol.runs(
            protocol.scratch, target, lr=(0.1, 0.2, 0.5), weight_decay=(1e-4, 5e-4)
        )
    return protocol.runs(protocol.scratch, target, lr=(0.02, 0.1, 0.5), weight_decay=(1e-4, 0.01))


def error_row(
    labels: tuple[str, ...],
    protocol: Protocol,
    network: str,
    columns: tuple[str, ...],
    kind: CellKind = "top-1 error",
    seeds: tuple[int, ...] = (0,),
    **axes: object,
) -> Row:
    """A row of errors: for each set the best of all combinations of the axes."""
    cells = (
        Cell(choice=protocol.runs(network, target, seeds=seeds, **axes), kind=kind)
        for target in columns
    )
    return Row(labels=labels, cells=tuple(cells))


def rate_line(protocol: Protocol, target: str, runs: tuple[DeclaredRun, ...]) -> Line:
    """Error against effective learning rate, each point the best of what shares it."""
    points = by_value(runs, lambda settings: settings.effective_lr)
    return Line(label=protocol.title(target), points=points)


def repeated(
    choice: tuple[DeclaredRun, ...], protocol: Protocol, kind: CellKind = "top-1 error"
) -> Choice:
    """A choice, and in `small` its best setting with the other seeds of the claims."""
    if protocol.name == "paper":
        return choice
    return (*choice, *(Variation(of=choice, seed=seed, kind=kind) for seed in SEEDS[1:]))


def core(protocol: Protocol) -> tuple[str, ...]:
    """The sets of what is too costly, or too much to look at, for all of `small`."""
    found = tuple(target for target in protocol.sets if target in CORE)
    return found or protocol.sets


def pair(protocol: Protocol) -> tuple[str, str]:
    """A near and a far set."""
    far = [target for target in protocol.sets if target in (PAIR[1], "fgvc-aircraft")]
    return protocol.sets[0], (far or protocol.sets)[-1]


def example(protocol: Protocol) -> str:
    """The set of Figures 1 and 7: Birds in the paper, the near one in `small`."""
    return "cub200" if "cub200" in protocol.sets else protocol.sets[0]


def titles(protocol: Protocol) -> tuple[str, ...]:
    """Names of the columns."""
    return tuple(protocol.title(target) for target in protocol.sets)
