"""Runs one after another, in this process."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kintune.backbones import Backbone
from kintune.datasets import ImageDataset
from kintune.errors import KintuneError
from kintune.runs import RunConfig, RunResult, RunStore, result_without_errors, write_json
from kintune.training import fine_tune


@dataclass(frozen=True)
class LocalRunner:
    """Executes runs in order, each in its folder below `root`."""

    backbone: Backbone
    dataset: ImageDataset
    root: Path
    device: str = "cpu"

    def run(self, configs: Iterable[RunConfig]) -> Iterator[RunResult]:
        """The results in the order of the configurations; a finished run is not run again.

        Raises:
            KintuneError: what the person must mend before any run can succeed.
        """
        for config in configs:
            yield self._result(config)

    def _result(self, config: RunConfig) -> RunResult:
        folder, began = RunStore(self.root).folder(config), time.monotonic()
        try:
            return fine_tune(self.backbone, self.dataset, config, folder, device=self.device)
        except KintuneError:
            raise
        except Exception as error:  # noqa: BLE001 - one run must not end the search
            reason = f"{type(error).__name__}: {error}"
            failed = result_without_errors(config, "failed", reason, time.monotonic() - began)
            write_json(folder / "result.json", failed.to_json())
            return failed
