"""Which trainings there are, in the order of what they tell for their hours, and one of them."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import NamedTuple

from kintune.errors import KintuneError
from kintune.experiment import (
    DIGITS,
    RunArchive,
    RunRecord,
    keep_only_json,
    recorded_run,
)
from kintune.experiments.baselines.methods import (
    METHODS,
    OPTIMIZERS,
    MethodName,
    OwnOptimizer,
    settings_of,
)
from kintune.experiments.baselines.rate_range import RangeTest, range_test
from kintune.experiments.baselines.records import BaselineArchive, BaselineRun
from kintune.experiments.baselines.training import train_with
from kintune.experiments.recommenders import USUAL_RATE
from kintune.experiments.reference_study import (
    ORDER,
    PlannedRun,
    Point,
    curve_runs,
    quarter_of,
    study_config,
)
from kintune.experiments.study_context import StudyContext, StudyTask, refuse_other_images, run_task
from kintune.experiments.study_sources import SOURCES, BudgetName, SourceName, network_file
from kintune.files import locked
from kintune.runs import device_kind, write_json
from kintune.training import batch_bounds
from kintune.training.run_folder import this_environment

USUAL_QUARTER = quarter_of(USUAL_RATE)


class PlannedBaseline(NamedTuple):
    """One training by one method."""

    source: SourceName
    target: str
    budget: BudgetName
    method: MethodName
    seed: int = 0

    @property
    def usual(self) -> PlannedRun:
        """The study's run at the usual rate: what is held fixed is as in it."""
        point = Point(USUAL_QUARTER, seed=self.seed)
        return PlannedRun(self.source, self.target, self.budget, "curve", point)


class Archives(NamedTuple):
    """Where finished runs are recorded."""

    study: RunArchive
    """The reference study's, which the usual rate belongs to."""
    baselines: BaselineArchive


def planned(
    archives: Archives, methods: Sequence[MethodName] = METHODS, seeds: int = 1
) -> Iterator[PlannedBaseline]:
    """The trainings that are not recorded yet, of pretrained networks; the study's most informative
    curves first, all methods on a target before the next target."""
    curves: dict[tuple[SourceName, BudgetName], None] = dict.fromkeys(
        (source, budget) for source, budget, _ in ORDER if source != "scratch"
    )
    for seed in range(seeds):
        for source, budget in curves:
            for target in SOURCES[source].targets_of(budget):
                for method in methods:
                    plan = PlannedBaseline(source, target, budget, method, seed)
                    if is_due(plan, archives):
                        yield plan


def is_due(plan: PlannedBaseline, archives: Archives) -> bool:
    """Whether a training is not recorded yet."""
    source, target, budget, method, seed = plan
    if method == "usual":
        runs = curve_runs(archives.study.read(source, target), source, budget)
        return plan.usual.point not in runs
    runs = archives.baselines.find(source, target, budget, method)
    return all(run.config.seed != seed for run in runs)


def run_baseline(
    plan: PlannedBaseline, context: StudyContext, archives: Archives
) -> BaselineRun | None:
    """Run it, unless another process does or it is recorded; None where it was not run here.

    Raises:
        KintuneError: the recorded runs of this network and set are of other images; or what the
            person must fix before the run can succeed.
    """
    backbone = context.backbone(network_file(plan.source))
    dataset = context.dataset(plan.target, backbone)
    task = StudyTask(plan.source, backbone, dataset, study_config(plan.usual, backbone, dataset))
    if plan.method == "usual":
        record = run_task(task, context, archives.study)
        return None if record is None else _by_engine(plan, task, record)
    claim = context.root / "claims" / f"{plan.method}-{task.config.id}"
    with locked(claim, wait=False) as mine:
        if not mine or not is_due(plan, archives):
            return None
        path = archives.baselines.path(plan.source, plan.target)
        runs = archives.baselines.read(plan.source, plan.target)
        refuse_other_images(path, [run.config for run in runs], dataset)
        own = OPTIMIZERS.get(plan.method)
        if own is None:
            run = _after_range_test(plan, task, context)
        else:
            run = _by_own_optimizer(plan, task, own, context.device)
        archives.baselines.add(plan.source, plan.target, run)
    return run


def _after_range_test(plan: PlannedBaseline, task: StudyTask, context: StudyContext) -> BaselineRun:
    """The test is kept beside the run: one that is killed goes on at the rate that was found."""
    path = context.root / "range-tests" / f"{task.config.id}.json"
    if not path.exists():
        test = range_test(task.backbone, task.dataset, task.config, context.device)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, test.to_json())
    test = RangeTest.read(path)
    used = task.config.hyperparameters.replace(lr=test.lr)
    config = task.config.replace(hyperparameters=used)
    folder = context.root / config.id
    record = recorded_run(task.backbone, task.dataset, config, folder, device=context.device)
    run = _by_engine(plan, task, record, test)
    keep_only_json(folder)
    return run


def _by_engine(
    plan: PlannedBaseline, task: StudyTask, record: RunRecord, test: RangeTest | None = None
) -> BaselineRun:
    if record.result.status not in ("complete", "diverged"):
        raise KintuneError(f"{plan.source} {plan.target}: a run failed. {record.result.reason}")
    return BaselineRun(
        method=plan.method,
        budget=plan.budget,
        config=record.config,
        status=record.result.status,
        reason=record.result.reason,
        validation_top1_error=record.result.validation_top1_error,
        test_top1_error=record.test_top1_error,
        train_losses=record.train_losses,
        range_test=test,
        steps=_steps(task),
        seconds=record.result.seconds + (test.seconds if test else 0),
        versions=record.versions,
        processor=record.processor,
        device=record.device,
    )


def _by_own_optimizer(
    plan: PlannedBaseline, task: StudyTask, own: OwnOptimizer, device: str
) -> BaselineRun:
    used = settings_of(plan.method, task.config.hyperparameters)
    config = task.config.replace(hyperparameters=used, device=device_kind(device))
    trained = train_with(own, task.backbone, task.dataset, config, device)
    scored, last = trained.averaged or trained.last, trained.averaged and trained.last
    installed, here = version(own.package), this_environment(device)
    return BaselineRun(
        method=plan.method,
        budget=plan.budget,
        config=config,
        optimizer=f"{own.package} {installed}: {own.call}",
        status="diverged" if scored is None else "complete",
        reason=trained.reason,
        validation_top1_error=scored and scored.validation,
        test_top1_error=scored and scored.test,
        last_validation_top1_error=last and last.validation,
        last_test_top1_error=last and last.test,
        train_losses=tuple(float(f"{loss:.{DIGITS}g}") for loss in trained.train_losses),
        steps=_steps(task),
        seconds=trained.seconds,
        versions={**here.versions, own.package: installed},
        processor=here.processor,
        device=here.device,
    )


def _steps(task: StudyTask) -> int:
    settings = task.config.hyperparameters
    images = len(task.dataset.splits["train"])
    return settings.epochs * len(batch_bounds(images, settings.batch_size))
