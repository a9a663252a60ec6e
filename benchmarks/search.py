"""How good is a handful of runs? Engines replayed on grids that were really run.

    python benchmarks/search.py grids --data DATA [--runs RUNS]
    python benchmarks/search.py priors --data DATA
    python benchmarks/search.py replay [FILE ...] [--seeds 20] [--engines bracket tpe ...]

`grids` trains `pocket` on 400 images of three sets (half of them for validation), 10 epochs, at 20
effective rates from 0.001 to 6.3 with 3 seeds each, and writes `results/search_grids/SET.json` with
what `recommend` says of the set when its own reference rows are left out. About 25 minutes on two
cores; finished runs in RUNS are not repeated. `priors` asks `recommend` again for the files that
are there, in seconds: after references or their model have changed.

`replay` asks each engine for rates and answers with one seed's error at the nearest rate of the
grid. After n runs the choice is that of `kintune search` (`kintune.search.select_rate`). Its regret
is read off a smoothed surface (all seeds pooled, a Gaussian process in log rate), never off the
minimum of noisy values: how far the choice lies above the surface's lowest point, in points of
error. The noise floor is the regret of who runs the whole grid with one seed and takes the lowest.
Prints the table of `docs/concepts/search.md` and writes `results/search_benchmark.json`.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from kintune.backbones import Backbone, load_backbone
from kintune.data import ImageDataset, load_dataset
from kintune.executors import LocalRunner
from kintune.recommend import Recommendation, TaskFacts, recommend, recommender
from kintune.recommend.model import RecipeReference
from kintune.recommend.references import load_recipe_references
from kintune.runs import RunConfig, write_json
from kintune.runs.defaults import EngineName
from kintune.runs.hyperparameters import Hyperparameters, RateRange, lr_for
from kintune.search import (
    ENGINES,
    History,
    Observation,
    Point,
    SearchSpace,
    select_rate,
    standard_error,
)
from kintune.similarity.task import Task, measure, probe
from kintune.training import start_of, versions

ROOT = Path(__file__).parent.parent
GRIDS = ROOT / "results/search_grids"
SETS = ("sign-digits", "fsdd-spectrograms", "clothing10")
IMAGES, VAL_FRACTION, EPOCHS, BATCH_SIZE = 400, 0.5, 10, 16
RATES = tuple(round(10 ** (-3 + 0.2 * step), 6) for step in range(20))
SETTINGS = Hyperparameters.as_in_paper(
    lr=RATES[0], batch_size=BATCH_SIZE, epochs=EPOCHS, augmentation="flip"
)
SEEDS = (0, 1, 2)
LEAST = 8
"""Rates that make a grid."""
AFTER = (1, 2, 4, 6, 8, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    grids = verbs.add_parser("grids")
    grids.add_argument("--data", type=Path, required=True)
    grids.add_argument("--runs", type=Path, default=Path("runs/search-grids"))
    grids.add_argument("--sets", nargs="+", default=SETS)
    grids.add_argument("--threads", type=int, default=os.cpu_count())
    verbs.add_parser("priors").add_argument("--data", type=Path, required=True)
    again = verbs.add_parser("replay")
    again.add_argument("files", type=Path, nargs="*")
    again.add_argument("--seeds", type=int, default=20)
    again.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    args = parser.parse_args()
    if args.verb == "grids":
        with tempfile.TemporaryDirectory() as scratch:
            for name in args.sets:
                run_grid(args.data.absolute() / name, args.runs / name, Path(scratch), args.threads)
    elif args.verb == "priors":
        with tempfile.TemporaryDirectory() as scratch:
            for path in sorted(GRIDS.glob("*.json")):
                ask_again(path, args.data.absolute(), Path(scratch))
    else:
        files = args.files or sorted(GRIDS.glob("*.json"))
        replay_all([s for path in files for s in read_grids(path)], args.engines, args.seeds)


# What was really run


def run_grid(folder: Path, runs: Path, scratch: Path, threads: int) -> None:
    backbone = load_backbone("pocket")
    dataset = load_dataset(subset(folder, scratch), backbone.input, val_fraction=VAL_FRACTION)
    template = RunConfig(**start_of(backbone, dataset), hyperparameters=SETTINGS)
    torch.set_num_threads(threads)
    configs = at_rates(template, RATES, SEEDS)
    results = []
    for result in LocalRunner(backbone, dataset, runs).run(configs):
        print(folder.name, result.effective_lr, result.validation_top1_error, flush=True)
        results.append(result.to_json())
    advice = recommended(backbone, dataset, folder.name)
    grid = {
        "set": folder.name,
        "network": "pocket",
        "command": "python benchmarks/search.py grids --data DATA",
        "training_images": len(dataset.splits["train"]),
        "validation_images": len(dataset.splits["val"]),
        "prior": advice.effective_lr.to_json(),
        "versions": versions(),
        "threads": threads,
        "runs": results,
    }
    write_json(GRIDS / f"{folder.name}.json", grid)


def at_rates(template: RunConfig, rates: Sequence[float], seeds: Sequence[int]) -> list[RunConfig]:
    """A configuration for each effective learning rate and seed, at the template's momentum."""
    usual = template.hyperparameters
    settings = [usual.replace(lr=lr_for(rate, usual.momentum)) for rate in rates]
    return [
        template.replace(hyperparameters=each, seed=seed) for seed in seeds for each in settings
    ]


