"""The walk: from a folder of images and a network to a fine-tuned model with the evidence."""

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from kintune.backbones import absolute_model
from kintune.base.errors import OptionError
from kintune.base.progress import announce, live_display
from kintune.data import absolute_source, limit_decoding
from kintune.executors import run_guarded
from kintune.options import (
    DemoOptions,
    FinetuneOptions,
    PredictOptions,
    PrototypesOptions,
    RecommendOptions,
    ReportOptions,
    SearchOptions,
    SimilarityOptions,
    TuneOptions,
)
from kintune.options.results import (
    Plan,
    PrototypeFile,
    ReportPath,
    SettingResult,
    TrainingSummary,
)
from kintune.recommend import Recommendation, recommend
from kintune.report import write_report
from kintune.runs import RunConfig, defaults, read_result, write_json
from kintune.runs.hyperparameters import Hyperparameters
from kintune.search import SearchPlan, StudyView, describe, live_table
from kintune.search import search as run_search
from kintune.search.choosing import Choice, choose
from kintune.search.plan import plan_runs, plan_search, say_plan
from kintune.search.settings import (
    asked_batch_statistics,
    run_config,
    task_facts,
    training_settings,
)
from kintune.search.tuning import (
    alone,
    frozen_head_config,
    runner_for,
    search_plan,
    search_space,
    setting_results,
    template,
    usual_default,
    with_divided_cores,
)
from kintune.similarity import Similarity, SourceRanking
from kintune.similarity.candidates import measure_candidates, write_prototypes
from kintune.similarity.task import (
    Task,
    known_similarity,
    load_task,
    probe,
    resolve_device,
    source_spec,
    threads,
)
from kintune.training import exclusive, joined_replicas, replicas, versions
from kintune.workflow.delivery import FROZEN_HEAD, deliver
from kintune.workflow.outputs import (
    held_output,
    open_run_output,
    refuse_output_among_images,
    task_identity,
)
from kintune.workflow.predict import Predictions, predict, unreadable_lines
from kintune.workflow.repeat import repeated, say_repeated

DEMO_EPOCHS = 6


@joined_replicas()
def tune(options: TuneOptions) -> TrainingSummary | Plan:
    """Measure, recommend, search in a handful of runs, keep the best model, write the report.

    The same call again goes on where it was stopped: a finished run is never run twice.
    """
    return _walk(SearchOptions(**options.model_dump()), said=options)


@joined_replicas()
def search(options: SearchOptions) -> TrainingSummary | Plan:
    """`tune` with every say over the search."""
    return _walk(options, said=options)


def _walk(options: SearchOptions, said: TuneOptions) -> TrainingSummary | Plan:
    options = with_divided_cores(options)
    task = load_task(options, pretrained=not options.from_scratch)
    folder = (options.output or Path("runs") / task.name).absolute()
    if not options.dry_run:
        refuse_output_among_images(folder, task.dataset)
    held = nullcontext() if options.dry_run else held_output(folder, task_identity(task, options))
    with held:
        is_measured = not (options.no_recommendation or options.dry_run)
        recommendation = _advice(task, options, folder) if is_measured else None
        space = search_space(task, options, recommendation)
        plan = search_plan(task, options, space, folder)
        costs = plan_search(task, options, plan, folder)
        if options.dry_run:
            return costs
        return _searched(task, options, said, plan, recommendation)


def _searched(
    task: Task,
    options: SearchOptions,
    said: TuneOptions,
    plan: SearchPlan,
    recommendation: Recommendation | None,
) -> TrainingSummary:
    """Fit the frozen head, run the search, choose, conclude."""
    space, folder = plan.store.space, plan.store.root.parent
    runner = runner_for(task, options, folder / "runs")
    head = _frozen_head(task, options, folder)
    with live_display() as display:
        watchers = (StudyView(folder, space), *live_table(display))
        found = run_search(replace(plan, watchers=watchers), runner)
    results = list(setting_results(found.trials, space.validation_images))
    labels = _labels(results, recommendation)
    if options.compare_default:
        [usual] = runner.run([usual_default(template(task, options, space))])
        results += [] if usual.id in {run.id for run in results} else [alone(usual)]
        labels.setdefault(usual.id, "usual default")
    choice = choose(results, space, head)
    for note in choice.notes if replicas().is_first else ():
        announce(note)
    choice = replace(choice, notes=found.notes + choice.notes)
    return _conclude(task, said, folder, Tried(tuple(results), choice, labels, head))


