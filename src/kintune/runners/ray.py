"""Runs as tasks of a Ray cluster, in run folders on a path that all its machines share.

Ray starts nothing again by itself (`max_retries=0`), for a retry would be invisible to the search:
a run whose worker or machine was lost is handed out anew here, under a new lease, and goes on from
its checkpoint wherever there is room.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from kintune.errors import KintuneError, OptionError
from kintune.processor import prepare_processor
from kintune.progress import announce
from kintune.runners.lease import give_lease, under_lease
from kintune.runners.source import TaskSource
from kintune.runners.stopping import StopRules, never
from kintune.runners.worker import Assignment, Carry, Complaint, Order, prepared
from kintune.runs import RunConfig, RunResult, result_without_errors, write_json
from kintune.training.interruption import StopRequest, stop_requests

MOST_LOSSES = 5
"""A run whose worker was lost so often has failed."""
PARTING_SECONDS = 30.0
_TICK_SECONDS = 0.3
Prepare = Callable[[Assignment], Carry]


@dataclass(frozen=True, kw_only=True)
class RayRunner:
    """Executes up to `workers` runs at a time on a cluster.

    A run takes the cores of its configuration's threads, and `gpu_share` of a GPU on `cuda`.
    """

    source: TaskSource
    root: Path
    workers: int
    address: str | None = None
    """Of the cluster; None starts one on this machine."""
    device: str = "cpu"
    gpu_share: float = 1.0
    prepare: Prepare = prepared
    """Makes what carries runs out, once a worker."""

    def run(
        self, configs: Iterable[RunConfig | None], stop_rules: StopRules = never
    ) -> Iterator[RunResult]:
        """See `kintune.runners.Runner`.

        Raises:
            OptionError: Ray is not installed, or the cluster cannot be reached.
        """
        with connected(self.address) as ray, stop_requests() as stop:
            crowd = _Crowd(runner=self, ray=ray, stop_rules=stop_rules)
            try:
                yield from crowd.results(iter(configs), stop)
            finally:
                crowd.dismiss()


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; disconnected again where it was not before.

    Raises:
        OptionError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise OptionError(
            "--runner ray: Ray is not installed. pip install 'kintune[ray]'."
        ) from None
    is_mine = not ray.is_initialized()
    if is_mine:
        local: dict[str, Any] = {"include_dashboard": False} if address is None else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise OptionError(
                f"--ray-address {address}: no cluster is reached there ({error}). Start one with "
                "`ray start --head`, or leave the flag away for one on this machine."
            ) from None
    try:
        yield ray
    finally:
        if is_mine:
            ray.shutdown()


@dataclass
class _Task:
    """A run that was handed out."""

    order: Order
    future: Any


@dataclass
class _Crowd:
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
        order = Order(config=config, folder=folder, stop_rule=self.stop_rules(config))
        gpus = self.runner.gpu_share if self.runner.device.startswith("cuda") else 0
        options = {"num_cpus": config.threads, "num_gpus": gpus, "max_retries": 0}
        assignment = Assignment(source=self.runner.source, device=self.runner.device)
        future = (
            self.ray.remote(_work)
            .options(**options)
            .remote(
                self.runner.prepare,
                assignment.model_dump_json(),
                order.model_dump_json(),
                give_lease(folder),
            )
        )
        self.tasks.append(_Task(order, future))

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
            return self.failure(task.order, f"{type(error.cause).__name__}: {error.cause}")
        except self.ray.exceptions.RayError as error:
            return self.lost(task.order, type(error).__name__)
        if "complaint" in answer:
            raise Complaint.model_validate(answer).raised()
        return RunResult.model_validate(answer)

    def lost(self, order: Order, how: str) -> RunResult | None:
        """A worker or its machine is gone: its run goes on elsewhere, a few times."""
        self.losses[order.config.id] += 1
        announce(f"run {order.config.id}: its worker was lost ({how})")
        if self.losses[order.config.id] < MOST_LOSSES:
            self.hand_out(order.config)
            return None
        return self.failure(order, f"its worker was lost {MOST_LOSSES} times, at last: {how}")

    def failure(self, order: Order, reason: str) -> RunResult:
        result = result_without_errors(order.config, "failed", reason, 0.0)
        write_json(order.folder / "result.json", result.to_json())
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
            give_lease(task.order.folder)
            with suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.cancel(task.future, force=True)


_END: Any = object()


def _work(prepare: Prepare, assignment: str, order: str, token: str) -> dict[str, Any]:
    """A task: one run, in a worker that keeps network and images for the next."""
    told = Order.model_validate_json(order)
    try:
        with under_lease(told.folder, token):
            return _carry(prepare, assignment)(told).to_json()
    except KintuneError as error:
        return Complaint(complaint=str(error), kind=type(error).__name__).to_json()


@lru_cache(maxsize=1)
def _carry(prepare: Prepare, assignment: str) -> Carry:
    prepare_processor()
    return prepare(Assignment.model_validate_json(assignment))
