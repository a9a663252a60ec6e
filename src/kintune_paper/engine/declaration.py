"""The words in which an experiment is declared: runs, choices among runs, tables and figures.

A declaration says what a table or figure is made of and nothing about how that is computed. The
runs that an experiment needs are those that its cells and lines name, so none can be forgotten.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal

from kintune.base.records import content_id
from kintune.runs.hyperparameters import Hyperparameters
from kintune_paper.context import NetworkFile

ProtocolName = Literal["small", "paper"]
MeasurementKind = Literal["images", "similarity", "source error", "loss plane"]
CellKind = Literal["top-1 error", "average class error", "effective rate"]
CourseKind = Literal["errors", "normalized l2", "normalized penalty"]


@dataclass(frozen=True, kw_only=True)
class DeclaredRun:
    """One run: a network, a set, its settings, a seed."""

    network: str
    """Name in the protocol."""
    target: str
    settings: Hyperparameters
    seed: int = 0

    @cached_property
    def setting_key(self) -> str:
        """Equal for runs that differ in their seed alone."""
        return _key(self.network, self.target, self.settings)

    @property
    def key(self) -> str:
        """Equal for equal runs; known without the images and the network."""
        return f"{self.setting_key}-{self.seed}"


def run_key(network: str, target: str, settings: Hyperparameters, seed: int) -> str:
    """`DeclaredRun.key` of a recorded run."""
    return f"{_key(network, target, settings)}-{seed}"


def _key(network: str, target: str, settings: Hyperparameters) -> str:
    said = settings.without_defaults()
    if settings.iterations is not None:
        del said["epochs"]  # follow from the number of images, which only the set itself tells
    return content_id([network, target, said])


@dataclass(frozen=True, kw_only=True)
class Variation:
    """The best of other runs with something changed: known once these have been run."""

    of: tuple[DeclaredRun, ...]
    change: tuple[tuple[str, Any], ...] = ()
    """Fields of the settings and their values."""
    seed: int = 0
    kind: CellKind = "top-1 error"
    """By which validation error the best is chosen."""


Choice = tuple[DeclaredRun | Variation, ...]
"""Runs of which the setting with the lowest validation error counts; of one setting, that one."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Something that is measured without a run of training, or from finished ones."""

    kind: MeasurementKind
    network: str = ""
    extractor: str = ""
    """Extractor of a similarity: the network whose features are compared; empty for `network`
    itself."""
    target: str = ""
    runs: tuple[DeclaredRun, ...] = ()
    """Whose weights are needed."""

    @property
    def name(self) -> str:
        """Name of its file."""
        parts = (self.kind, self.network, self.extractor, self.target)
        return "-".join(part.replace(" ", "_") for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of a table: of the best run of a choice, or of a measurement."""

    choice: Choice = ()
    kind: CellKind = "top-1 error"
    measurement: Measurement | None = None
    fact: str = ""
    """Which number of the measurement."""
    text: str = ""
    """Printed as it is, where there is neither run nor measurement."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: what it is, then a cell a column."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a head."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Notes on this protocol."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a figure: a choice at each x, or the course of the best run of one choice."""

    label: str
    points: tuple[tuple[float, Choice], ...] = ()
    course: Choice = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines over one pair of axes; or the loss over a plane."""

    title: str
    lines: tuple[Line, ...] = ()
    plane: Measurement | None = None
    x_label: str = ""
    """Where it is not the figure's."""
    x_log: bool = False
    """Likewise."""
    course: CourseKind = "errors"
    """Kind of the learning curves of lines with a `course`."""

    @property
    def choosing(self) -> CellKind:
        """The error by which the best runs are chosen: of penalties as in Table 5."""
        return "top-1 error" if self.course == "errors" else "average class error"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels that share their axes' names."""

    panels: tuple[Panel, ...]
    x_label: str = ""
    y_label: str = "test error, %"
    x_log: bool = False
    categories: tuple[str, ...] = ()
    """Names of x = 0, 1, ... where x is no number."""
    names_best: bool = False
    """Whether the legend gives the error and the effective rate of each line's best point."""
    columns: int | None = None
    """Panels side by side; None leaves it to their number."""
    notes: tuple[str, ...] = ()


View = Table | Figure


@dataclass(frozen=True, kw_only=True)
class SourceNetwork:
    """A network that a protocol starts from, with the settings that its runs share."""

    file: NetworkFile
    title: str
    """As tables and figures name it."""
    base: Hyperparameters
    images_per_second: float
    """Speed of training on one core (small) or one GPU (paper), validation included."""
    is_random: bool = False
    """Only the architecture counts: weights are drawn."""
    source_set: str = ""
    """The official set that it was trained on."""
    made_by: str = ""
    """The set on which the protocol itself trains its weights, from `maker`; empty for others."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Settings shared by all experiments of one scale."""

    name: ProtocolName
    hours_of: str
    """Unit of the hours: `core` or `GPU`."""
    networks: Mapping[str, SourceNetwork]
    main: str
    """The network of most experiments: ImageNet's ResNet-101-V2 in the paper."""
    scratch: str
    regularized: str
    """The network of Table 5 and Figure 6."""
    sets: tuple[str, ...]
    """Columns of the tables, the nearest to `main`'s source first."""
    maker: str = ""
    """The network and settings with which sources are made."""
    own_sets: bool = False
    """Whether a person named the sets: then every table has just these."""
    titles: Mapping[str, str] = field(default_factory=dict[str, str])
    """Titles of sets, where their names do not serve."""
    images: Mapping[str, int] = field(default_factory=dict[str, int])
    """Training images of a set, where they are not `usual_images`."""
    usual_images: int = 480
    devices: int = 1
    stage: Callable[[DeclaredRun | Variation], int] = lambda _: 1
    """Runs of a lower stage come first."""
    lrs: tuple[float, ...] = (0.1, 0.05, 0.01, 0.005, 0.001, 0.0001)
    lrs_without_momentum: tuple[float, ...] = ()
    """Rates for momentum 0, where they are not `lrs`."""

    def title(self, target: str) -> str:
        """A set's name in tables and figures."""
        return self.titles.get(target, target)

    def runs(
        self, network: str, target: str, *, seeds: Sequence[int] = (0,), **axes: Any
    ) -> tuple[DeclaredRun, ...]:
        """All combinations of the axes, each a field of the settings with one or several values."""
        lists = [value if isinstance(value, tuple) else (value,) for value in axes.values()]
        base = self.networks[network].base
        return tuple(
            DeclaredRun(
                network=network,
                target=target,
                settings=base.replace(**dict(zip(axes, values, strict=True))),
                seed=seed,
            )
            for seed in seeds
            for values in product(*lists)
        )

    def hours(self, run: DeclaredRun | Variation) -> float:
        """Estimate for one run."""
        network, target, used = (
            (run.network, run.target, run.settings)
            if isinstance(run, DeclaredRun)
            else (run.of[0].network, run.of[0].target, run.of[0].settings)
        )
        images = self.images.get(target, self.usual_images)
        seen = used.iterations * used.batch_size if used.iterations else used.epochs * images
        return seen / self.networks[network].images_per_second / 3600


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table or figure of the paper."""

    name: str
    """`table1` ... `figure13`."""
    title: str
    printed: str
    """Result in the paper, in a sentence."""
    declare: Callable[[Protocol], View]
    differs: str = ""
    """How `small` differs from the paper beyond network, sets and length."""


def choices_of(view: View) -> Iterator[tuple[Choice, CellKind]]:
    """All choices of a table or figure, in its order, with the error by which they choose."""
    if isinstance(view, Table):
        for cell in (cell for row in view.rows for cell in row.cells):
            yield cell.choice, cell.kind
    else:
        for panel in view.panels:
            for line in panel.lines:
                for choice in (*(each for _, each in line.points), line.course):
                    yield choice, panel.choosing


def measurements_of(view: View) -> tuple[Measurement, ...]:
    """All measurements of a table or figure, each once."""
    if isinstance(view, Table):
        found = [cell.measurement for row in view.rows for cell in row.cells]
    else:
        found = [panel.plane for panel in view.panels]
    return tuple(dict.fromkeys(each for each in found if each is not None))


def declared_runs(view: View) -> tuple[DeclaredRun | Variation, ...]:
    """All runs of a table or figure, each once, in its order."""
    found: dict[object, DeclaredRun | Variation] = {}
    measured = [run for each in measurements_of(view) for run in each.runs]
    for run in (*measured, *(run for choice, _ in choices_of(view) for run in choice)):
        if isinstance(run, Variation):
            for other in run.of:
                found.setdefault(other.key, other)
        found.setdefault(run.key if isinstance(run, DeclaredRun) else run, run)
    return tuple(found.values())


def by_value(
    runs: Sequence[DeclaredRun], value: Callable[[Hyperparameters], float]
) -> tuple[tuple[float, Choice], ...]:
    """The points of a line: for each value of the settings the runs that have it.

    Values are equal to 6 significant digits: 0.1 (1 - 0.9) is 0.01.
    """
    at: dict[float, list[DeclaredRun]] = {}
    for run in runs:
        found = value(run.settings)
        at.setdefault(found if found == 0 else _rounded(found), []).append(run)
    return tuple((x, tuple(at[x])) for x in sorted(at))


def _rounded(value: float) -> float:
    return round(value, 5 - math.floor(math.log10(abs(value))))