def ask_again(path: Path, data: Path, scratch: Path) -> None:
    """Put what is recommended now into a file."""
    grid = json.loads(path.read_text())
    backbone = load_backbone("pocket")
    folder = subset(data / grid["set"], scratch)
    dataset = load_dataset(folder, backbone.input, val_fraction=VAL_FRACTION)
    advice = recommended(backbone, dataset, grid["set"])
    write_json(path, grid | {"prior": advice.effective_lr.to_json()})
    print(grid["set"], advice.effective_lr)


def subset(folder: Path, scratch: Path) -> Path:
    """Links to the first images of every class, `IMAGES` in all, evenly."""
    chosen = scratch / folder.name
    classes = sorted(path for path in (folder / "train").iterdir() if path.is_dir())
    for path in classes:
        for image in sorted(path.iterdir())[: IMAGES // len(classes)]:
            link = chosen / path.name / image.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(image)
    return chosen


def recommended(backbone: Backbone, dataset: ImageDataset, name: str) -> Recommendation:
    """What is recommended for a set by references among which it is not."""
    task = Task(backbone=backbone, dataset=dataset, device="cpu")
    facts = TaskFacts(
        images=len(dataset.splits["train"]),
        classes=len(dataset.classes),
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        weights_sha256=backbone.weights_sha256,
    )

    def others() -> tuple[RecipeReference, ...]:
        return tuple(
            each for each in load_recipe_references() if not each.task.target.startswith(name)
        )

    # The grids were run with the statistics of each batch.
    with patch.object(recommender, "load_recipe_references", others):
        return recommend(measure(task), facts, probe(task), SETTINGS, "batch")


# The replay


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A grid that was run, and what it says when the noise is smoothed away."""

    name: str
    log_rates: np.ndarray
    """(n,) log10 of the rates, ascending."""
    errors: tuple[tuple[float, ...], ...]
    """For each rate one a seed; 1 where a run has none."""
    smooth: np.ndarray
    """(n,)"""
    prior: RateRange | None
    validation_images: int

    def index(self, log_rate: float) -> int:
        """Index of the nearest rate of the grid."""
        return int(np.abs(self.log_rates - log_rate).argmin())

    def regret(self, index: int) -> float:
        """Points of error above the surface's lowest point."""
        return float(100 * (self.smooth[index] - self.smooth.min()))

    def drawn(self, generator: np.random.Generator) -> list[float]:
        """One seed's error at every rate."""
        return [errors[generator.integers(len(errors))] for errors in self.errors]


def read_grids(path: Path) -> list[Surface]:
    """The grids in a file: one of `grids`, or a record file of `kintune reproduce`, whose runs are
    told apart by all but rate and seed."""
    file: dict[str, Any] = json.loads(path.read_text())
    groups: dict[str, dict[float, list[float]]] = {}
    for run in file["runs"]:
        result = run.get("result", run)
        kept = {**result["hyperparameters"], "lr": None}
        error = result["validation_top1_error"]
        rate = float(f"{result['effective_lr']:.6g}")
        group = groups.setdefault(json.dumps(kept, sort_keys=True), {})
        group.setdefault(rate, []).append(1.0 if error is None else error)
    return [surface(path.stem, file, group) for group in groups.values() if len(group) >= LEAST]


def surface(name: str, file: dict[str, Any], errors: dict[float, list[float]]) -> Surface:
    """A grid with its smoothed errors."""
    log_rates = np.log10(np.array(sorted(errors)))
    values = tuple(tuple(errors[rate]) for rate in sorted(errors))
    images = file.get("validation_images") or file["counts"]["val"]
    return Surface(
        name=name,
        log_rates=log_rates,
        errors=values,
        smooth=smoothed(log_rates, values),
        prior=RateRange.model_validate(file["prior"]) if file.get("prior") else None,
        validation_images=images,
    )


def smoothed(log_rates: np.ndarray, errors: Sequence[Sequence[float]]) -> np.ndarray:
    """A Gaussian process through all seeds' errors at the log rates."""
    kernel = ConstantKernel(0.1, (1e-3, 10)) * Matern(0.6, (0.3, 2.0), nu=2.5) + WhiteKernel(
        1e-3, (1e-6, 1e-1)
    )
    pooled = np.repeat(log_rates, [len(each) for each in errors])[:, None]
    values = np.concatenate([np.array(each) for each in errors])
    fit = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=3, random_state=0)
    fit.fit(pooled, values)
    return np.asarray(fit.predict(log_rates[:, None]))


