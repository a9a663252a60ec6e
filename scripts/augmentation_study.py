"""Which augmentation is better, by image set, network and length of training.

    python scripts/augmentation_study.py --data DATA --runs RUNS [--models MODELS]
        [--networks pocket in1k] [--sets birds clothing10] [--iterations 1000 2000]
    python scripts/augmentation_study.py --show

`kintune tune` with one run, at the rate that it recommends, on the whole of each set: everything as
a person who gives an image folder and a network gets it, but for the augmentation and the number of
steps. Results go to `results/augmentation/`, one file a network and set; what is there is not run
again, and a training that was killed goes on. Processes side by side need networks or sets of their
own.

`--show` prints test errors as Markdown, the augmentation of the lower validation error, and the one
that is kept if flips are unless crops are better by more than a standard error. The test split is
read once a run and chooses nothing.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import kintune
from kintune.experiments.study_context import study_parser
from kintune.hyperparameters import AugmentationName, Hyperparameters
from kintune.records import Record
from kintune.results import TrainingSummary
from kintune.runs import write_json
from kintune.search import standard_error

RESULTS = Path(__file__).parent.parent / "results/augmentation"
NETWORKS: dict[str, dict[str, Any]] = {
    "pocket": {"model": "pocket"},
    "in1k": {"model": "mobilenetv2_100", "image_size": 64},
}
WEIGHTS = {"in1k": "mobilenetv2_100.in1k.safetensors"}
SETS = (
    "birds",
    "clothing10",
    "caltech101",
    "sign-digits",
    "grocery-store",
    "fsdd-spectrograms",
    "omniglot-small",
)
TRIED: tuple[AugmentationName, ...] = ("flip", "random_resized_crop")


class AugmentedRun(Record):
    """One training of the study."""

    network: str
    target: str
    images: int
    """That were trained on."""
    validation_images: int
    hyperparameters: Hyperparameters
    validation_error: float
    test_error: float
    """Fractions, top-1."""
    train_loss: float | None
    seconds: float
    data_sha256: str
    weights_sha256: str
    versions: dict[str, str]


class AugmentedRuns(Record):
    """A file of results: the runs of one network on one set."""

    runs: tuple[AugmentedRun, ...] = ()


def main() -> None:
    parser = study_parser(__doc__, RESULTS)
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=("pocket",))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--iterations", nargs="+", type=int, default=(2000,))
    parser.add_argument("--augmentations", nargs="+", choices=TRIED, default=TRIED)
    args = parser.parse_args()
    if args.show:
        show([run for path in sorted(args.results.glob("*.json")) for run in read(path).runs])
        return
    if not (args.data and args.runs):
        parser.error("--data and --runs are needed to run anything")
    if args.models is None and set(args.networks) & set(WEIGHTS):
        parser.error("--models is needed for every network but pocket")
    for iterations in args.iterations:
        for network in args.networks:
            for target in args.sets:
                for augmentation in args.augmentations:
                    run_once(args, network, target, augmentation, iterations)


def read(path: Path) -> AugmentedRuns:
    return AugmentedRuns.read(path) if path.exists() else AugmentedRuns()


def run_once(
    args: argparse.Namespace,
    network: str,
    target: str,
    augmentation: AugmentationName,
    iterations: int,
) -> None:
    path = args.results / f"{network}-{target}.json"
    wanted = (augmentation, iterations)
    settings = [run.hyperparameters for run in read(path).runs]
    if wanted in [(each.augmentation, each.iterations) for each in settings]:
        return
    flags = dict(NETWORKS[network])
    if network in WEIGHTS:
        flags["weights"] = args.models / WEIGHTS[network]
    summary = kintune.tune(
        args.data / target,
        **flags,
        augmentation=augmentation,
        iterations=iterations,
        runs=1,
        threads=1,
        device=args.device,
        output=args.runs / f"{network}-{target}-{augmentation}-{iterations}",
    )
    assert isinstance(summary, TrainingSummary)
    if summary.best is None:
        print(f"{network} {target} {augmentation} {iterations}: {summary.runs[0].reason}")
        return
    run = recorded(network, target, summary)
    write_json(path, AugmentedRuns(runs=(*read(path).runs, run)).to_json())
    print(
        f"{network} {target} {augmentation} {iterations}: validation {run.validation_error:.3f}, "
        f"test {run.test_error:.3f}, {run.seconds:.0f} s",
        flush=True,
    )


def recorded(network: str, target: str, summary: TrainingSummary) -> AugmentedRun:
    best, data, model = summary.best, summary.facts["data"], summary.facts["model"]
    assert best is not None
    assert best.validation_top1_error is not None
    assert best.test_top1_error is not None
    return AugmentedRun(
        network=network,
        target=target,
        images=data["counts"]["train"],
        validation_images=data["counts"]["val"],
        hyperparameters=best.hyperparameters,
        validation_error=best.validation_top1_error,
        test_error=best.test_top1_error,
        train_loss=best.train_loss,
        seconds=best.seconds,
        data_sha256=data["sha256"],
        weights_sha256=model["weights_sha256"],
        versions=summary.versions,
    )


def show(runs: Sequence[AugmentedRun]) -> None:
    rows: dict[tuple[str, int, str], dict[AugmentationName, AugmentedRun]] = {}
    for run in runs:
        steps = run.hyperparameters.iterations or 0
        row = rows.setdefault((run.network, steps, run.target), {})
        row[run.hyperparameters.augmentation] = run
    whole = {key: row for key, row in sorted(rows.items()) if set(row) >= set(TRIED)}
    print(
        f"| network | steps | set | epochs | {' | '.join(TRIED)} | lower validation error | kept |"
    )
    print("|---|---|---|---|" + "---|" * len(TRIED) + "---|---|")
    for (network, steps, target), row in whole.items():
        errors = " | ".join(f"{row[name].test_error:.1%}" for name in TRIED)
        epochs = row[TRIED[0]].hyperparameters.epochs
        print(
            f"| {network} | {steps} | {target} | {epochs} | {errors} "
            f"| {lowest_of(row)} | {kept_of(row)} |"
        )
    for network, steps in dict.fromkeys(key[:2] for key in whole):
        mine = [row for key, row in whole.items() if key[:2] == (network, steps)]
        always = ", ".join(f"{a} {mean(row[a].test_error for row in mine):.1%}" for a in TRIED)
        lowest = mean(row[lowest_of(row)].test_error for row in mine)
        careful = mean(row[kept_of(row)].test_error for row in mine)
        print(
            f"\n{network}, {steps} steps, mean test error of {len(mine)} sets: {always}; "
            f"the lower validation error {lowest:.1%}, {TRIED[0]} but where the other's is lower "
            f"by more than a standard error {careful:.1%}"
        )


Row = Mapping[AugmentationName, AugmentedRun]


def lowest_of(row: Row) -> AugmentationName:
    return min(TRIED, key=lambda name: row[name].validation_error)


def kept_of(row: Row) -> AugmentationName:
    """The first of those that are at most a standard error worse than the lowest."""
    least = row[lowest_of(row)]
    most = least.validation_error + standard_error(least.validation_error, least.validation_images)
    return next(name for name in TRIED if row[name].validation_error <= most)


if __name__ == "__main__":
    main()
