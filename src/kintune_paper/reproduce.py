"""`kintune reproduce`: list, plan, compute."""

from collections.abc import Sequence

import torch

from kintune.base.errors import OptionError
from kintune.options import ReproduceOptions
from kintune.similarity.task import resolve_device
from kintune.training import joined_replicas
from kintune_paper.context import StudyContext
from kintune_paper.engine.declaration import (
    DeclaredRun,
    Experiment,
    Protocol,
    Variation,
    declared_runs,
    measurements_of,
)
from kintune_paper.engine.inputs import refuse_missing
from kintune_paper.engine.known import KnownRuns, missing
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.engine.rendering import written
from kintune_paper.engine.state import ExperimentState, Reproduction, StageState
from kintune_paper.engine.work import THREADS, Work, do_all
from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.iclr2020.protocols import PAPER_SETS, PROTOCOLS, with_sets
from kintune_paper.image_sets import NamedSet, named_set
from kintune_paper.run_records import RunArchive

ALL = "all"
MEASUREMENTS = "measurements"


def reproduce(options: ReproduceOptions) -> Reproduction:
    """List, plan or compute the experiments that the options name.

    Raises:
        KintuneError: an unknown name; a set or network that is needed and not there.
    """
    work = work_of(options)
    work.known.refresh()
    if options.list or options.plan:
        return state_of(work, options)
    if not work.is_complete:
        refuse_missing(work)
        torch.set_num_threads(THREADS)
        with joined_replicas():
            do_all(work, options.hours)
        work.known.refresh()
    files = [
        path
        for experiment in work.experiments
        for path in written(
            experiment, work.protocol, work.known, work.measurements, work.archive.root
        )
    ]
    state = state_of(work, options)
    return state.replace(written=tuple(str(path) for path in files))


def work_of(options: ReproduceOptions) -> Work:
    """Work that the options ask for.

    Raises:
        OptionError: an unknown name.
    """
    sets = [named_set(given) for given in options.sets]
    if options.protocol == "paper":
        _refuse_folders(sets)
    protocol = with_sets(PROTOCOLS[options.protocol], {each.name: each.title for each in sets})
    archive = RunArchive(options.results or options.runs / "results" / protocol.name)
    context = StudyContext(
        root=options.runs,
        data=options.data,
        places={each.name: each.folder for each in sets if each.folder},
        models=options.models,
        device=resolve_device(options.device),
        earlier=options.known,
        is_official=protocol.name == "paper",
    )
    return Work(
        protocol=protocol,
        experiments=_named(ALL if options.list else options.name),
        context=context,
        archive=archive,
        measurements=MeasurementArchive(archive.root / MEASUREMENTS),
        known=KnownRuns([archive, *(RunArchive(path) for path in options.known)]),
    )


def _refuse_folders(sets: Sequence[NamedSet]) -> None:
    for each in sets:
        if each.folder:
            raise OptionError(
                f"--sets {each.folder}: the paper protocol takes official sets by their names, "
                f"{', '.join(PAPER_SETS)}, from the folder --data. Use --protocol small for a "
                "folder of your own."
            )


def _named(name: str) -> list[Experiment]:
    if name == ALL:
        return list(EXPERIMENTS.values())
    if name in EXPERIMENTS:
        return [EXPERIMENTS[name]]
    raise OptionError(
        f"{name or 'kintune reproduce'}: name an experiment, {', '.join(EXPERIMENTS)}; or all, or "
        "give --list."
    )


def state_of(work: Work, options: ReproduceOptions) -> Reproduction:
    """Return the finished and the missing runs, with hours."""
    works = [work]
    if options.list and not options.sets:
        works = [_work_under(name, work, options) for name in PROTOCOLS]
    return Reproduction(
        protocol=work.protocol.name,
        experiments=tuple(
            _experiment_state(experiment, each) for experiment in work.experiments for each in works
        ),
        stages=_stages(work),
        results=str(work.archive.root),
        failed=tuple(sorted(work.failed)),
    )


def _work_under(name: str, work: Work, options: ReproduceOptions) -> Work:
    """The same under a protocol, which has results of its own."""
    if name == work.protocol.name:
        return work
    other = work_of(options.replace(protocol=name))
    other.known.refresh()
    return other


def _experiment_state(experiment: Experiment, work: Work) -> ExperimentState:
    protocol = work.protocol
    view = experiment.declare(protocol)
    runs, measured = declared_runs(view), measurements_of(view)
    left = missing(runs, work.known)
    unmeasured = sum(not work.measurements.has(each) for each in measured)
    open_items, items = len(left) + unmeasured, len(runs) + len(measured)
    return ExperimentState(
        name=experiment.name,
        title=experiment.title,
        protocol=protocol.name,
        hours_of=protocol.hours_of,
        runs=len(runs),
        missing=len(left),
        hours=_hours(protocol, runs),
        missing_hours=_hours(protocol, left),
        measurements=len(measured),
        missing_measurements=unmeasured,
        state="complete" if not open_items else "begun" if open_items < items else "not begun",
    )


def _hours(protocol: Protocol, runs: Sequence[DeclaredRun | Variation]) -> float:
    return round(sum(protocol.hours(run) for run in runs), 3)


def _stages(work: Work) -> tuple[StageState, ...]:
    protocol, left = work.protocol, missing(work.runs, work.known)
    return tuple(
        StageState(
            stage=stage,
            runs=sum(protocol.stage(run) == stage for run in work.runs),
            missing=sum(protocol.stage(run) == stage for run in left),
            missing_hours=_hours(protocol, [r for r in left if protocol.stage(r) == stage]),
        )
        for stage in sorted({protocol.stage(run) for run in work.runs})
    )
