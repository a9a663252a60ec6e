"""Runs one after another, in this process."""

import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kintune.backbones import Backbone
from kintune.base.errors import KintuneError
from kintune.base.files import write_atomically
from kintune.data import ImageDataset
from kintune.executors.stopping import StopRules, never
from kintune.runs import RunConfig, RunResult, RunStore, result_without_errors, write_json
from kintune.training import Watch, fine_tune, replicas

TRACEBACK = "traceback.txt"


@dataclass(frozen=True)
class LocalRunner:
    """Executes runs in order, each in its folder below `root`."""

    backbone: Backbone
    dataset: ImageDataset
    root: Path
    device: str = "cpu"

    def run(
        self, configs: Iterable[RunConfig | None], stop_rules: StopRules = never
    ) -> Iterator[RunResult]:
        """See `Runner.run`; the results come in the order of the configurations."""
        store = RunStore(self.root)
        for config in configs:
            if config is not None:
                folder = store.folder(config)
                yield run_guarded(
                    self.backbone,
                    self.dataset,
                    config,
                    folder,
                    device=self.device,
                    watch=stop_rules(config),
                )


def run_guarded(
    backbone: Backbone,
    dataset: ImageDataset,
    config: RunConfig,
    folder: Path,
    *,
    device: str = "cpu",
    watch: Watch | None = None,
) -> RunResult:
    """`fine_tune`, whose unexpected failure is a result with its reason.

    The failure's traceback is kept in the folder, as `traceback.txt`, until the run succeeds.

    Raises:
        KintuneError: what the person must fix before the run can succeed.
        Exception: whatever it is, on one of several replicas, so that all of them end.
    """
    began = time.monotonic()
    try:
        result = fine_tune(backbone, dataset, config, folder, device=device, watch=watch)
    except KintuneError:
        raise
    except Exception as error:
        if replicas().count > 1:
            raise  # else the others would wait for this one; torchrun ends them all
        reason = f"{type(error).__name__}: {error}"
        result = result_without_errors(config, "failed", reason, time.monotonic() - began)
        write_atomically(folder / TRACEBACK, traceback.format_exc().encode())
        write_json(folder / "result.json", result.to_json())
    else:
        (folder / TRACEBACK).unlink(missing_ok=True)
    return result
