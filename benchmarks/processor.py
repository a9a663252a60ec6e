"""What makes a training step and a forward pass fast here: layout, precision, waiting, memory.

    python benchmarks/processor.py               7 repeats: about 15 minutes on two cores
    python benchmarks/processor.py --repeats 1   a trial

MobileNetV2 with random weights, 96 px, batches of 32:

- **layout and precision**: float32 in channels-last and in channels-first, bfloat16 by autocast;
- **waiting**: `OMP_WAIT_POLICY` unset and passive, each in a process of its own, alone and beside a
  process that keeps one core busy;
- **memory**: freed memory returned to the kernel, as the C library does, and kept, each in a
  process of its own, batches of 64.

Writes `results/benchmark_processor.json` and prints the tables of `docs/benchmarks.md`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `kintune` does; before torch is loaded

import torch

import measuring.step
from kintune.base.processor import keep_large_blocks
from measuring.interleaved import (
    Rates,
    conditions,
    conditions_text,
    interleaved,
    markdown,
    ratio,
    spread,
)
from measuring.step import WORKS, Step

RESULT = Path(__file__).parent.parent / "results/benchmark_processor.json"
POLICY = "OMP_WAIT_POLICY"
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    keep_large_blocks()  # as `kintune` does, and for all ways alike
    torch.set_num_threads(os.cpu_count() or 1)
    steps = {work: interleaved(step_ways(work), args.repeats) for work in WORKS}
    waits = {work: interleaved(waiting_ways(work), args.repeats) for work in WORKS}
    kept = {work: interleaved(memory_ways(work), args.repeats) for work in WORKS}
    found = conditions("cpu")
    print(tables(steps, waits, kept), conditions_text(found), sep="\n\n")
    measured = {"steps": steps, "waiting": waits, "memory": kept}
    result = {"command": " ".join(sys.argv), "conditions": found, **measured}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


Ways = Mapping[str, Callable[[], float]]


def step_ways(work: str) -> Ways:
    """Each layout in float32, and bfloat16."""
    plain = {name: partial(Step(layout).rate, work) for name, layout in LAYOUTS.items()}
    half = partial(Step(torch.channels_last).rate, work, bfloat16=True)
    return {**plain, "channels last, bfloat16": half}


def waiting_ways(work: str) -> Ways:
    """Each policy alone and beside a busy process."""

    def alone(policy: str) -> float:
        return _in_a_process(work, policy)

    def beside(policy: str) -> float:
        with _busy_core():
            return _in_a_process(work, policy)

    return {
        f"{policy or 'unset'}, {where.__name__}": partial(where, policy)
        for where in (alone, beside)
        for policy in ("", "passive")
    }


def memory_ways(work: str) -> Ways:
    """Freed memory kept and returned."""
    return {
        memory: partial(_in_a_process, work, "passive", 64, memory)
        for memory in ("kept", "returned")
    }


def _in_a_process(work: str, policy: str, images: int = 32, memory: str = "kept") -> float:
    others = {key: value for key, value in os.environ.items() if key != POLICY}
    environment = others | ({POLICY: policy} if policy else {})
    command = [sys.executable, measuring.step.__file__, work, str(images), memory]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


@contextmanager
def _busy_core() -> Iterator[None]:
    program = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def tables(
    steps: Mapping[str, Rates], waits: Mapping[str, Rates], kept: Mapping[str, Rates]
) -> str:
    """Images a second, and how each relates to what Kintune does."""
    ours = "channels last"
    layouts = [
        [work, name, spread(rates[name], 0), ratio(rates, name, ours)]
        for work, rates in steps.items()
        for name in rates
    ]
    policies = [
        [work, where, *(spread(rates[way], 0) for way in pair), ratio(rates, *pair)]
        for work, rates in waits.items()
        for where in ("alone", "beside")
        for pair in [(f"passive, {where}", f"unset, {where}")]
    ]
    memory = [
        [work, *(spread(rates[way], 0) for way in rates), ratio(rates, "kept", "returned")]
        for work, rates in kept.items()
    ]
    return "\n\n".join(
        [
            markdown(("work", "way", "images/s", f"over {ours}"), layouts),
            markdown(("work", "process", "passive", "unset", "passive over unset"), policies),
            markdown(("work", "kept", "returned", "kept over returned"), memory),
        ]
    )


if __name__ == "__main__":
    main()
