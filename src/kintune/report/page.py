"""The page as one HTML text. Everything read from files is escaped by the template engine."""

import base64
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kintune.base.progress import printable
from kintune.report import classes, confusion, curves, rates, trace, wording
from kintune.report.images import Gallery, Sample
from kintune.report.parts import (
    ClassFlow,
    Evaluation,
    Recommendation,
    Similarity,
    SourceClass,
    Summary,
)
from kintune.report.reading import Output
from kintune.runs.setting_text import RECIPE_NAMES, describe_fields, field_name

_RIGHT, _WRONG, _PAIRS = 12, 24, 12
_PICTURED_CLASSES, _PICTURES, _NEIGHBORS = 8, 3, 3


@dataclass(frozen=True)
class Neighbors:
    """A target class, images of it, and the source classes nearest to it."""

    target_class: str
    images: list[str]
    sources: list[SourceClass]
    flows: list[ClassFlow]
    """Largest shares of the optimal plan into it, of the class's own mass; none without a plan."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Predictions of the winner for the evaluated images."""

    right: list[Sample]
    wrong: list[Sample]
    pairs: list[confusion.ConfusedPair]
    scores: list[confusion.ClassScore]
    rows: list[list[tuple[int, float]]]
    """Count and share of the row, for few classes."""
    picture: str | None
    """The confusion matrix as an image, for many classes."""
    interval: tuple[float, float]


def render_page(output: Output) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("kintune.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=wording.percent,
        number=wording.number,
        duration=wording.duration,
        counted=wording.counted,
        field_name=field_name,
        fields=describe_fields,
    )
    page = environment.get_template("page.html.j2").render(_context(output))
    return printable(page, keep="\n\t\r")  # names may hold control characters, HTML may not


def _context(output: Output) -> dict[str, object]:
    gallery = Gallery(output.evaluation) if output.evaluation else None
    recommendation = output.recommendation
    script = _text("page.js")
    return {
        "output": output,
        "recipe_names": RECIPE_NAMES,
        "title": _title(output),
        "best": output.winner,
        "statuses": Counter(run.status for run in output.runs).most_common(),
        "seconds": sum(run.seconds or 0.0 for run in output.runs),
        "compared": [run for run in output.runs if run.id in output.summary.labels],
        "test_error": _test_error(output),
        "error_figures": [rates.error_figure(output, width) for width in rates.WIDTHS],
        "evidence_figures": [
            rates.evidence_figure(recommendation, width) for width in rates.WIDTHS if recommendation
        ],
        "tried": trace.tried(output),
        "trace_figures": [trace.trace_figure(output, width) for width in rates.WIDTHS],
        "plane_figures": [trace.plane_figure(output, width) for width in rates.WIDTHS],
        "origins": _origins(recommendation) if recommendation else [],
        "curve_figures": [curves.curve_figure(output, q) for q in (curves.LOSS, curves.ERROR)],
        "pictured": _PICTURED_CLASSES,
        "neighbors": _neighbors(output.similarity, gallery),
        "class_figures": [
            classes.class_figure(output.similarity, width)
            for width in classes.WIDTHS
            if output.similarity
        ],
        "results": _results(output.evaluation, gallery),
        "missing": sorted(gallery.missing) if gallery else [],
        "versions": _versions(output.summary),
        "css": Markup(_text("page.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _text(name: str) -> str:
    return files("kintune.report").joinpath(name).read_text(encoding="utf-8")


def _title(output: Output) -> str:
    data, similarity = output.summary.facts.data, output.similarity
    target = data.name if data else similarity.target if similarity else ""
    return f"{output.model} on {target}" if target else f"{output.model}, fine-tuned"


def _origins(recommendation: Recommendation) -> list[str]:
    return list(dict.fromkeys(row.origin for row in recommendation.evidence if row.origin))


def _versions(summary: Summary) -> list[tuple[str, str]]:
    device = [("device", summary.device)] if summary.device else []
    return [*device, *summary.versions.items()]


def _test_error(output: Output) -> float | None:
    if output.summary.best:
        return output.summary.best.test_top1_error
    evaluation = output.evaluation
    return evaluation.top1_error if evaluation and evaluation.split == "test" else None


def _neighbors(similarity: Similarity | None, gallery: Gallery | None) -> list[Neighbors]:
    """Target classes in the order of their nearest source class, the nearest first."""
    found: defaultdict[str, list[SourceClass]] = defaultdict(list)
    for entry in similarity.nearest_source_classes if similarity else ():
        found[entry.target_class].append(entry)
    nearest = sorted(found, key=lambda name: min(entry.cost for entry in found[name]))
    return [
        Neighbors(
            name,
            gallery.of_class(name, _PICTURES) if gallery and rank < _PICTURED_CLASSES else [],
            sorted(found[name], key=lambda entry: entry.cost)[:_NEIGHBORS],
            _flows(similarity, name),
        )
        for rank, name in enumerate(nearest)
    ]


def _flows(similarity: Similarity | None, name: str) -> list[ClassFlow]:
    """The largest flows into a class, as shares of its own mass."""
    into = [flow for flow in (similarity.transport if similarity else ()) if flow.share > 0]
    into = [flow for flow in into if flow.target_class == name]
    own = next(
        (
            entry.share
            for entry in (similarity.nearest_source_classes if similarity else ())
            if entry.target_class == name
        ),
        0.0,
    )
    return [
        flow.replace(share=flow.share / own if own else flow.share)
        for flow in sorted(into, key=lambda flow: -flow.share)[:_NEIGHBORS]
    ]


def _results(evaluation: Evaluation | None, gallery: Gallery | None) -> Results | None:
    if not evaluation or not gallery or not evaluation.paths:
        return None
    matrix = confusion.confusion_matrix(evaluation)
    has_table = len(matrix) <= confusion.TABLE_CLASSES
    shares = confusion.shares_of_rows(matrix)
    rows = [
        list(zip(*pair, strict=True)) for pair in zip(matrix.tolist(), shares.tolist(), strict=True)
    ]
    return Results(
        right=gallery.right(_RIGHT),
        wrong=gallery.wrong(_WRONG),
        pairs=confusion.confused_pairs(evaluation, _PAIRS),
        scores=confusion.class_scores(evaluation),
        rows=rows if has_table else [],
        picture=None if has_table else confusion.confusion_picture(matrix),
        interval=wording.wilson_interval(evaluation.top1_error, len(evaluation.paths)),
    )
