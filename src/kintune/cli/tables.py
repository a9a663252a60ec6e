"""Tables on stdout: results as short plain tables."""

import shlex
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from kintune.base.progress import duration, megabytes, printable
from kintune.options.results import (
    BestRun,
    BuildPlan,
    Plan,
    PrototypeFile,
    ReportPath,
    TrainingSummary,
)
from kintune.runs import RunResult
from kintune.runs.setting_text import (
    RECIPE_NAMES,
    describe_fields,
    describe_setting,
    differing_fields,
    field_name,
)

if TYPE_CHECKING:
    from kintune.data import CacheContents, HealthReport
    from kintune.recommend import Recommendation
    from kintune.recommend.model import RecipeRun
    from kintune.recommend.own_references import References
    from kintune.runs.hyperparameters import RateRange
    from kintune.similarity import Similarity, SourceRanking
    from kintune.workflow.predict import Predictions

MAX_CLASSES = 12


def similarity_table(measured: "Similarity | SourceRanking") -> str:
    """One source's distances and nearest classes, or several sources in order."""
    from kintune.similarity import SourceRanking

    if isinstance(measured, SourceRanking):
        return _ranking_table(measured)
    return _one_source(measured)


def _ranking_table(ranking: "SourceRanking") -> str:
    """Candidate sources, the nearest first, with intervals."""
    rows = [
        (
            str(rank),
            each.source,
            each.model,
            f"{each.relative_distance:.3f}",
            _interval_text(each.interval, 3),
            "-" if each.distance is None else f"{each.distance:.3f}",
            _interval_text(each.distance_interval, 3),
            "-" if each.mean_confidence is None else f"{each.mean_confidence:.2f}",
        )
        for rank, each in enumerate(ranking.ranked, start=1)
    ]
    head = ("", "source", "network", "relative distance", "90 % interval")
    nearest = ranking.ranked[0]
    size = f"{nearest.images} images, {nearest.classes} classes"
    order = f"sources by {ranking.ranked_by.replace('_', ' ')}, the nearest first"
    return "\n".join(
        [
            f"{ranking.target}, {size}: {order}",
            _table((*head, "distance", "90 % interval", "head's confidence"), rows),
            *[f"warning: {warning}" for warning in ranking.warnings],
        ]
    )


def _interval_text(interval: tuple[float, float] | None, digits: int) -> str:
    return "-" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def _one_source(measured: "Similarity") -> str:
    """Distance with its interval, and the nearest source class of each target class."""
    low, high = measured.interval
    domains = f"{measured.target} against {measured.source} ({measured.model})"
    size = f"{measured.images} images, {measured.classes} classes"
    value = f"relative distance  {measured.relative_distance:.3f}"
    scale = f"90 % interval {low:.3f} to {high:.3f}; 0 = the source itself, 1 = unrelated"
    lines = [f"{domains}: {size}", f"{value}  ({scale})"]
    if measured.distance is not None and measured.similarity is not None:
        lines.append(
            f"earth mover's distance {measured.distance:.3f} "
            f"({_interval_text(measured.distance_interval, 3)}), "
            f"similarity exp(-{measured.gamma} d) {measured.similarity:.4f} "
            f"({_interval_text(measured.similarity_interval, 4)})"
        )
    else:
        lines.append("distance and similarity of the paper need source images: --source FOLDER")
    nearest: dict[str, list[str]] = {}
    for neighbor in measured.nearest_source_classes:
        text = f"{neighbor.source_class} ({neighbor.cost:.2f})"
        nearest.setdefault(neighbor.target_class, []).append(text)
    rows = [(target, ", ".join(sources)) for target, sources in nearest.items()]
    table = _table(("class", "nearest source classes (cosine distance)"), rows[:MAX_CLASSES])
    more = len(rows) - MAX_CLASSES
    lines += [table, *([f"... and {more} more classes"] if more > 0 else []), *_far_text(measured)]
    return "\n".join(lines)


def _far_text(measured: "Similarity") -> list[str]:
    far = measured.far_target_classes
    if not far or measured.far_cost is None:
        return []
    more = f" and {len(far) - MAX_CLASSES} more" if len(far) > MAX_CLASSES else ""
    reach = f"farther than {measured.far_cost:.2f} from every source class"
    scale = "as 5 % of the source's own classes are from each other"
    return [f"{reach} ({scale}): {', '.join(far[:MAX_CLASSES])}{more}"]


def prototypes_line(written: PrototypeFile) -> str:
    """Contents of the file; its path alone on the last line."""
    return (
        f"{written.classes} class means of {written.images} images of {written.domain} through "
        f"{written.extractor}\n{written.path}"
    )