def _frozen_head(task: Task, options: SearchOptions, folder: Path) -> SettingResult | None:
    """The run that every other one has to beat: a linear classifier on the frozen features. None
    for random weights, whose features tell nothing."""
    if options.from_scratch:
        return None
    announce("fitting a head to the frozen features, which every run has to beat")
    config = frozen_head_config(task, options)
    result = run_guarded(
        task.backbone, task.dataset, config, folder / FROZEN_HEAD, device=task.device
    )
    announce(f"  {describe(result)}")
    return alone(result) if result.status == "complete" else None


def _labels(
    results: Sequence[SettingResult], recommendation: Recommendation | None
) -> dict[str, str]:
    """The recommended setting by its id, where it is among the results."""
    if recommendation is None:
        return {}
    return {
        each.id: "recommended"
        for each in results
        if recommendation.is_tried_by(each.hyperparameters)
    }


def _advice(task: Task, options: SearchOptions, folder: Path) -> Recommendation:
    """Measure and recommend; a search keeps both beside its runs."""
    measured = known_similarity(task, source_spec(options))
    recommendation = _recommendation(task, measured, options)
    announce(recommendation.explanation)
    if replicas().is_first:
        if measured is not None:
            write_json(folder / "similarity.json", measured.to_json())
        write_json(folder / "recommendation.json", recommendation.to_json())
    return recommendation


@joined_replicas()
def finetune(options: FinetuneOptions) -> TrainingSummary | Plan:
    """One run. The same call again resumes it, or returns its result."""
    if options.from_config is not None:
        task, config = repeated(options, options.from_config)
    else:
        task, config = _configured(options)
    folder = (options.output or Path("runs") / f"{task.name}-{config.id}").absolute()
    if not options.dry_run:
        refuse_output_among_images(folder, task.dataset)
        open_run_output(folder)
    plan = plan_runs(task, options, config, folder, finished=read_result(folder))
    say_plan(plan)
    if options.dry_run:
        return plan
    result = run_guarded(task.backbone, task.dataset, config, folder, device=task.device)
    if options.from_config is not None:
        say_repeated(read_result(options.from_config.parent), result)
    settings = (alone(result),)
    with exclusive(folder) if replicas().is_first else nullcontext():
        return _conclude(task, options, folder, Tried(settings, choose(settings)))


def _configured(options: FinetuneOptions) -> tuple[Task, RunConfig]:
    missing = [name for name in ("data", "model") if not getattr(options, name)]
    if missing:
        words = " and ".join({"data": "DATA", "model": "--model"}[name] for name in missing)
        raise OptionError(f"{words}: required, unless --from names a recorded configuration.")
    task = load_task(options, pretrained=not options.from_scratch)
    config = run_config(task, _finetune_settings(task, options), options)
    return task, config.replace(
        initialization="random" if options.from_scratch else "pretrained",
        trainable="head" if options.head_only else "all",
    )


def _finetune_settings(task: Task, options: FinetuneOptions) -> Hyperparameters:
    """The settings of a single run; those that are recommended where no learning rate is given."""
    facts = task_facts(task, options)
    if options.lr is not None or options.from_scratch or options.dry_run:
        return training_settings(options, facts, options.lr or defaults.USUAL_LR)
    recommendation = _recommendation(task, known_similarity(task), options)
    announce(recommendation.explanation)
    settings = training_settings(options, facts, recommendation.lr)
    return settings.replace(freeze_bn_stats=recommendation.freeze_bn_stats)


def similarity(options: SimilarityOptions) -> Similarity | SourceRanking:
    """How near the images are to what the network was trained on, or each of several."""
    return measure_candidates(options)


def prototypes(options: PrototypesOptions) -> PrototypeFile:
    """Write what stands for a domain to a file."""
    return write_prototypes(options)


