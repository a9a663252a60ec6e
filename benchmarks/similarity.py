"""Time and memory of the similarity, beside what else solves the same problem.

    python benchmarks/similarity.py transport [--repeats 5]
    python benchmarks/similarity.py command --data FOLDER --model NAME [--weights FILE]
    python benchmarks/similarity.py table

`transport` solves random problems (isotropic Gaussian class means, 2048 features, random class
weights) exactly, each in a process of its own whose peak memory is told: costs and solver of
Kintune; at 1,000 x 200 also the padded square problem of the code that the paper builds on
(pyemd with backend="cpp", where pyemd is installed) and scipy's linear programming (HiGHS).
About five minutes.

`command` measures `kintune similarity FOLDER` on an empty feature cache, with the images decoded
before, beside the bare forward pass over the same decoded images; then the same command again;
in turns. FOLDER should hold about 2,000 images. For both the process's peak memory is told.

Results gather in results/similarity_benchmark.json; `table` prints them as Markdown.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kintune.base.processor import prepare_processor

RESULTS = Path(__file__).parent.parent / "results" / "similarity_benchmark.json"
DIMENSIONS = 2048
SIZES = ((1_000, 200), (5_089, 1_000), (21_841, 1_000))
PEERS_AT = (1_000, 200)
MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["transport", "command", "table", "case"])
    parser.add_argument("--data")
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=21_841, help="classes of the largest source")
    parser.add_argument("--case", help="one measurement, in this process")
    args = parser.parse_args()
    if args.what == "case":
        prepare_processor()
        print(json.dumps(CASES[args.case.partition(":")[0]](args)))
    elif args.what == "transport":
        _record("transport", _transport(args))
    elif args.what == "command":
        _record("command", _command(args))
    else:
        print(table(json.loads(RESULTS.read_text())))


def _transport(args: argparse.Namespace) -> list[dict[str, Any]]:
    solvers = [("kintune", size) for size in SIZES if size[0] <= args.largest]
    solvers += [("pyemd", PEERS_AT), ("scipy", PEERS_AT)]
    rows = []
    for solver, (s, t) in solvers:
        row = _in_own_process(f"{solver}:{s}x{t}", args)
        print(row, flush=True)
        rows.append({"solver": solver, "source": s, "target": t, **row})
    return rows


def _command(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        os.environ["KINTUNE_CACHE"] = cache
        _in_own_process("decode", args)  # the image cache is warm for all that follows
        turns = [_turn(cache, args) for _ in range(args.repeats)]
    share = [turn["forward"]["seconds"] / turn["first"]["seconds"] for turn in turns]
    middle = sorted(turns, key=lambda turn: turn["first"]["seconds"])[len(turns) // 2]
    return {
        "data": Path(args.data).name,
        "model": args.model,
        "turns": turns,
        **middle,
        "share_of_forward_pass": [round(value, 3) for value in sorted(share)],
    }


def _turn(cache: str, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The bare pass, the command without features, the command with them."""
    shutil.rmtree(Path(cache) / "features", ignore_errors=True)
    return {name: _in_own_process(name, args) for name in ("forward", "first", "again")}


