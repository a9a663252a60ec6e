"""Runs on a real Ray cluster of several nodes on this machine."""

import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from kintune.base.files import write_atomically
from kintune.executors import TaskSource
from kintune.runs import RunConfig, RunResult, read_result, write_json
from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.runs.inputs import InputSpec
from kintune.search import Budget, SearchPlan, SearchSpace, TrialStore, search
from kintune.testing import RunnerSuite

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Ray's own sockets and processes, which it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ray = pytest.importorskip("ray", reason="Ray is not installed")

SPEC = InputSpec(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))
BASE = Hyperparameters.as_in_paper(lr=0.01, batch_size=1, epochs=6)
TEMPLATE = RunConfig(
    model="pocket", weights_sha256="", input=SPEC, data_sha256="", hyperparameters=BASE
)
EPOCH_SECONDS = 0.4


def prepare(_setup):
    """Training that trains nothing, and keeps a ledger of its epochs and of where they ran."""

    def carry_out(run_task) -> RunResult:
        folder = run_task.folder
        before = read_result(folder)
        if before is not None:
            return before
        checkpoint = folder / "checkpoint"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        node = os.environ.get("RAY_NODE_ID") or ray.get_runtime_context().get_node_id()
        for epoch in range(done, run_task.config.hyperparameters.epochs):
            time.sleep(EPOCH_SECONDS)
            with (folder / "ledger").open("a") as ledger:
                ledger.write(json.dumps([epoch, node]) + "\n")
            write_atomically(checkpoint, str(epoch + 1).encode())
        settings = run_task.config.hyperparameters
        result = RunResult(
            id=run_task.config.id,
            hyperparameters=settings,
            effective_lr=settings.effective_lr,
            status="complete",
            validation_top1_error=min(1.0, settings.effective_lr),
            seconds=1.0,
        )
        write_json(folder / "result.json", result.to_json())
        return result

    return carry_out


@dataclass
class Nodes:
    cluster: object
    nodes: list


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and two nodes of one core."""
    from ray.cluster_utils import Cluster

    memory = 80 * 2**20
    found = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": memory,
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 500,
                "health_check_timeout_ms": 500,
                "health_check_failure_threshold": 3,
            },
        },
    )
    nodes = [found.add_node(num_cpus=1, object_store_memory=memory) for _ in "ab"]
    ray.init(address=found.address, log_to_driver=False)
    found.wait_for_nodes()
    # What is only in this file goes along with the tasks.
    import sys

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield Nodes(found, nodes)
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def runner(cluster, root):
    from kintune.executors.ray import RayRunner

    source = TaskSource(model="pocket", data="nowhere")
    return RayRunner(
        source=source, root=root, workers=2, address=cluster.cluster.address, prepare=prepare
    )


class TestSuite(RunnerSuite):
    @pytest.fixture
    def configs(self):
        short = [BASE.replace(lr=lr, epochs=1) for lr in (0.1, 0.2, 0.3, 0.4)]
        return [TEMPLATE.replace(hyperparameters=each) for each in short]


def test_a_search_finishes_with_exact_books_when_a_node_is_lost(cluster, runner, root):
    prior = RateRange(low=0.02, best=0.1, high=0.5)
    space = SearchSpace(base=BASE, prior=prior, validation_images=100)
    store = TrialStore(root=root, space=space, template=TEMPLATE)
    plan = SearchPlan(store=store, engine="bracket", budget=Budget(runs=5))
    lost = cluster.nodes[1]

    def lose_a_node():
        while len(list(root.glob("*/ledger"))) < 2:
            time.sleep(0.05)
        time.sleep(2 * EPOCH_SECONDS)
        cluster.cluster.remove_node(lost, allow_graceful=False)

    accident = threading.Thread(target=lose_a_node)
    accident.start()
    outcome = search(plan, runner)
    accident.join()

    assert len(outcome.trials) == 5
    assert all(trial.is_complete for trial in outcome.trials)
    nodes = set()
    repeated = 0
    for trial in outcome.trials:
        folder = root / trial.asked.config.id
        entries = [json.loads(line) for line in (folder / "ledger").read_text().splitlines()]
        done = Counter(epoch for epoch, _ in entries)
        assert set(done) == set(range(BASE.epochs))
        repeated += sum(done.values()) - BASE.epochs
        nodes |= {node for _, node in entries}
    assert len(nodes) == 2
    assert repeated <= 1, "the run of the lost node went on from its checkpoint"
    moved = [
        trial
        for trial in outcome.trials
        if len({json.loads(line)[1] for line in ledger_of(root, trial)}) == 2
    ]
    assert len(moved) == 1


def ledger_of(root, trial):
    return (root / trial.asked.config.id / "ledger").read_text().splitlines()
