"""What a head that starts from the frozen features changes, beside the reference study's curves.

    python scripts/head_start_study.py --data DATA --models MODELS --runs RUNS
        [--sources in1k] [--budgets short] [--targets birds] [--beside]
    python scripts/head_start_study.py --show

Runs of the study again, with `head_start="probe"` where the study draws the head at random: at the
best rate of every curve that has one inside, by validation errors of the random start; with
`--beside` also half a decade below and above it. Results go to `results/head_start/`, one file a
source and target; what is there is not run again.

`--show` prints both test errors at each rate as Markdown, and the mean difference with an interval
over targets. Test errors choose nothing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple, get_args

import torch

from kintune.experiment import RunArchive, RunRecord
from kintune.experiments.recommenders import bootstrap_over_targets
from kintune.experiments.reference_study import (
    SEEDS,
    THREADS,
    PlannedRun,
    Point,
    quarter_of,
    rate,
    study_config,
)
from kintune.experiments.study_cases import StudyCurve, study_curves
from kintune.experiments.study_context import StudyContext, StudyTask, run_task, study_parser
from kintune.experiments.study_sources import SOURCES, BudgetName, network_file
from kintune.processor import keep_large_blocks

ROOT = Path(__file__).parent.parent
STUDY, RESULTS = ROOT / "results/reference_study", ROOT / "results/head_start"
REPRODUCTION = ROOT / "results/iclr2020"
HALF_DECADE = 2
"""Quarters."""


class Pair(NamedTuple):
    """A rate with both starts."""

    curve: StudyCurve
    quarters: int
    """Above the best rate of the random start."""
    random: RunRecord
    probe: RunRecord

    @property
    def gain(self) -> float:
        """By which the test error is lower, points."""
        return 100 * (self.random.test_error - self.probe.test_error)


def main() -> None:
    parser = study_parser(__doc__, RESULTS)
    parser.add_argument("--study", type=Path, default=STUDY)
    parser.add_argument("--beside", action="store_true", help="also beside the best rates")
    parser.add_argument("--sources", nargs="+", choices=tuple(SOURCES), default=tuple(SOURCES))
    parser.add_argument("--budgets", nargs="+", choices=get_args(BudgetName), default=("short",))
    parser.add_argument("--targets", nargs="+")
    args = parser.parse_args()
    curves = [
        curve
        for curve in study_curves(RunArchive(args.study), RunArchive(REPRODUCTION))
        if curve.is_inside
    ]
    archive = RunArchive(args.results)
    if args.show:
        show(list(pairs(curves, archive)))
        return
    if not (args.data and args.models and args.runs):
        parser.error("--data, --models and --runs are needed to run anything")
    keep_large_blocks()
    torch.set_num_threads(THREADS)
    context = StudyContext(args.runs, args.data, args.models, device=args.device)
    for curve in curves:
        if (
            curve.source in args.sources
            and curve.budget in args.budgets
            and (not args.targets or curve.target in args.targets)
        ):
            for quarters in (0, -HALF_DECADE, HALF_DECADE) if args.beside else (0,):
                run(curve, best_quarter(curve) + quarters, context, archive)


def best_quarter(curve: StudyCurve) -> int:
    """The rate with the lowest validation error of those that were run, of equal ones the least."""
    first = [each for each in curve.runs if each.config.seed == SEEDS[0]]
    best = min(first, key=lambda each: (each.validation_error, each.result.effective_lr))
    return quarter_of(best.result.effective_lr)


def run(curve: StudyCurve, quarter: int, context: StudyContext, archive: RunArchive) -> None:
    planned = PlannedRun(curve.source, curve.target, curve.budget, "curve", Point(quarter))
    backbone = context.backbone(network_file(curve.source))
    dataset = context.dataset(curve.target, backbone)
    config = study_config(planned, backbone, dataset)
    settings = config.hyperparameters.replace(head_start="probe")
    config = config.replace(hyperparameters=settings)
    record = run_task(StudyTask(curve.source, backbone, dataset, config), context, archive)
    if record is not None:
        print(
            f"{curve.source} {curve.target} {curve.budget} {rate(quarter):g}: validation "
            f"{record.validation_error:.3f}, test {record.test_error:.3f}, "
            f"{record.result.seconds:.0f} s",
            flush=True,
        )


def pairs(curves: Sequence[StudyCurve], archive: RunArchive) -> Iterator[Pair]:
    """The runs of both starts at one rate, seed and decay."""
    for curve in curves:
        random = {each.config.id_on_any_device: each for each in curve.runs}
        for probe in archive.read(curve.source, curve.target):
            settings = probe.config.hyperparameters.replace(head_start="random")
            config = probe.config.replace(hyperparameters=settings)
            there = random.get(config.id_on_any_device)
            if there is not None:
                quarter = quarter_of(probe.result.effective_lr)
                yield Pair(curve, quarter - best_quarter(curve), there, probe)


def show(found: Sequence[Pair]) -> None:
    print("| source | target | steps | rate | random head | from features |")
    print("|---|---|---|---|---|---|")
    for pair in sorted(found, key=lambda p: (p.curve.source, -p.curve.steps, p.curve.target)):
        marked = "**" if pair.quarters == 0 else ""
        print(
            f"| {pair.curve.source} | {pair.curve.target} | {pair.curve.steps} "
            f"| {marked}{pair.probe.result.effective_lr:.3g}{marked} "
            f"| {pair.random.test_error:.1%} | {pair.probe.test_error:.1%} |"
        )
    at_best = [pair for pair in found if pair.quarters == 0]
    for source in dict.fromkeys(pair.curve.source for pair in at_best):
        for budget in get_args(BudgetName):
            mine = [p for p in at_best if (p.curve.source, p.curve.budget) == (source, budget)]
            if mine:
                low, high = bootstrap_over_targets((p.curve.target, p.gain) for p in mine)
                print(
                    f"\n{source}, {budget}: {mean(p.gain for p in mine):.1f} points lower at the "
                    f"random start's best rates ({low:.1f} to {high:.1f}; {len(mine)} targets)",
                    end="",
                )
    print()


if __name__ == "__main__":
    main()
