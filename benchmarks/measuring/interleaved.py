"""Several ways to do the same work, timed in turns, and what is written about them."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from kintune.training import versions

Rates = dict[str, list[float]]
"""Images a second of each way, one value a repeat."""


def interleaved(ways: Mapping[str, Callable[[], float]], repeats: int) -> Rates:
    """Call every way once to warm up and then in each repeat, beginning with another each time.

    Args:
        ways: each does its work and returns images a second.
        repeats: values of each way.
    """
    names = list(ways)
    rates: Rates = {name: [] for name in names}
    for repeat in range(-1, repeats):
        first = max(repeat, 0) % len(names)
        for name in names[first:] + names[:first]:
            rate = ways[name]()
            print(f"  {name}: {rate:.0f} images/s", file=sys.stderr, flush=True)
            if repeat >= 0:
                rates[name].append(rate)
    return rates


def images_per_second(work: Callable[[], int], device: str) -> float:
    """Rate of work that returns how many images it did, the device's queue included."""
    began = time.perf_counter()
    images = work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return images / (time.perf_counter() - began)


def spread(values: Sequence[float], digits: int) -> str:
    """Median, with the lowest and the highest value in brackets."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratio(rates: Rates, way: str, other: str) -> str:
    """Median and range over the repeats of one way's rate over another's in the same repeat."""
    return spread([a / b for a, b in zip(rates[way], rates[other], strict=True)], 2)


def conditions(device: str) -> dict[str, Any]:
    """Hardware and versions, as JSON values."""
    packages = {name: version(name) for name in ("torchvision", "pillow")}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": None if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load_average": os.getloadavg()[0],
        "versions": versions() | packages,
    }


def conditions_text(found: Mapping[str, Any]) -> str:
    """The same in a sentence for the documentation."""
    named = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    gpu = f", {found['gpu']}" if found["gpu"] else ""
    return (
        f"{found['processor']}{gpu}, {found['threads']} threads on {found['cores']} cores, "
        f"OMP_WAIT_POLICY={found['omp_wait_policy']}; {named}."
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _processor() -> str:
    """The model's name, and whether it computes bfloat16 by itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    bf16 = {"avx512_bf16", "amx_bf16"} & set(facts.get("flags", "").split())
    return f"{facts.get('model name', platform.machine())} ({'with' if bf16 else 'no'} bfloat16)"
