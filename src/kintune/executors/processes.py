"""Several runs at once on this machine, each in a worker process of its own."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kintune.base.progress import announce
from kintune.executors.source import TaskSource
from kintune.executors.stopping import StopRules, never
from kintune.executors.worker import Complaint, RunTask, WorkerSetup
from kintune.runs import RunConfig, RunResult, result_without_errors, write_json
from kintune.training.interruption import StopRequest, stop_requests

WORKER = (sys.executable, "-m", "kintune.executors.worker")
MAX_DEATHS = 3
"""A run whose process died so often has failed; before that it goes on from its checkpoint."""
PARTING_SECONDS = 60.0
"""A worker that was asked to stop has so long for its checkpoint."""
_TICK_SECONDS = 0.3


@dataclass
class _Worker:
    """One process and what it is doing."""

    index: int
    process: "subprocess.Popen[str]"
    run_task: RunTask | None = None

    def tell(self, line: str) -> None:
        # A worker that has died says so by the end of its answers.
        with suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Make sure that it has ended, and close what led to it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()


_Message = tuple[_Worker, str | None]


@dataclass(frozen=True, kw_only=True)
class ProcessRunner:
    """Executes up to `workers` runs at a time.

    The decoded images are shared: every worker maps the same cache. GPUs are dealt out in turn, and
    their memory is divided among the workers on one.
    """

    source: TaskSource
    root: Path
    workers: int
    devices: tuple[str, ...] = ("cpu",)
    threads: int | None = None
    """CPU threads of a run."""
    command: tuple[str, ...] = WORKER

    def run(
        self, configs: Iterable[RunConfig | None], stop_rules: StopRules = never
    ) -> Iterator[RunResult]:
        """See `kintune.executors.Runner`."""
        with stop_requests() as stop:
            pool = _WorkerPool(runner=self, stop_rules=stop_rules)
            try:
                yield from pool.results(iter(configs), stop)
            finally:
                pool.close()


@dataclass
class _WorkerPool:
    """The workers of one call of `run`."""

    runner: ProcessRunner
    stop_rules: StopRules
    idle: list[_Worker] = field(default_factory=list["_Worker"])
    busy: list[_Worker] = field(default_factory=list["_Worker"])
    deaths: Counter[str] = field(default_factory=Counter[str])
    messages: "queue.Queue[_Message]" = field(default_factory=queue.Queue["_Message"])

    def results(
        self, configs: Iterator[RunConfig | None], stop: StopRequest
    ) -> Iterator[RunResult]:
        is_exhausted = False
        while True:
            while not is_exhausted and len(self.busy) < self.runner.workers:
                try:
                    config = next(configs)
                except StopIteration:
                    is_exhausted = True
                    break
                if config is None:
                    break
                self.begin(config)
            if not self.busy:
                return
            result = self.next_result(stop)
            if result is None:
                return
            yield result

    def begin(self, config: RunConfig) -> None:
        """Give a run to a worker."""
        worker = self.idle.pop() if self.idle else self.start_worker()
        folder = self.runner.root / config.id
        worker.run_task = RunTask(config=config, folder=folder, stop_rule=self.stop_rules(config))
        worker.tell(json.dumps(worker.run_task.to_json()))
        self.busy.append(worker)

    def start_worker(self) -> _Worker:
        """Start a process; the lowest index that is free names its log and its device."""
        taken = {worker.index for worker in self.busy}
        index = next(i for i in range(self.runner.workers) if i not in taken)
        logs = self.runner.root.parent / "workers"
        logs.mkdir(parents=True, exist_ok=True)
        with open_log(logs / f"{index}.log") as log:
            # A session of its own: Ctrl-C reaches this process alone, which then asks the workers.
            process = subprocess.Popen(
                self.runner.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        worker = _Worker(index, process)
        threading.Thread(target=self.listen, args=(worker,), daemon=True).start()
        worker.tell(json.dumps(self.setup(index).to_json()))
        return worker

    def setup(self, index: int) -> WorkerSetup:
        devices = self.runner.devices
        a_device = -(-self.runner.workers // len(devices))
        return WorkerSetup(
            source=self.runner.source,
            device=devices[index % len(devices)],
            threads=self.runner.threads,
            memory_share=1 / a_device,
        )

    def listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self.messages.put((worker, line))
        self.messages.put((worker, None))

    def next_result(self, stop: StopRequest) -> RunResult | None:
        """Wait for a result; None when the person asked to stop."""
        while not stop.made:
            try:
                worker, line = self.messages.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue
            result = self.heard(worker, line)
            if result is not None:
                return result
        return None

    def heard(self, worker: _Worker, line: str | None) -> RunResult | None:
        if line is None:
            return self.reap(worker)
        answer = json.loads(line)
        if "ready" in answer:
            return None
        if "complaint" in answer:
            raise Complaint.model_validate(answer).raised()
        self.busy.remove(worker)
        self.idle.append(worker)
        worker.run_task = None
        return RunResult.model_validate(answer)

    def reap(self, worker: _Worker) -> RunResult | None:
        """A process ended by itself: its run goes on in another, a few times."""
        worker.close()
        if worker in self.idle:
            self.idle.remove(worker)
            return None
        if worker not in self.busy or worker.run_task is None:
            return None
        self.busy.remove(worker)
        config, code = worker.run_task.config, worker.process.wait()
        self.deaths[config.id] += 1
        announce(f"run {config.id}: its process ended ({_said(code)})")
        if self.deaths[config.id] < MAX_DEATHS:
            self.begin(config)
            return None
        reason = f"its process ended {MAX_DEATHS} times, at last {_said(code)}"
        result = result_without_errors(config, "failed", reason, 0.0)
        write_json(worker.run_task.folder / "result.json", result.to_json())
        return result

    def close(self) -> None:
        """Leave nothing running: busy workers may write a checkpoint first."""
        workers = [*self.idle, *self.busy]
        for worker in self.busy:
            worker.process.send_signal(signal.SIGTERM)
        for worker in self.busy:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(PARTING_SECONDS)
        for worker in workers:
            worker.close()


def open_log(path: Path) -> IO[bytes]:
    """A file to append to; a symbolic link in its place is refused, with an `OSError`."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def _said(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"{name}, mostly for want of memory" if name == "SIGKILL" else name
    return f"exit code {code}"