def _in_own_process(case: str, args: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, __file__, "case", "--case", case, "--repeats", str(args.repeats)]
    for name in ("data", "model", "weights", "image_size"):
        if getattr(args, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    ran = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        return {"missing": f"exit code {ran.returncode}"}
    return json.loads(ran.stdout.splitlines()[-1])


def _problem(case: str) -> tuple[np.ndarray, ...]:
    s, t = (int(size) for size in case.partition(":")[2].split("x"))
    rng = np.random.Generator(np.random.Philox(key=0))
    source, target = (rng.standard_normal((n, DIMENSIONS), np.float32) for n in (s, t))
    return source, target, rng.dirichlet(np.ones(s)), rng.dirichlet(np.ones(t))


def _timed(work: Callable[[], float], repeats: int) -> dict[str, Any]:
    """Seconds and peak memory of some repeats, and the value, which must be the same each time."""
    before = _peak()
    seconds, values = [], set()
    for _ in range(repeats):
        start = time.perf_counter()
        values.add(work())
        seconds.append(time.perf_counter() - start)
    assert len(values) == 1, values
    return {
        "seconds": round(statistics.median(seconds), 4),
        "slowest": round(max(seconds), 4),
        "repeats": repeats,
        "value": values.pop(),
        "peak_mib": _peak(),
        "peak_mib_before": before,
    }


def _peak() -> int:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MEBIBYTE


def kintune_case(args: argparse.Namespace) -> dict[str, Any]:
    from kintune.similarity import euclidean_costs, optimal_transport

    source, target, a, b = _problem(args.case)
    repeats = args.repeats if len(source) * len(target) < 10**7 else 1
    return _timed(lambda: optimal_transport(a, b, euclidean_costs(source, target)).cost, repeats)


def pyemd_case(args: argparse.Namespace) -> dict[str, Any]:
    from pyemd import emd  # pyright: ignore[reportMissingImports]

    from kintune.similarity import euclidean_costs

    source, target, a, b = _problem(args.case)
    s, t = len(source), len(target)

    def solve() -> float:
        # One square matrix over both domains, and weights that are zero in the other one.
        square = np.zeros((s + t, s + t))
        square[:s, s:] = euclidean_costs(source, target)
        square[s:, :s] = square[:s, s:].T
        first, second = np.zeros(s + t), np.zeros(s + t)
        first[:s], second[s:] = a, b
        return emd(first, second, square, backend="cpp")

    return _timed(solve, 1)


def scipy_case(args: argparse.Namespace) -> dict[str, Any]:
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    from kintune.similarity import euclidean_costs

    source, target, a, b = _problem(args.case)
    s, t = len(source), len(target)

    def solve() -> float:
        rows = kron(eye_array(s), np.ones((1, t)))
        columns = kron(np.ones((1, s)), eye_array(t))
        cost = euclidean_costs(source, target)
        solved = linprog(
            cost.ravel(),
            A_eq=vstack([rows, columns]).tocsr(),
            b_eq=np.concatenate([a, b]),
            method="highs",
        )
        return float(solved.fun)

    return _timed(solve, 1)


def _measured(args: argparse.Namespace) -> float:
    from kintune.options import SimilarityOptions
    from kintune.similarity.candidates import measure_candidates

    flags = {"weights": args.weights} if args.weights else {}
    options = SimilarityOptions(
        data=args.data, model=args.model, image_size=args.image_size, **flags
    )
    measured = measure_candidates(options)
    return measured.relative_distance  # pyright: ignore[reportAttributeAccessIssue]


def _loaded(args: argparse.Namespace) -> tuple[Any, Any]:
    from kintune.backbones import BackboneOverrides, load_backbone
    from kintune.data import load_unsplit

    backbone = load_backbone(
        args.model,
        weights=args.weights,
        overrides=BackboneOverrides(image_size=args.image_size),
    )
    return backbone, load_unsplit(args.data, backbone.input)


def decode_case(args: argparse.Namespace) -> dict[str, Any]:
    return {"images": len(_loaded(args)[1].splits["train"])}


def forward_case(args: argparse.Namespace) -> dict[str, Any]:
    """The network over center crops that lie in memory as it wants them: nothing else is timed."""
    import torch

    from kintune.backbones import normalized
    from kintune.data.transforms import center_crops
    from kintune.similarity.features import images_at_once

    backbone, dataset = _loaded(args)
    network = backbone.network.eval().to(memory_format=torch.channels_last)
    indices = dataset.splits["train"]
    count = images_at_once("cpu", backbone.input.image_size)
    batches = [
        normalized(
            center_crops(dataset.images, indices[start : start + count], size), backbone.input
        )
        for size in [backbone.input.image_size]
        for start in range(0, len(indices), count)
    ]

    def forward() -> float:
        with torch.inference_mode():
            return float(sum(network(batch).sum() for batch in batches))

    return _timed(forward, 1) | {"images": len(indices)}


def command_case(args: argparse.Namespace) -> dict[str, Any]:
    """`kintune similarity`, without the imports, which are made before."""
    import timm  # noqa: F401
    import torch  # noqa: F401

    import kintune.similarity.candidates  # noqa: F401

    return _timed(lambda: _measured(args), 1)


CASES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "kintune": kintune_case,
    "pyemd": pyemd_case,
    "scipy": scipy_case,
    "decode": decode_case,
    "forward": forward_case,
    "first": command_case,
    "again": command_case,
}


def _record(what: str, found: Any) -> None:
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    held[what] = found
    held["machine"] = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(held, indent=1) + "\n")
    print(table(held))


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")


def table(results: dict[str, Any]) -> str:
    """All that was measured, as Markdown."""
    machine = results["machine"]
    lines = [f"{machine['cores']} cores of {machine['cpu']}, numpy {machine['numpy']}.", ""]
    if "transport" in results:
        lines += [
            "| solver | source x target | seconds | peak memory | value |",
            "|---|---|---|---|---|",
        ]
        for row in results["transport"]:
            size = f"{row['source']:,} x {row['target']:,}"
            if "missing" in row:
                lines.append(f"| {row['solver']} | {size} | not measured | | |")
                continue
            lines.append(
                f"| {row['solver']} | {size} | {row['seconds']:.3g} | {row['peak_mib']:,} MiB | "
                f"{row['value']:.9f} |"
            )
    if "command" in results:
        lines += ["", _command_text(results["command"])]
    return "\n".join(lines)


def _command_text(command: dict[str, Any]) -> str:
    forward, first, again = (command[name] for name in ("forward", "first", "again"))
    share = command["share_of_forward_pass"]
    return (
        f"`kintune similarity` with {command['model']} on {forward['images']:,} images: bare "
        f"forward pass {forward['seconds']:.1f} s, whole command {first['seconds']:.1f} s "
        f"(the forward pass is {statistics.median(share):.2f} of it, {share[0]:.2f} to "
        f"{share[-1]:.2f} in {len(share)} turns), again "
        f"{again['seconds']:.2f} s; peak memory {first['peak_mib']:,} MiB, of which imports "
        f"{first['peak_mib_before']:,} MiB."
    )


if __name__ == "__main__":
    main()
