"""The walk: from a folder of images and a network to a fine-tuned model with the evidence."""

import shlex
from pathlib import Path
from typing import Any

from kintune import defaults
from kintune.candidates import measure_candidates, write_prototypes
from kintune.errors import OptionError
from kintune.hyperparameters import Hyperparameters
from kintune.options import (
    DemoOptions,
    FinetuneOptions,
    PredictOptions,
    PrototypesOptions,
    RecommendOptions,
    ReportOptions,
    SimilarityOptions,
    TuneOptions,
)
from kintune.outputs import (
    evaluate_best,
    keep_model,
    open_output,
    open_run_output,
    task_identity,
)
from kintune.plan import plan_runs, say_plan
from kintune.predict import Predictions, predict
from kintune.progress import announce
from kintune.recommend import Recipe, Recommendation, recommend
from kintune.repeat import repeated, say_repeated
from kintune.report import write_report
from kintune.results import Plan, PrototypeFile, ReportPath, TrainingSummary
from kintune.runners import LocalRunner, run_guarded
from kintune.runs import RunConfig, RunResult, RunStore, read_result, write_json
from kintune.search import Bracket, around, best_run, search
from kintune.settings import run_config, task_facts, training_settings
from kintune.similarity import Similarity, SourceRanking
from kintune.task import Task, load_task, measure, resolve_device, source_spec, threads
from kintune.training import joined_replicas, replicas, versions

DEMO_EPOCHS = 10


@joined_replicas()
def tune(options: TuneOptions) -> TrainingSummary | Plan:
    """Measure, recommend, search in a handful of runs, keep the best model, write the report.

    The same call again goes on where it was stopped: a finished run is never run twice.
    """
    task = load_task(options)
    folder = (options.output or Path("runs") / task.name).absolute()
    if not options.dry_run:
        open_output(folder, task_identity(task, options))
    similarity = measure(task, source_spec(options))
    recommendation = _recommendation(task, similarity, options)
    base = training_settings(options, task_facts(task, options), recommendation.lr)
    space = around(recommendation).model_copy(update={"base": base})
    announce(recommendation.explanation)

    first = run_config(task, space.at(space.effective_lr.best), options)
    runs = options.runs + options.compare_default
    plan = plan_runs(task, first, runs, folder, RunStore(folder / "runs").finished(first))
    say_plan(plan)
    if options.dry_run:
        return plan

    runner = LocalRunner(task.backbone, task.dataset, folder / "runs", device=task.device)

    def train(settings: Hyperparameters) -> RunResult:
        return next(runner.run([run_config(task, settings, options)]))

    results = search(space, Bracket(), train, options.runs)
    labels = {results[0].id: "recommended"}
    if options.compare_default:
        usual = train(_usual_default(space.base))
        results += [] if usual.id in {result.id for result in results} else [usual]
        labels.setdefault(usual.id, "usual default")
    write_json(folder / "similarity.json", similarity.to_json())
    write_json(folder / "recommendation.json", recommendation.to_json())
    return _conclude(task, options, folder, results, labels)


@joined_replicas()
def finetune(options: FinetuneOptions) -> TrainingSummary | Plan:
    """One run. The same call again resumes it, or returns its result."""
    if options.from_config is not None:
        task, config = repeated(options, options.from_config)
    else:
        task, config = _configured(options)
    folder = (options.output or Path("runs") / f"{task.name}-{config.id}").absolute()
    if not options.dry_run:
        open_run_output(folder)
    plan = plan_runs(task, config, 1, folder, read_result(folder))
    say_plan(plan)
    if options.dry_run:
        return plan
    result = run_guarded(task.backbone, task.dataset, config, folder, device=task.device)
    if options.from_config is not None:
        say_repeated(read_result(options.from_config.parent), result)
    return _conclude(task, options, folder, [result], {})


def _configured(options: FinetuneOptions) -> tuple[Task, RunConfig]:
    missing = [name for name in ("data", "model") if not getattr(options, name)]
    if missing:
        words = " and ".join({"data": "DATA", "model": "--model"}[name] for name in missing)
        raise OptionError(f"{words}: required, unless --from names a recorded configuration.")
    task = load_task(options, pretrained=not options.from_scratch)
    settings = training_settings(options, task_facts(task, options), options.lr)
    config = run_config(task, settings, options)
    return task, config.model_copy(
        update={
            "initialization": "random" if options.from_scratch else "pretrained",
            "trainable": "head" if options.head_only else "all",
        }
    )