def recommendation(options: RecommendOptions) -> Recommendation:
    """Hyperparameters before any training."""
    task = load_task(options)
    return _recommendation(task, known_similarity(task, source_spec(options)), options)


def demo(options: DemoOptions) -> TrainingSummary | Plan:
    """The main job on what is embedded, beside the usual default."""
    flags = {"data": "sklearn:digits", "model": "pocket", "compare_default": True}
    flags |= {"no_retrain": True}  # a minute less to wait
    return tune(TuneOptions(**flags, epochs=DEMO_EPOCHS, output=options.output))


def predictions(options: PredictOptions) -> Predictions:
    """Classify images with a finished model; says on stderr what could not be read."""
    if not options.images:
        raise OptionError("IMAGES: name at least one image file, folder or pattern (new/*.jpg).")
    limit_decoding(gigabytes=options.decode_memory)
    device = resolve_device(options.device)
    found = predict(options.model, options.images, top=options.top, device=device)
    if found.unreadable:
        count = len(found.unreadable)
        lines = unreadable_lines(found.unreadable)
        announce(f"kintune: not classified, {count} of what was named:\n{lines}")
    return found


def report(options: ReportOptions) -> ReportPath:
    """Write the page of an output folder again."""
    return ReportPath(report_path=str(write_report(options.folder).absolute()))


def _recommendation(
    task: Task,
    similarity: Similarity | None,
    options: RecommendOptions | TuneOptions | FinetuneOptions,
) -> Recommendation:
    facts = task_facts(task, options)
    settings = training_settings(options, facts, defaults.USUAL_LR)
    return recommend(similarity, facts, probe(task), settings, asked_batch_statistics(options))


class Tried(NamedTuple):
    """Runs of a command, and its choice among them."""

    results: tuple[SettingResult, ...]
    choice: Choice
    labels: dict[str, str] = {}
    frozen_head: SettingResult | None = None


def _conclude(
    task: Task, options: TuneOptions | FinetuneOptions, folder: Path, tried: Tried
) -> TrainingSummary:
    """Test, keep and report; of several replicas the first does."""
    here = replicas()
    if not here.is_first:
        return here.from_first(None)  # pyright: ignore[reportReturnType] - the first has a summary
    delivery = deliver(task, options, folder, tried.choice.setting, tried.frozen_head)
    summary = TrainingSummary(
        status="no run completed" if delivery.best is None else "complete",
        runs=tried.results,
        frozen_head=tried.frozen_head,
        best=delivery.best,
        verdict=delivery.verdict,
        model_path=None if delivery.model_path is None else str(delivery.model_path),
        report_path=str(folder / "report.html"),
        command=command(options, folder),
        facts=task.facts(),
        labels=tried.labels,
        versions=versions(),
        device=task.device,
        notes=tried.choice.notes,
    )
    write_json(folder / "summary.json", summary.to_json())
    write_report(folder)
    return here.from_first(summary)


def command(options: TuneOptions | FinetuneOptions, folder: Path) -> str:
    """The command line that repeats this from any folder: absolute paths, threads said."""
    name = type(options).__name__.removesuffix("Options").lower()
    repeats = isinstance(options, FinetuneOptions) and options.from_config is not None
    said = options.replace(
        **({"output": folder} if repeats else {"output": folder, "threads": threads(options)})
    )
    together = replicas().count
    start = ["torchrun", "--standalone", "--nproc-per-node", str(together), "-m"]
    words = [*(start if together > 1 else []), "kintune", name]
    for field, value in said.model_dump(exclude_defaults=True).items():
        words += _words(field, value)
    return shlex.join(words)


def _words(field: str, value: Any) -> list[str]:
    if field in ("as_json", "dry_run", "verbose"):
        return []
    if field == "data":
        return [absolute_source(value)]
    if field == "model":
        value = absolute_model(value)
    if isinstance(value, Path):
        value = absolute_source(value) if field == "source" else value.absolute()
    flag = "--from" if field == "from_config" else "--" + field.replace("_", "-")
    if value is True:
        return [flag]
    if isinstance(value, tuple):
        return [flag, *(str(part) for part in value)]
    return [flag, str(value)]