def recommendation_table(advice: "Recommendation") -> str:
    """The advice in words, what each recipe is expected to reach, the settings, the evidence."""
    parts = [
        advice.explanation,
        "",
        _recipe_table(advice),
        "",
        _setting_table(advice),
        *[f"{field_name(name)}: {why}" for name, why in advice.reasons.items()],
        "",
        _evidence_table(advice),
        *[f"warning: {warning}" for warning in advice.warnings],
        *[f"would raise the confidence: {each}" for each in advice.would_help],
    ]
    return "\n".join(parts)


def _recipe_table(advice: "Recommendation") -> str:
    rows = [
        (
            RECIPE_NAMES[each.mode],
            f"{each.expected_top1_error:.1%}",
            f"{each.interval[0]:.1%} to {each.interval[1]:.1%}",
            f"{each.probability_best:.0%}",
            *_rate_cells(each.effective_lr),
        )
        for each in advice.recipes
    ]
    head = ("recipe", "expected error", "80 % interval", "probability of being best")
    return _table((*head, "effective lr", "its 80 % range"), rows)


def _rate_cells(rates: "RateRange | None") -> tuple[str, str]:
    if rates is None:
        return "-", "-"
    return f"{rates.best:.3g}", f"{rates.low:.3g} to {rates.high:.3g}"


def _setting_table(advice: "Recommendation") -> str:
    clip = "not clipped" if advice.clip_grad_norm is None else f"{advice.clip_grad_norm:g} at most"
    little_loss = f"{advice.probability_of_little_loss:.0%}"
    rows = [
        ("batch statistics", "frozen" if advice.freeze_bn_stats else "batch"),
        ("lr", f"{advice.lr:.3g}"),
        ("momentum", f"{advice.momentum:g}"),
        ("weight decay", f"{advice.weight_decay:g} ({advice.regularizer})"),
        ("batch size", str(advice.batch_size)),
        ("epochs", str(advice.epochs)),
        ("schedule", f"{advice.schedule}, warm-up of {advice.warmup_epochs:.3g} epochs"),
        ("augmentation", advice.augmentation),
        ("head start", advice.head_start),
        ("gradient norm", clip),
        (
            "confidence",
            f"{advice.confidence} ({little_loss} to lose less than a point against the best)",
        ),
    ]
    return _table(("setting", "value"), rows)


def _evidence_table(advice: "Recommendation") -> str:
    rows = [
        (
            row.source,
            row.network,
            row.target,
            f"{row.images_seen:,}",
            f"{row.effective_lr:g}",
            f"{row.top1_error:.1%}",
            f"{row.weight:.0%}",
        )
        for row in advice.evidence
    ]
    head = ("source", "network", "reference", "images seen", "its best rate", "its error")
    return _table((*head, "influence"), rows)


def summary_table(summary: TrainingSummary | Plan) -> str:
    """All runs, the best one, where the model is; the report's path alone on the last line."""
    if isinstance(summary, Plan):
        return _plan_text(summary)
    trained = [run.hyperparameters for run in summary.runs if run.hyperparameters.epochs]
    varied = differing_fields(trained, but=["momentum"])  # which has a column
    rows = [_run_row(run, summary.labels.get(run.id, ""), varied) for run in summary.runs]
    if summary.frozen_head is not None:
        rows.insert(0, _run_row(summary.frozen_head, RECIPE_NAMES["head"], varied))
    table = _table(
        (
            "run",
            "effective lr",
            "lr",
            "momentum",
            *(["settings"] if varied else []),
            "validation error",
            "seconds",
            "status",
        ),
        rows,
    )
    lines = [table]
    if summary.best is not None:
        lines.append(_selected_text(summary.best, differing_fields(trained)))
        lines += _result_lines(summary)
    else:
        lines.append("no run completed: see the reasons above and in the report")
    lines.append(f"repeat    {summary.command}")
    return "\n".join([*lines, summary.report_path])


def _result_lines(summary: TrainingSummary) -> list[str]:
    """Accuracy with its interval, whether fine-tuning was worth it, where the model is and how to
    use it."""
    from kintune.report.wording import wilson_interval

    best, lines = summary.best, []
    if best is not None and best.test_top1_error is not None:
        images = summary.facts["data"]["counts"]["test"]
        low, high = wilson_interval(best.test_top1_error, images)
        lines.append(
            f"accuracy  {1 - best.test_top1_error:.1%} of {images:,} test images (95 % interval "
            f"{1 - high:.1%} to {1 - low:.1%})"
        )
    if summary.verdict is not None:
        lines.append(f"verdict   {summary.verdict.sentence}")
    use = shlex.join(["kintune", "predict", str(summary.model_path)])
    return [*lines, f"model     {summary.model_path}", f"next      {use} IMAGES"]


