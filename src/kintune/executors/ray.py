"""Runs as tasks of a Ray cluster, in run folders on a path that all its machines share.

Ray starts nothing again by itself (`max_retries=0`), for a retry would be invisible to the search:
a run whose worker or machine was lost is handed out anew here, under a new lease, and goes on from
its checkpoint wherever there is room.
"""

import ipaddress
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from kintune.base.errors import KintuneError, OptionError
from kintune.base.processor import prepare_processor
from kintune.base.progress import announce
from kintune.executors.lease import give_lease, under_lease
from kintune.executors.source import TaskSource
from kintune.executors.stopping import StopRules, never
from kintune.executors.worker import Carry, Complaint, RunTask, WorkerSetup, prepared
from kintune.runs import RunConfig, RunResult, result_without_errors, write_json
from kintune.training.interruption import StopRequest, stop_requests

MAX_LOSSES = 5
"""A run whose worker was lost so often has failed."""
PARTING_SECONDS = 30.0
ANSWER_SECONDS = 15.0
"""A cluster that is named has so long for its first answer."""
LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is 0, all processes of a cluster that Ray starts listen on 127.0.0.1, on Linux too: they
run whatever they are sent. An address of 127.0.0.1 given to `ray.init` is replaced by that of the
machine, and the processes listen on all interfaces."""
_SETTINGS_FRAME = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_TICK_SECONDS = 0.3
Prepare = Callable[[WorkerSetup], Carry]


@dataclass(frozen=True, kw_only=True)
class RayRunner:
    """Executes up to `workers` runs at a time on a cluster.

    A run takes as many cores as threads, and `gpu_share` of a GPU on `cuda`.
    """

    source: TaskSource
    root: Path
    workers: int
    address: str | None = None
    """Address of the cluster; None takes RAY_ADDRESS, else starts one on this machine."""
    device: str = "cpu"
    threads: int = 1
    """CPU threads of a run."""
    gpu_share: float = 1.0
    prepare: Prepare = prepared
    """Makes what carries runs out, once a worker."""

    def run(
        self, configs: Iterable[RunConfig | None], stop_rules: StopRules = never
    ) -> Iterator[RunResult]:
        """See `kintune.executors.Runner`.

        Raises:
            OptionError: Ray is not installed, or the cluster cannot be reached.
        """
        with connected(self.address) as ray, stop_requests() as stop:
            cluster = _Cluster(runner=self, ray=ray, stop_rules=stop_rules)
            try:
                yield from cluster.results(iter(configs), stop)
            finally:
                cluster.dismiss()


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; disconnected again where it was not before.

    Args:
        address: of a running cluster: `auto`, HOST:PORT or ray://HOST:PORT. None takes the one that
            RAY_ADDRESS names; where that is not set, a cluster is started on this machine that
            listens on its loopback interface alone.

    Raises:
        OptionError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    named = os.environ.get("RAY_ADDRESS") if address in (None, "auto") else None
    where = named or address or "local"
    said = f"RAY_ADDRESS={named}" if named else f"--ray-address {address}"
    if where != "local":
        _require_answer(where, said)
    else:
        os.environ[LOOPBACK_SWITCH] = "0"
    try:
        import ray
    except ImportError:
        raise OptionError(
            "--runner ray: Ray is not installed. pip install 'kintune[ray]'."
        ) from None
    is_mine = not ray.is_initialized()
    if is_mine:
        _connect(ray, where, said)
    try:
        yield ray
    finally:
        if is_mine:
            ray.shutdown()


def _connect(ray: Any, where: str, said: str) -> None:
    """Connect to a cluster, or start one on this machine where it is `local`."""
    if where != "local":
        announce(f"Runs go to the Ray cluster of {said}.")
    local: dict[str, Any] = {"include_dashboard": False} if where == "local" else {}
    try:
        ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # noqa: BLE001 - where a node starts too late Ray raises the bare class
        reason = " ".join(str(error).split())
        if where == "local":
            raise OptionError(
                f"--runner ray: Ray did not start on this machine ({reason}). Start a cluster "
                "with `ray start --head` and name it with --ray-address, or omit --runner ray."
            ) from None
        raise OptionError(_unreachable(said, reason)) from None
    here = ray.util.get_node_ip_address()
    if where == "local" and not ipaddress.ip_address(here).is_loopback:
        ray.shutdown()
        raise OptionError(
            f"--runner ray: Ray would listen on {here}, because it was imported before this "
            f"search. Set {LOOPBACK_SWITCH}=0 before importing it, or start a cluster and "
            "name it with --ray-address."
        )


def _require_answer(address: str, said: str) -> None:
    """Make sure that a gRPC server answers, because Ray itself waits for one for ever.

    Its first frame must be SETTINGS (RFC 9113, section 3.4). Nothing is asked over TLS, nor where
    Ray finds the address itself (`auto`).

    Raises:
        OptionError: nothing answers in time, or the address has no port.
    """
    if address == "auto" or os.environ.get("RAY_USE_TLS", "0").lower() not in ("", "0", "false"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise OptionError(f"{said}: must be auto, HOST:PORT or ray://HOST:PORT.")
    answer = b""
    try:
        place = (host.strip("[]"), int(port))
        with socket.create_connection(place, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS_FRAME)
            while len(answer) < len(_SETTINGS_FRAME) and (part := connection.recv(64)):
                answer += part
    except OSError as error:
        raise OptionError(_unreachable(said, error.strerror or str(error))) from None
    if answer[3:4] != _SETTINGS_FRAME[3:4]:
        raise OptionError(_unreachable(said, "what listens there is no Ray cluster"))


def _unreachable(said: str, reason: str) -> str:
    return (
        f"{said}: no Ray cluster answers there ({reason}). Start one with `ray start --head`, name "
        "another with --ray-address, or omit --ray-address and unset RAY_ADDRESS for a cluster on "
        "this machine."
    )


@dataclass
class _Task:
    """A run that was handed out."""

    run_task: RunTask
    future: Any


@dataclass
class _Cluster:
    """The tasks of one call of `run`."""

    runner: RayRunner
    ray: Any
    stop_rules: StopRules
    tasks: list[_Task] = field(default_factory=list[_Task])
    losses: Counter[str] = field(default_factory=Counter[str])

    def results(
        self, configs: Iterator[RunConfig | None], stop: StopRequest
    ) -> Iterator[RunResult]:
        is_exhausted = False
        while not stop.made:
            while not is_exhausted and len(self.tasks) < self.runner.workers:
                config = next(configs, _END)
                if config is _END:
                    is_exhausted = True
                elif isinstance(config, RunConfig):
                    self.hand_out(config)
                else:
                    break
            if not self.tasks:
                return
            for task in self.ended():
                result = self.result(task)
                if result is not None:
                    yield result

    def hand_out(self, config: RunConfig) -> None:
        """Give a run to the cluster, under a new lease."""
        folder = self.runner.root / config.id
        run_task = RunTask(config=config, folder=folder, stop_rule=self.stop_rules(config))
        gpus = self.runner.gpu_share if self.runner.device.startswith("cuda") else 0
        options = {"num_cpus": self.runner.threads, "num_gpus": gpus, "max_retries": 0}
        setup = WorkerSetup(
            source=self.runner.source, device=self.runner.device, threads=self.runner.threads
        )
        future = (
            self.ray.remote(_work)
            .options(**options)
            .remote(
                self.runner.prepare,
                setup.model_dump_json(),
                run_task.model_dump_json(),
                give_lease(folder),
            )
        )
        self.tasks.append(_Task(run_task, future))

    def ended(self) -> list[_Task]:
        """Tasks that have ended, after a moment."""
        futures = [task.future for task in self.tasks]
        ready, _ = self.ray.wait(futures, num_returns=1, timeout=_TICK_SECONDS)
        return [task for task in self.tasks if task.future in ready]

    def result(self, task: _Task) -> RunResult | None:
        """The result of a task that has ended; None where its run was handed out again."""
        self.tasks.remove(task)
        try:
            answer = self.ray.get(task.future)
        except self.ray.exceptions.RayTaskError as error:
            return self.failure(task.run_task, f"{type(error.cause).__name__}: {error.cause}")
        except self.ray.exceptions.RayError as error:
            return self.lost(task.run_task, type(error).__name__)
        if "complaint" in answer:
            raise Complaint.model_validate(answer).raised()
        return RunResult.model_validate(answer)

    def lost(self, run_task: RunTask, how: str) -> RunResult | None:
        """A worker or its machine is gone: its run goes on elsewhere, a few times."""
        self.losses[run_task.config.id] += 1
        announce(f"run {run_task.config.id}: its worker was lost ({how})")
        if self.losses[run_task.config.id] < MAX_LOSSES:
            self.hand_out(run_task.config)
            return None
        return self.failure(run_task, f"its worker was lost {MAX_LOSSES} times, at last: {how}")

    def failure(self, run_task: RunTask, reason: str) -> RunResult:
        result = result_without_errors(run_task.config, "failed", reason, 0.0)
        write_json(run_task.folder / "result.json", result.to_json())
        return result

    def dismiss(self) -> None:
        """Leave nothing running: what runs may write a checkpoint first."""
        if not self.tasks:
            return
        futures = [task.future for task in self.tasks]
        for future in futures:
            self.ray.cancel(future, force=False)
        self.ray.wait(futures, num_returns=len(futures), timeout=PARTING_SECONDS)
        for task in self.tasks:
            # Whoever did not hear is ended by the loss of its lease.
            give_lease(task.run_task.folder)
            with suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.cancel(task.future, force=True)


_END: Any = object()


def _work(prepare: Prepare, setup: str, run_task: str, token: str) -> dict[str, Any]:
    """A task: one run, in a worker that keeps network and images for the next."""
    told = RunTask.model_validate_json(run_task)
    try:
        with under_lease(told.folder, token):
            return _carry(prepare, setup)(told).to_json()
    except KintuneError as error:
        return Complaint(complaint=str(error), kind=type(error).__name__).to_json()


@lru_cache(maxsize=1)
def _carry(prepare: Prepare, setup: str) -> Carry:
    prepare_processor()
    return prepare(WorkerSetup.model_validate_json(setup))
