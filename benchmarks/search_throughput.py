"""Configurations an hour: `kintune search` beside the same runs as commands of their own.

    python benchmarks/search_throughput.py --data DATA [--models MODELS] [--repeats 3]

Fixed work, nothing stopped early, caches cold for both at the start: `pocket` on DATA/sign-digits,
8 rates x 15 epochs. The one way is `kintune search --workers 2`, whose workers load network and
images once and share the cores; the other starts `kintune finetune` once for each rate, which
imports, loads and opens the cache of decoded images anew each time and has all cores. With --models
also MobileNetV2 x 5 epochs, 4 rates. The ways take turns. Writes `results/search_throughput.json`
after each repeat, which takes about half an hour on two quiet cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kintune.runs import write_json
from measuring.interleaved import conditions, markdown, spread

ROOT = Path(__file__).parent.parent
Measured = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What both ways do."""

    name: str
    data: Path
    flags: tuple[str, ...]
    configurations: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--configurations", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()
    data = args.data / "sign-digits"
    pocket = ("--model", "pocket", "--epochs", str(args.epochs))
    works = [Work(f"pocket, {args.epochs} epochs", data, pocket, args.configurations)]
    if args.models:
        weights = str(args.models / "mobilenetv2_100.in1k.safetensors")
        flags = ("--model", "mobilenetv2_100", "--weights", weights, "--image-size", "96")
        works.append(Work("MobileNetV2, 5 epochs", data, (*flags, "--epochs", "5"), 4))
    measured: list[Measured] = [{"work": w.name, "search": [], "separate": []} for w in works]
    for repeat in range(args.repeats):
        for work, found in zip(works, measured, strict=True):
            take_turns(work, found, repeat)
        written = {"measured": measured, **conditions("cpu")}
        write_json(ROOT / "results/search_throughput.json", written)
    head = ("work", "kintune search, an hour", "a command each, an hour", "ratio")
    print(markdown(head, [row(each) for each in measured]))


def row(measured: Measured) -> list[str]:
    """Row of the table."""
    ratios = [a / b for a, b in zip(measured["search"], measured["separate"], strict=True)]
    cells = [spread(measured[way], 0) for way in ("search", "separate")]
    return [measured["work"], *cells, spread(ratios, 2)]


def take_turns(work: Work, found: Measured, repeat: int) -> None:
    """Add the configurations an hour of both ways, which change places from repeat to repeat."""
    # The first search says which rates a grid tries.
    for name in ("search", "separate") if repeat % 2 == 0 else ("separate", "search"):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.perf_counter()
            if name == "search":
                found["lrs"] = search(work, Path(scratch))
            else:
                separate(work, found["lrs"], Path(scratch))
            hours = (time.perf_counter() - began) / 3600
        found[name].append(work.configurations / hours)
        said = f"{work.name}, {name}: {found[name][-1]:.0f} an hour"
        print(said, file=sys.stderr, flush=True)


def search(work: Work, scratch: Path) -> list[float]:
    """One search over all rates; which they were."""
    flags = ("--engine", "grid", "--no-recommendation", "--no-early-stopping", "--workers", "2")
    return command("search", work, scratch, *flags, "--runs", str(work.configurations))


def separate(work: Work, lrs: Sequence[float], scratch: Path) -> None:
    """A command for each rate."""
    for number, lr in enumerate(lrs):
        command("finetune", work, scratch, "--lr", str(lr), output=f"out{number}")


def command(verb: str, work: Work, scratch: Path, *flags: str, output: str = "out") -> list[float]:
    """Run it in a process with a cache of decoded images of its own at the start."""
    words = [sys.executable, "-m", "kintune", verb, str(work.data), *work.flags, *flags, "--json"]
    done = subprocess.run(
        [*words, "--output", str(scratch / output)],
        env={**os.environ, "KINTUNE_CACHE": str(scratch / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout:
        raise SystemExit(done.stderr)
    runs = json.loads(done.stdout)["runs"]
    print(f"  {verb}: {[run['status'] for run in runs]}", file=sys.stderr, flush=True)
    return [run["hyperparameters"]["lr"] for run in runs]


if __name__ == "__main__":
    main()