def _plan_text(plan: Plan) -> str:
    shown = plan.to_json() | {"seconds": "unknown" if plan.seconds is None else plan.seconds}
    rows = [
        (name.replace("_", " "), "decided by measurement" if value is None else str(value))
        for name, value in shown.items()
    ]
    return _table(("plan", ""), rows)


def _run_row(run: RunResult, label: str, varied: Sequence[str]) -> tuple[str, ...]:
    error, settings = run.validation_top1_error, run.hyperparameters
    rates = (f"{run.effective_lr:.4g}", f"{settings.lr:.4g}", f"{settings.momentum:g}")
    values = (*rates, *([describe_fields(settings, varied)] if varied else []))
    return (
        f"{run.id} {label}".strip(),
        *(values if settings.epochs else "-" * len(values)),
        "-" if error is None else f"{error:.2%}",
        f"{run.seconds:.0f}",
        run.status if run.reason is None else f"{run.status}: {run.reason}",
    )


def _selected_text(best: BestRun, varied: Sequence[str]) -> str:
    tested = best.test_top1_error
    test = "no test split to read" if tested is None else f"test error {tested:.2%}"
    setting = describe_setting(best.hyperparameters, varied)
    return f"selected  {setting}: validation error {best.validation_top1_error:.2%}, {test}"


def health_table(health: "HealthReport") -> str:
    """Every problem with its files."""
    lines = [
        f"{problem.kind}: {problem.message}" + "".join(f"\n    {path}" for path in problem.paths)
        for problem in health.problems
    ]
    counts = ", ".join(f"{count} {name}" for name, count in health.counts.items())
    if not lines:
        lines.append("No problems found.")
    return "\n".join([*lines, *health.notes, f"{health.source}: {counts}"])


def prediction_table(predictions: "Predictions") -> str:
    """One line a file: path, class, confidence, then further classes, separated by tabs."""
    return "\n".join(
        "\t".join(
            [
                printable(each.path),
                *(f"{label}\t{confidence:.4f}" for label, confidence in each.top),
            ]
        )
        for each in predictions.predictions
    )


def cache_table(cache: "CacheContents") -> str:
    """Each entry with its size, the sum, and what was left alone."""
    rows = [
        (each.path.removeprefix(f"{cache.root}/"), megabytes(each.bytes), each.about)
        for each in cache.entries
    ]
    entries = "1 entry" if len(rows) == 1 else f"{len(rows)} entries"
    done = "removed" if cache.cleared else "there are"
    lines = [_table(("entry", "size", "made from"), rows)] if rows else []
    lines += [f"not Kintune's, left alone: {path}" for path in cache.others]
    return "\n".join([*lines, f"{cache.root}: {done} {entries}, {megabytes(cache.bytes)}"])


def reference_table(references: "References | BuildPlan") -> str:
    """Each reference: where from, where to, how far, its best rate and budget; or what building
    them would cost."""
    if isinstance(references, BuildPlan):
        return _build_table(references)
    rows = [
        (
            f"{each.network_name}, {each.source}",
            each.task.target,
            f"{each.relative_distance:.2f}",
            f"{each.task.images:,}",
            str(len(each.runs)),
            *_best_run(each.runs),
            each.origin.partition(":")[0],
        )
        for each in references.references
    ]
    head = ("network, source", "target", "distance", "images", "runs", "best recipe", "its error")
    lines = [_table((*head, "origin"), rows)]
    lines += [f"added: {target}" for target in references.added]
    return "\n".join([*lines, f"your own references: {references.path}"])


def _best_run(runs: "Sequence[RecipeRun]") -> tuple[str, str]:
    best = min(runs, key=lambda run: run.top1_error)
    rate = "" if best.effective_lr is None else f" at {best.effective_lr:g}"
    return f"{RECIPE_NAMES[best.mode]}{rate}", f"{best.top1_error:.1%}"


def _build_table(build: BuildPlan) -> str:
    rows = [
        (Path(plan.data).name, str(plan.runs), str(plan.epochs), duration(plan.seconds))
        for plan in build.plans
    ]
    lines = _table(("data set", "runs at most", "epochs", "about"), rows)
    return f"{lines}\nall: {duration(build.seconds)} at most"


def report_line(report: ReportPath) -> str:
    """The page's path."""
    return report.report_path


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    stream = StringIO()
    # Wide and without color: what is piped into a file or another program must not wrap.
    Console(file=stream, width=200, no_color=True, highlight=False, markup=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
