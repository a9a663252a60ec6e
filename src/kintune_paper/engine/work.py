"""The runs and measurements that are missing, one after another, shared with other processes."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kintune.backbones import Backbone
from kintune.base.progress import announce
from kintune.data import ImageDataset
from kintune.runs import RunConfig
from kintune.training import batch_bounds, replicas, start_of
from kintune_paper.context import StudyContext, StudyTask, run_task
from kintune_paper.engine.declaration import (
    DeclaredRun,
    Experiment,
    Measurement,
    Protocol,
    Variation,
    declared_runs,
    measurements_of,
)
from kintune_paper.engine.known import KnownRuns, missing
from kintune_paper.engine.loss_plane import kept_weights, train_again
from kintune_paper.engine.measuring import MeasurementArchive, measure
from kintune_paper.engine.sources import making_run, publish_sources
from kintune_paper.run_records import RunArchive, RunRecord

WAIT_SECONDS = 20.0
"""Between two looks at what other processes have finished."""
THREADS = 1
"""A run: two runs side by side give more images a second than one of two threads."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Runs to do, their folders, and the place of the results."""

    protocol: Protocol
    experiments: Sequence[Experiment]
    context: StudyContext
    archive: RunArchive
    measurements: MeasurementArchive
    known: KnownRuns
    failed: set[str] = field(default_factory=set[str])
    """Ids of the runs that failed here."""

    @cached_property
    def runs(self) -> list[DeclaredRun | Variation]:
        """All of them, in the order in which they are done."""
        return all_runs(self.experiments, self.protocol)

    @cached_property
    def measured(self) -> list[Measurement]:
        """All measurements."""
        return all_measurements(self.experiments, self.protocol)

    @cached_property
    def kept(self) -> set[str]:
        """Keys of the runs whose weights are needed afterwards."""
        measured = {run.key for each in self.measured for run in each.runs}
        networks = self.protocol.networks.values()
        made = {making_run(each, self.protocol).key for each in networks if each.made_by}
        return measured | made

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, by what is known now."""
        measured = all(self.measurements.has(each) for each in self.measured)
        return measured and not missing(self.runs, self.known)


def all_runs(
    experiments: Sequence[Experiment], protocol: Protocol
) -> list[DeclaredRun | Variation]:
    """The runs of several experiments, each once, those of a lower stage first."""
    found: dict[object, DeclaredRun | Variation] = {}
    for experiment in experiments:
        for run in declared_runs(experiment.declare(protocol)):
            found.setdefault(run.key if isinstance(run, DeclaredRun) else run, run)
    return sorted(found.values(), key=protocol.stage)


def all_measurements(experiments: Sequence[Experiment], protocol: Protocol) -> list[Measurement]:
    """The measurements of several experiments, each once."""
    views = [experiment.declare(protocol) for experiment in experiments]
    return list(dict.fromkeys(each for view in views for each in measurements_of(view)))


def do_all(work: Work, hours: float | None = None) -> bool:
    """Do what is missing until nothing is, or so many hours have passed.

    Replicas that train together all call this; the first decides what is next.

    Returns:
        Whether nothing is left to do.

    Raises:
        KintuneError: what the person must fix.
    """
    here = replicas()
    ends = math.inf if hours is None else time.monotonic() + 3600 * hours
    failed: set[str] = set()
    """Keys of declared runs."""
    while here.from_first(time.monotonic() < ends):
        work.known.refresh()
        if here.count > 1:
            _weights_for_the_first(work)
        if here.from_first(here.is_first and _prepare(work)):
            continue
        if here.from_first(work.is_complete):
            return True
        due = here.from_first(_due(work, failed))
        if not any(_run_one(work, declared, run, failed) for declared, run in due):
            if failed and not here.from_first(_due(work, failed)):
                return False
            time.sleep(WAIT_SECONDS)  # others hold what is due, or what it waits for
    return False


def _weights_for_the_first(work: Work) -> None:
    """Replicas train together what a measurement of the first will need."""
    open_ones = [each for each in work.measured if not work.measurements.has(each)]
    ready = [each for each in open_ones if not missing(each.runs, work.known)]
    runs = [run for each in ready for run in each.runs]
    lacking = [run for run in runs if kept_weights(task_of(work, run), work.context) is None]
    for run in replicas().from_first(lacking):
        train_again(task_of(work, run), work.context)


def _prepare(work: Work) -> bool:
    """Whether something was measured here, of what the finished runs allow."""
    publish_sources(work.protocol, work.known, work.context)
    return any(_measure_one(work, each) for each in work.measured)


def _due(work: Work, failed: set[str]) -> list[tuple[DeclaredRun | Variation, DeclaredRun]]:
    """Missing runs that can be run now, with the run that it comes to."""
    pairs = [(run, work.known.resolved(run)) for run in missing(work.runs, work.known)]
    return [
        (declared, run)
        for declared, run in pairs
        if run is not None and run.key not in failed and not _waits(work, run.network)
    ]


def _waits(work: Work, name: str) -> bool:
    """Whether a network is not made yet."""
    network = work.protocol.networks[name]
    return bool(network.made_by and work.context.missing_weights(network.file))


def _run_one(
    work: Work, declared: DeclaredRun | Variation, run: DeclaredRun, failed: set[str]
) -> bool:
    """Whether this was run here, to its end."""
    task = task_of(work, run)
    record = run_task(task, work.context, work.archive, keep_model=run.key in work.kept)
    if record is None:
        return False
    if record.result.status == "failed":
        failed.add(run.key)
        work.failed.add(task.config.id)
        announce(f"{work.context.root / task.config.id}: {record.result.reason}")
        return False
    announce(_line(work, declared, run, record))
    return True


def _measure_one(work: Work, measurement: Measurement) -> bool:
    """Whether this was due and was measured here."""
    if work.measurements.has(measurement) or missing(measurement.runs, work.known):
        return False
    if any(_waits(work, name) for name in (measurement.network, measurement.extractor) if name):
        return False
    with work.measurements.claimed(measurement) as mine:
        if not mine or work.measurements.has(measurement):
            return False
        tasks = [task_of(work, run) for run in measurement.runs]
        found = measure(measurement, work.protocol, work.context, tasks)
        work.measurements.write(measurement, found)
    announce(f"{time.strftime('%d %H:%M:%S')} measured {measurement.name}")
    return True


def task_of(work: Work, run: DeclaredRun) -> StudyTask:
    """A run with its network, images and configuration.

    Raises:
        KintuneError: the network or the images are not there.
    """
    network = work.protocol.networks[run.network]
    backbone = work.context.backbone(network.file)
    dataset = work.context.dataset(run.target, backbone)
    config = configured(run, work.protocol, backbone, dataset)
    return StudyTask(run.network, backbone, dataset, config)


def configured(
    run: DeclaredRun, protocol: Protocol, backbone: Backbone, dataset: ImageDataset
) -> RunConfig:
    """The configuration of a run on its network and images.

    On fewer devices than the protocol's, micro-batches have the size of a device's share: batch
    statistics are of as many images.
    """
    network, settings, here = protocol.networks[run.network], run.settings, replicas().count
    if settings.iterations is not None:
        steps = len(batch_bounds(len(dataset.splits["train"]), settings.batch_size, here))
        epochs = math.ceil(settings.iterations / steps)
        settings = settings.replace(epochs=epochs)
    share = max(2, settings.batch_size // protocol.devices)
    start = start_of(backbone, dataset)
    if network.is_random:
        start["weights_sha256"] = ""
    return RunConfig(
        **start,
        initialization="random" if network.is_random else "pretrained",
        hyperparameters=settings,
        seed=run.seed,
        devices=here,
        micro_batch_size=None if here >= protocol.devices else share,
    )


def _line(
    work: Work, declared: DeclaredRun | Variation, run: DeclaredRun, record: RunRecord
) -> str:
    used = run.settings
    special = {
        name: value
        for name, value in used.without_defaults().items()
        if value != work.protocol.networks[run.network].base.without_defaults().get(name)
    }
    said = ", ".join(f"{name} {value}" for name, value in special.items()) or "the usual settings"
    return (
        f"{time.strftime('%d %H:%M:%S')} stage {work.protocol.stage(declared)}: {run.network} "
        f"{run.target} {said}, seed {run.seed}: validation {record.validation_error:.3f}, "
        f"{record.result.seconds:.0f} s"
    )
