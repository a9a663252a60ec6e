"""The page that lays our tables and figures beside the paper's numbers, as Markdown."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from kintune.report.grids import Grid, as_markdown
from kintune_paper.engine.declaration import Experiment, Protocol, Table
from kintune_paper.engine.known import KnownRuns
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.engine.rendering import grid_of, standing
from kintune_paper.engine.work import all_runs
from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.iclr2020.claims import Verdict, verdicts
from kintune_paper.iclr2020.published import Conflict, Published, Value, published

QUOTED = "†"
SETTINGS = ("m", "η", "λ", "λ1")
"""Columns of the paper that are no results."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Parts of the page."""

    protocol: Protocol
    known: KnownRuns
    measurements: MeasurementArchive
    introduction: str
    conclusions: Mapping[str, str]
    """Written by hand, by experiment; of the four claims under `claims`."""
    figures: PurePosixPath
    """Where the figures are, from the page."""
    drawn: frozenset[str]
    """Experiments of which there is a figure."""


def page_text(page: Page) -> str:
    """The whole page."""
    parts = [
        page.introduction.strip(),
        _claims(verdicts(page.protocol, page.known, page.measurements)),
        *([remark] if (remark := page.conclusions.get("claims", "").strip()) else []),
        _provenance(page),
        *(_section(page, experiment) for experiment in EXPERIMENTS.values()),
    ]
    return "\n\n".join(parts) + "\n"


def _claims(found: tuple[Verdict, ...]) -> str:
    rows = tuple((each.claim, f"**{each.word}**", each.evidence) for each in found)
    table = as_markdown(Grid(head=("claim", "at small scale", "evidence"), rows=rows))
    rules = "\n".join(f"{place}. {each.rule}" for place, each in enumerate(found, start=1))
    return f"## Four claims\n\n{table}\nThe rules, written before the runs:\n\n{rules}"


def _provenance(page: Page) -> str:
    """How many runs, on what, with which versions."""
    declared = all_runs(list(EXPERIMENTS.values()), page.protocol)
    resolved = [page.known.resolved(run) for run in declared]
    records = [page.known.find(run) for run in resolved if run is not None]
    there = [record for record in records if record is not None]
    hours = sum(record.result.seconds for record in there) / 3600
    processors = Counter(record.processor for record in there)
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in record.versions.items())
        for record in there
    )
    lines = [
        f"{len(there)} of {len(declared)} runs, {hours:.1f} hours of one core in all.",
        *(f"{name}: {count} runs." for name, count in processors.most_common()),
        *(f"{names}: {count} runs." for names, count in versions.most_common()),
    ]
    return "## What was run\n\n" + "\n".join(f"- {line}" for line in lines)


def _section(page: Page, experiment: Experiment) -> str:
    view = experiment.declare(page.protocol)
    number = experiment.name.removeprefix("table").removeprefix("figure")
    kind = "Table" if experiment.name.startswith("table") else "Figure"
    parts = [f"## {kind} {number}: {experiment.title}", f"`kintune reproduce {experiment.name}`"]
    if isinstance(view, Table):
        parts.append(as_markdown(grid_of(view, page.known, page.measurements)).rstrip())
    else:
        if experiment.name in page.drawn:
            parts.append(f"![{experiment.title}]({page.figures / experiment.name}.svg)")
        parts += [*view.notes, standing(view, page.known)]
    if experiment.differs:
        parts.append(f"*Differs from the paper:* {experiment.differs}")
    parts += _printed(experiment, published()[experiment.name])
    conclusion = page.conclusions.get(experiment.name, "").strip()
    return "\n\n".join([*parts, *([f"**Conclusion.** {conclusion}"] if conclusion else [])])


def _printed(experiment: Experiment, paper: Published) -> Iterator[str]:
    """The paper's numbers, and what is to be known of them."""
    yield f"**The paper** ({paper.where}). {experiment.printed}"
    if paper.rows:
        columns = [_texts(name, paper) for name in paper.columns]
        rows = tuple(zip(*columns, strict=True))
        head = tuple(
            f"{name} {QUOTED}" if name in paper.quoted_columns else name for name in paper.columns
        )
        yield as_markdown(Grid(head=head, rows=rows)).rstrip()
    if paper.quoted_from:
        yield f"{QUOTED} Quoted from {paper.quoted_from}."
    remarks = [
        *(f"Printed twice: {each.what}: {_values(each)}." for each in paper.conflicts),
        *(f"Not legible: {what}." for what in paper.illegible),
        *paper.faults,
    ]
    if remarks:
        yield "\n".join(f"- {remark}" for remark in remarks)


def _values(conflict: Conflict) -> str:
    digits = max(_digits(value) for value in conflict.values)
    pairs = zip(conflict.values, conflict.printed_in, strict=True)
    return ", ".join(f"{value:.{digits}f} in {place}" for value, place in pairs)


def _texts(name: str, paper: Published) -> list[str]:
    """A column; settings as short as they are, other numbers with the digits of the longest."""
    values = paper.column(name)
    digits = max((_digits(value) for value in values), default=0)
    is_setting = name in SETTINGS or name.endswith("η'")
    return [_text(value, paper, None if is_setting else digits) for value in values]


def _digits(value: Value) -> int:
    return len(str(value).partition(".")[2]) if isinstance(value, float) else 0


def _text(value: Value, paper: Published, digits: int | None) -> str:
    if value in paper.quoted:
        return f"{value} {QUOTED}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return value
