"""A process that trains what it is told: one JSON object a line on stdin, one back on stdout.

    <- WorkerSetup                       once
    -> {"ready": true}
    <- RunTask                            any number of times
    -> RunResult, or {"complaint": ..., "kind": ...} for what a person must fix

It ends when its stdin ends, at once and in the middle of a step: so it never outlives whoever
started it. What it prints goes to stderr.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from kintune.base import errors
from kintune.base.errors import KintuneError
from kintune.base.processor import prepare_processor
from kintune.base.records import Record
from kintune.executors.folders import wait_until_free
from kintune.executors.local import run_guarded
from kintune.executors.source import TaskSource
from kintune.executors.stopping import StopRule
from kintune.runs import RunConfig, RunResult


class WorkerSetup(Record):
    """Network, images and resources of a worker."""

    source: TaskSource
    device: str = "cpu"
    threads: int | None = None
    """CPU threads of a run; None leaves torch's number."""
    memory_share: float = 1.0
    """Share of the memory of a GPU."""


class RunTask(Record):
    """One run."""

    config: RunConfig
    folder: Path
    stop_rule: StopRule | None = None


class Complaint(Record):
    """A `KintuneError`, to be raised again on the other side."""

    complaint: str
    kind: str

    def raised(self) -> KintuneError:
        """The error."""
        found = getattr(errors, self.kind, KintuneError)
        return found(self.complaint)


Carry = Callable[[RunTask], RunResult]


def main(prepare: Callable[[WorkerSetup], Carry] | None = None) -> None:
    """Work until stdin ends."""
    prepare_processor()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines = _lines_until_abandoned(sys.stdin)
    try:
        carry_out = (prepare or prepared)(WorkerSetup.model_validate_json(lines.get()))
        _say(answers, {"ready": True})
        while True:
            _say(answers, carry_out(RunTask.model_validate_json(lines.get())).to_json())
    except KintuneError as error:
        complaint = Complaint(complaint=str(error), kind=type(error).__name__)
        _say(answers, complaint.to_json())
        raise SystemExit(1) from None


def prepared(setup: WorkerSetup) -> Carry:
    """Load the network and the images once, for every run of this worker."""
    device = setup.device
    _share_memory(device, setup.memory_share)
    _share_cores(setup.threads)
    backbone = setup.source.load_backbone()
    dataset = setup.source.load_dataset(backbone)

    def carry_out(run_task: RunTask) -> RunResult:
        wait_until_free(run_task.folder)
        return run_guarded(
            backbone,
            dataset,
            run_task.config,
            run_task.folder,
            device=device,
            watch=run_task.stop_rule,
        )

    return carry_out


def _share_memory(device: str, share: float) -> None:
    if device.startswith("cuda") and share < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(share, torch.device(device))


def _share_cores(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _lines_until_abandoned(stream: IO[str]) -> "queue.Queue[str]":
    """The lines of stdin as they come; its end is the end of this process."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _say(stream: IO[str], value: dict[str, Any]) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