def similarity(options: SimilarityOptions) -> Similarity | SourceRanking:
    """How near the images are to what the network was trained on, or each of several."""
    return measure_candidates(options)


def prototypes(options: PrototypesOptions) -> PrototypeFile:
    """Write what stands for a domain to a file."""
    return write_prototypes(options)


def recommendation(options: RecommendOptions) -> Recommendation:
    """Hyperparameters before any training."""
    task = load_task(options)
    measured = measure(task, source_spec(options))
    return _recommendation(task, measured, options)


def demo(options: DemoOptions) -> TrainingSummary | Plan:
    """The main job on what is embedded, beside the usual default."""
    flags = {"data": "sklearn:digits", "model": "pocket", "compare_default": True}
    return tune(TuneOptions(**flags, epochs=DEMO_EPOCHS, output=options.output))


def predictions(options: PredictOptions) -> Predictions:
    """Classify images with a finished model."""
    device = resolve_device(options.device)
    return predict(options.model, options.images, top=options.top, device=device)


def report(options: ReportOptions) -> ReportPath:
    """Write the page of an output folder again."""
    return ReportPath(report_path=str(write_report(options.folder).absolute()))


def _recommendation(
    task: Task, similarity: Similarity, options: RecommendOptions | TuneOptions
) -> Recommendation:
    return recommend(
        similarity,
        task_facts(task, options),
        Recipe(
            momentum=options.momentum,
            weight_decay=options.weight_decay,
            regularizer=options.regularizer,
            schedule=options.schedule,
            augmentation=options.augmentation,
        ),
    )


def _usual_default(base: Hyperparameters) -> Hyperparameters:
    """What most fine-tuning uses whatever the data: lr 0.01, momentum 0.9, decay 0.0001."""
    usual = {
        "lr": defaults.USUAL_LR,
        "momentum": defaults.MOMENTUM,
        "weight_decay": defaults.WEIGHT_DECAY,
    }
    return base.model_copy(update=usual)


def _conclude(
    task: Task,
    options: TuneOptions | FinetuneOptions,
    folder: Path,
    results: list[RunResult],
    labels: dict[str, str],
) -> TrainingSummary:
    """Choose, test, keep and report; of several replicas the first does."""
    here = replicas()
    if not here.is_first:
        return here.from_first(None)  # pyright: ignore[reportReturnType] - the first has a summary
    chosen = best_run(results)
    best = model_path = None
    (folder / "evaluation.json").unlink(missing_ok=True)
    if chosen is not None:
        alone = isinstance(options, FinetuneOptions)
        model_folder = folder / "model" if alone else folder / "runs" / chosen.id / "model"
        best = evaluate_best(task, chosen, model_folder, folder)
        model_path = model_folder if alone else folder / "best"
        if not alone:
            keep_model(model_folder, model_path)
    summary = TrainingSummary(
        status="no run completed" if best is None else "complete",
        runs=tuple(results),
        best=best,
        model_path=str(model_path) if model_path else None,
        report_path=str(folder / "report.html"),
        command=command(options, folder),
        facts=task.facts(),
        labels=labels,
        versions=versions(),
        device=task.device,
    )
    write_json(folder / "summary.json", summary.to_json())
    write_report(folder)
    return here.from_first(summary)


def command(options: TuneOptions | FinetuneOptions, folder: Path) -> str:
    """The command line that repeats this from any folder: absolute paths, threads said."""
    name = type(options).__name__.removesuffix("Options").lower()
    repeats = isinstance(options, FinetuneOptions) and options.from_config is not None
    said = options.model_copy(
        update={"output": folder} if repeats else {"output": folder, "threads": threads(options)}
    )
    together = replicas().count
    start = ["torchrun", "--standalone", "--nproc-per-node", str(together), "-m"]
    words = [*(start if together > 1 else []), "kintune", name]
    for field, value in said.model_dump(exclude_defaults=True).items():
        words += _words(field, value)
    return shlex.join(words)


def _words(field: str, value: Any) -> list[str]:
    if field in ("as_json", "dry_run"):
        return []
    if field == "data":
        return [str(Path(value).absolute()) if Path(value).exists() else value]
    if isinstance(value, Path):
        value = value.absolute()
    flag = "--from" if field == "from_config" else "--" + field.replace("_", "-")
    if value is True:
        return [flag]
    if isinstance(value, tuple):
        return [flag, *(str(part) for part in value)]
    return [flag, str(value)]
