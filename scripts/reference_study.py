"""Run the reference study, or say what is left of it and how long that takes.

    python scripts/reference_study.py --data DATA --models MODELS --runs RUNS [--plan] [--hours H]
        [--sources pocket] [--budgets long] [--stages curve] [--targets caltech101 birds]

The protocol is `kintune.experiments.reference_study`, its networks and sets
`kintune.experiments.study_sources`. Start it twice to use two cores: each process
takes the next run that nobody holds, and each can be killed at any moment and started again.
Results go to `results/reference_study/`, one JSON file a source and target; what is there is not
run again. RUNS holds the unfinished runs, and of finished ones what is small.

`--plan` prints the runs that are due now and an estimate of the whole study in hours of one core.
`--show` prints the curves so far as Markdown; `docs/reference-study.md` holds such a table.
`--facts` measures distance and linear probe of every source and target, on the processor:
`facts.json`, minutes.
`--tables` writes the best rates into `kintune/reference/study.json`, which recommendations rest on.

Runs of other studies that were trained as this one trains count too: `--beside` names where they
are.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from kintune.errors import KintuneError
from kintune.experiment import RunArchive
from kintune.experiments.known_facts import (
    FACTS,
    FactsFile,
    add_facts,
    measured_facts,
    read_facts,
)
from kintune.experiments.reference_study import (
    ORDER,
    STAGES,
    THREADS,
    PlannedRun,
    Stage,
    pending,
    rate,
    study_config,
)
from kintune.experiments.study_cases import StudyCurve, study_curves
from kintune.experiments.study_context import StudyContext, StudyTask, run_task, study_parser
from kintune.experiments.study_sources import (
    SOURCES,
    TARGETS,
    BudgetName,
    SourceName,
    core_hours,
    network_file,
)
from kintune.experiments.study_tables import (
    HEADER,
    devices,
    markdown_row,
    reference_tables,
    shifts,
    summary,
)
from kintune.processor import keep_large_blocks
from kintune.runs import write_json

ROOT = Path(__file__).parent.parent
RESULTS, REPRODUCTION = ROOT / "results/reference_study", ROOT / "results/iclr2020"
TABLES = ROOT / "src/kintune/reference/study.json"
WAIT_SECONDS = 30
BUDGETS = get_args(BudgetName)
MORE_RATES = 3
"""Beyond the first ones of a curve, usually: one outwards and two beside the best."""
USUAL_RUNS: dict[Stage, int] = {"seeds": 8, "decays": 6}
"""Usual number of runs of one curve, for the estimate: which there will be depends on what they
give."""


def main() -> None:
    parser = study_parser(__doc__, RESULTS)
    parser.add_argument("--plan", action="store_true", help="say what is due, run nothing")
    parser.add_argument("--tables", action="store_true", help="write what recommend rests on")
    parser.add_argument("--beside", nargs="*", type=Path, default=[REPRODUCTION])
    parser.add_argument("--facts", action="store_true", help="measure what is known beforehand")
    parser.add_argument("--hours", type=float, default=float("inf"))
    parser.add_argument("--sources", nargs="+", choices=tuple(SOURCES), default=tuple(SOURCES))
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=BUDGETS)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    args = parser.parse_args()
    archive, beside = RunArchive(args.results), [RunArchive(path) for path in args.beside]
    if args.plan:
        print_plan(archive, beside, args)
        return
    curves = study_curves(archive, *beside)
    if args.show:
        show(list(curves))
        return
    if args.tables:
        write_tables(list(curves), read_facts(args.results / FACTS))
        return
    if not (args.data and args.models and args.runs):
        parser.error("--data, --models and --runs are needed to run anything")
    try:
        run_all(args, archive, beside)
    except KintuneError as error:
        sys.exit(str(error))


def run_all(args: argparse.Namespace, archive: RunArchive, beside: Sequence[RunArchive]) -> None:
    """What the flags name, or the facts, until nothing is left or the time is over."""
    keep_large_blocks()
    torch.set_num_threads(THREADS)
    context = StudyContext(args.runs, args.data, args.models, device=args.device)
    if args.facts:
        write_facts(context, args.results / FACTS, args.sources)
        return
    ends = time.monotonic() + 3600 * args.hours
    while time.monotonic() < ends:
        planned = [run for run in pending(archive, *beside) if is_wanted(run, args)]
        if not planned:
            print("nothing is left to run", flush=True)
            break
        if not any(run_one(run, context, archive) for run in planned):
            time.sleep(WAIT_SECONDS)  # all that is due now is being run


def is_wanted(run: PlannedRun, args: argparse.Namespace) -> bool:
    """Whether the flags name the part of the study that a run belongs to."""
    return (
        run.source in args.sources
        and run.budget in args.budgets
        and run.stage in args.stages
        and run.target in args.targets
    )


def run_one(run: PlannedRun, context: StudyContext, archive: RunArchive) -> bool:
    """Whether this run was due and was run here."""
    backbone = context.backbone(network_file(run.source))
    dataset = context.dataset(run.target, backbone)
    config = study_config(run, backbone, dataset)
    record = run_task(StudyTask(run.source, backbone, dataset, config), context, archive)
    if record is None:
        return False
    if record.result.status == "failed":
        print(f"{context.root / config.id}: {record.result.reason}", flush=True)
        return True
    print(
        f"{time.strftime('%d %H:%M:%S')} {run.source} {run.target} {run.budget} {run.stage} "
        f"{rate(run.point.quarter):g} decay {run.point.decay:g} seed {run.point.seed}: "
        f"validation {record.validation_error:.3f}, loss {record.result.train_loss}, "
        f"{record.result.seconds:.0f} s",
        flush=True,
    )
    return True


def write_facts(context: StudyContext, path: Path, sources: Sequence[SourceName]) -> None:
    for source, plan in SOURCES.items():
        if source in sources and plan.is_reference:
            backbone = context.backbone(network_file(source))
            for target in plan.all_targets:
                facts = measured_facts(source, backbone, context.dataset(target, backbone))
                add_facts(path, facts)
                print(facts.model_dump_json(), flush=True)


def write_tables(curves: Sequence[StudyCurve], facts: FactsFile) -> None:
    tables = list(reference_tables(curves, facts))
    write_json(TABLES, [table.to_json() for table in tables])
    for table in tables:
        print(f"{table.network} of {table.source}: {len(table.rows)} best rates")


def show(curves: Sequence[StudyCurve]) -> None:
    print(HEADER)
    for curve in curves:
        print(markdown_row(curve))
    print(f"\n{summary(curves)}\n{devices(curves)}")
    print(*shifts(curves), sep="\n")


def print_plan(archive: RunArchive, beside: Sequence[RunArchive], args: argparse.Namespace) -> None:
    """What is due now of what the flags name, and its usual cost."""
    due_now = (run for run in pending(archive, *beside) if is_wanted(run, args))
    now = Counter((run.source, run.budget, run.stage) for run in due_now)
    total = 0.0
    print(f"{'source':14}{'budget':8}{'stage':8}{'due now':>8}{'core-hours':>12}{'up to here':>12}")
    for source, budget, stage in ORDER:
        plan = SOURCES[source]
        targets = [name for name in plan.targets_of(budget) if name in args.targets]
        if not (source in args.sources and budget in args.budgets and stage in args.stages):
            continue
        runs = USUAL_RUNS.get(stage, len(plan.first) + MORE_RATES)
        hours = runs * len(targets) * core_hours(source, budget)
        total += hours
        due = now[source, budget, stage]
        print(f"{source:14}{budget:8}{stage:8}{due:8}{hours:12.1f}{total:12.1f}")
    done = sum(run.result.seconds for file in archive.files() for run in file.runs) / 3600
    print(f"computed so far: {done:.1f} hours of runs")


if __name__ == "__main__":
    main()
