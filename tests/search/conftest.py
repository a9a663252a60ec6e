"""A search whose training is replaced: runs that take no time, in real run folders."""

import math
from dataclasses import dataclass, field

import pytest

from kintune.executors import never
from kintune.runs import RunConfig, RunResult, read_result, result_without_errors, write_json
from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.runs.inputs import InputSpec
from kintune.search import Budget, SearchPlan, SearchSpace, TrialStore

BASE = Hyperparameters.as_in_paper(lr=0.01, batch_size=8, epochs=2)
PRIOR = RateRange(low=0.02, best=0.1, high=0.5)
SPACE = SearchSpace(base=BASE, prior=PRIOR, validation_images=100)
TEMPLATE = RunConfig(
    model="pocket",
    weights_sha256="",
    input=InputSpec(image_size=8, mean=(0, 0, 0), std=(1, 1, 1)),
    data_sha256="",
    hyperparameters=BASE,
)


def finished(config: RunConfig, error: float, seconds: float = 1.0) -> RunResult:
    return RunResult(
        id=config.id,
        hyperparameters=config.hyperparameters,
        effective_lr=config.hyperparameters.effective_lr,
        status="complete",
        validation_top1_error=error,
        seed=config.seed,
        seconds=seconds,
    )


def u_shaped(config: RunConfig) -> RunResult:
    """A run whose error has its lowest value at 0.2."""
    away = math.log10(config.hyperparameters.effective_lr / 0.2)
    return finished(config, min(1.0, 0.1 + 0.1 * away**2 + 0.001 * config.seed))


@dataclass
class FakeRunner:
    """Runs nothing: `outcome` says how each run ends. Counts what it was asked to run."""

    root: object
    outcome: object = u_shaped
    asked: list = field(default_factory=list)

    def run(self, configs, stop_rules=never):
        for config in configs:
            if config is None:
                raise AssertionError("nothing is pending, so there is nothing to wait for")
            before = read_result(self.root / config.id)
            if before is None or before.status == "failed":
                self.asked.append(config)
                write_json(self.root / config.id / "result.json", self.outcome(config).to_json())
            yield read_result(self.root / config.id)


def failed(config: RunConfig) -> RunResult:
    return result_without_errors(config, "failed", "out of luck", 1.0)


@pytest.fixture
def runner(tmp_path):
    return FakeRunner(tmp_path / "runs")


@pytest.fixture
def make_plan(tmp_path):
    """A plan of four runs; keywords replace parts of it."""

    def make(*, space=SPACE, repeats=1, engine="bracket", template=TEMPLATE, **budget):
        return SearchPlan(
            store=TrialStore(
                root=tmp_path / "runs", space=space, template=template, repeats=repeats
            ),
            engine=engine,
            budget=Budget(**{"runs": 4, **budget}),
        )

    return make