def replay(surface: Surface, engine: EngineName, *, aided: bool, seed: int) -> Iterator[float]:
    """The regret after each run."""
    generator = np.random.default_rng([seed, 7])
    errors = surface.drawn(generator)
    space = SearchSpace(
        base=Hyperparameters.as_in_paper(lr=0.01, batch_size=BATCH_SIZE, epochs=EPOCHS),
        prior=surface.prior if aided else None,
        validation_images=surface.validation_images,
    )
    history = History(seed=seed)
    for _ in range(max(AFTER)):
        proposal = ENGINES[engine].ask(space, history)
        assert proposal is not None
        point = proposal.point
        index = surface.index(point.log_rate)
        error = errors[index]
        history = history.told(Observation(point=point, error=error, is_lost=error == 1.0))
        kept = kept_point(history, space.prior and space.prior.best, space.validation_images)
        yield surface.regret(surface.index(kept.log_rate))


def kept_point(history: History, expected: float | None, images: int | None) -> Point:
    """Point that a search that ended here would select (`kintune.search.select_rate`)."""
    points = [each.point for each in history.finished]
    rates, errors = [p.effective_lr for p in points], [each.error for each in history.finished]
    return points[
        select_rate(rates, errors, expected, [standard_error(min(errors), images)] * len(rates))
    ]


def floor(surface: Surface) -> float:
    """Regret of running the whole grid with one seed and taking the lowest, over many draws."""
    generator = np.random.default_rng(0)
    draws = [np.array(surface.drawn(generator)) for _ in range(1000)]
    return fmean(surface.regret(int(draw.argmin())) for draw in draws)


def replay_all(surfaces: Sequence[Surface], engines: Sequence[EngineName], seeds: int) -> None:
    floors = {surface.name: floor(surface) for surface in surfaces}
    for surface in surfaces:
        lowest, rate = 100 * surface.smooth.min(), 10 ** surface.log_rates[surface.smooth.argmin()]
        least = floors[surface.name]
        print(f"{surface.name}: lowest {lowest:.1f} % near {rate:.3g}, noise floor {least:.2f}")
    print(f"\nregret in points, mean ± standard deviation: {seeds} seeds x {len(surfaces)} grids")
    print(f"noise floor {fmean(floors.values()):.2f}\n")
    print("| engine | recommendation | " + " | ".join(f"{n} runs" for n in AFTER) + " |")
    print("|---|---|" + "---|" * len(AFTER))
    rows = [
        measured(surfaces, engine, aided=aided, seeds=seeds)
        for aided in (True, False)
        for engine in engines
    ]
    found = {"noise_floor": floors, "seeds": seeds, "regret_points": rows, "versions": versions()}
    write_json(ROOT / "results/search_benchmark.json", found)


def measured(
    surfaces: Sequence[Surface], engine: EngineName, *, aided: bool, seeds: int
) -> dict[str, Any]:
    """One row of the table."""
    curves = [
        list(replay(surface, engine, aided=aided, seed=seed))
        for surface in surfaces
        if surface.prior is not None or not aided
        for seed in range(seeds)
    ]
    after = {str(n): [curve[n - 1] for curve in curves] for n in AFTER}
    cells = [f"{fmean(each):.2f} ± {stdev(each):.2f}" for each in after.values()]
    print(f"| {engine} | {'yes' if aided else 'no'} | {' | '.join(cells)} |", flush=True)
    return {
        "engine": engine,
        "recommendation": aided,
        "mean": {n: fmean(each) for n, each in after.items()},
        "standard_deviation": {n: stdev(each) for n, each in after.items()},
    }


if __name__ == "__main__":
    main()
