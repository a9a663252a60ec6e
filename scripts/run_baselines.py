"""Run what recommendations are compared with, or say what is left of it and how long that takes.

    python scripts/run_baselines.py --data DATA --models MODELS --runs RUNS [--plan] [--hours H]

The methods and what is taken over of each are in `kintune.experiments.baselines`: learning rate
0.01 with momentum 0.9, a learning-rate range test, BiT's rule, Prodigy, DoG and LDoG, each on the
images, network, batches and steps of the reference study. Start it twice to use two cores: each
process takes the next training that nobody holds, and each can be killed at any moment and started
again. Results go to `results/baselines/`, one JSON file a source and target, runs at the usual rate
to `results/reference_study/`, whose points they are; what is there is not run again. With the RUNS
of `reference_study.py` the two share unfinished ones too.

`--plan` prints the trainings that are due and an estimate in hours of one core; it needs no images.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import get_args

import torch

from kintune.errors import KintuneError
from kintune.experiment import RunArchive
from kintune.experiments.baselines.methods import METHODS, MethodName, require_packages
from kintune.experiments.baselines.rate_range import STEPS
from kintune.experiments.baselines.records import BaselineArchive
from kintune.experiments.baselines.work import Archives, PlannedBaseline, planned, run_baseline
from kintune.experiments.reference_study import BATCH_SIZE, THREADS
from kintune.experiments.study_context import StudyContext
from kintune.experiments.study_sources import (
    IMAGES_PER_SECOND,
    SOURCES,
    TARGETS,
    BudgetName,
    SourceName,
    core_hours,
)
from kintune.processor import keep_large_blocks

ROOT = Path(__file__).parent.parent / "results"
BUDGETS = get_args(BudgetName)
WAIT_SECONDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of image sets")
    parser.add_argument("--models", type=Path, help="a folder of networks")
    parser.add_argument("--runs", type=Path, help="where runs are computed")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--study", type=Path, default=ROOT / "reference_study")
    parser.add_argument("--results", type=Path, default=ROOT / "baselines")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--sources", nargs="+", choices=tuple(SOURCES), default=tuple(SOURCES))
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=BUDGETS)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--seeds", type=int, default=1, help="so many of each, from seed 0")
    parser.add_argument("--plan", action="store_true", help="say what is due, run nothing")
    parser.add_argument("--hours", type=float, default=float("inf"))
    args = parser.parse_args()
    if args.plan:
        print_plan(due(args))
        return
    if not (args.data and args.models and args.runs):
        parser.error("--data, --models and --runs are needed to run anything")
    try:
        require_packages(args.methods)
        run_all(args)
    except KintuneError as error:
        sys.exit(str(error))


def archives(args: argparse.Namespace) -> Archives:
    return Archives(RunArchive(args.study), BaselineArchive(args.results))


def due(args: argparse.Namespace) -> list[PlannedBaseline]:
    return [
        plan
        for plan in planned(archives(args), args.methods, args.seeds)
        if plan.source in args.sources
        and plan.budget in args.budgets
        and plan.target in args.targets
    ]


def run_all(args: argparse.Namespace) -> None:
    keep_large_blocks()
    torch.set_num_threads(THREADS)
    context = StudyContext(args.runs, args.data, args.models, device=args.device)
    ends = time.monotonic() + 3600 * args.hours
    while time.monotonic() < ends:
        left = due(args)
        if not left:
            print("nothing is left to run", flush=True)
            break
        if not any(run_one(plan, context, archives(args)) for plan in left):
            time.sleep(WAIT_SECONDS)  # all that is due now is being run


def run_one(plan: PlannedBaseline, context: StudyContext, into: Archives) -> bool:
    """Whether this training was due and was run here."""
    run = run_baseline(plan, context, into)
    if run is None:
        return False
    rate = f" rate {run.config.hyperparameters.effective_lr:.3g}" if run.range_test else ""
    print(
        f"{time.strftime('%d %H:%M:%S')} {plan.source} {plan.target} {plan.budget} {plan.method}"
        f"{rate} seed {plan.seed}: {run.status}, validation {run.validation_error:.3f}, "
        f"{run.steps} steps and {run.extra_steps} more, {run.seconds:.0f} s",
        flush=True,
    )
    return True


def print_plan(left: list[PlannedBaseline]) -> None:
    """What is due, and its usual cost."""
    counts: Counter[tuple[SourceName, BudgetName, MethodName]] = Counter(
        (plan.source, plan.budget, plan.method) for plan in left
    )
    total = 0.0
    print(f"{'source':14}{'budget':8}{'method':14}{'due':>5}{'core-hours':>12}{'up to here':>12}")
    for (source, budget, method), count in counts.items():
        hours = count * core_hours(source, budget)
        if method == "range-test":
            images = count * STEPS * BATCH_SIZE
            hours += images / IMAGES_PER_SECOND[SOURCES[source].image_size] / 3600
        total += hours
        print(f"{source:14}{budget:8}{method:14}{count:5}{hours:12.2f}{total:12.1f}")


if __name__ == "__main__":
    main()
