"""SIGKILL at random moments: no run lost, none run twice, none left running.

The search is forked from this process, so that a start costs nothing; the kills are real.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from kintune.base.files import write_atomically
from kintune.executors import ProcessRunner, TaskSource, never
from kintune.runs import RunResult, read_result, write_json
from kintune.search import Budget, SearchPlan, StudyView, TrialStore, search
from kintune.search.study import STUDY, open_journal
from kintune.training import exclusive

from .conftest import BASE, SPACE, TEMPLATE, u_shaped

RUNS, EPOCHS, KILLS = 6, 8, 60
EPOCH_SECONDS = 0.03
WORKER = (sys.executable, "-S", str(Path(__file__).parents[1] / "executors/light_worker.py"))


@dataclass
class Trainer:
    """Trains nothing, as training does it: a lock, a checkpoint an epoch, the result last."""

    root: Path

    def run(self, configs, stop_rules=never):
        for config in configs:
            folder = self.root / config.id
            with exclusive(folder):
                yield read_result(folder) or self.train(config, folder)

    def train(self, config, folder) -> RunResult:
        checkpoint = folder / "checkpoint"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for epoch in range(done, config.hyperparameters.epochs):
            time.sleep(EPOCH_SECONDS)
            with (folder / "ledger").open("a") as ledger:
                ledger.write(f"{epoch}\n")
            write_atomically(checkpoint, str(epoch + 1).encode())
        result = u_shaped(config)
        write_json(folder / "result.json", result.to_json())
        return result


def plan_in(folder: Path) -> SearchPlan:
    base = BASE.replace(epochs=EPOCHS)
    space = SPACE.replace(base=base)
    template = TEMPLATE.replace(hyperparameters=base, model_kwargs={"seconds": EPOCH_SECONDS})
    return SearchPlan(
        store=TrialStore(root=folder / "runs", space=space, template=template),
        engine="bracket",
        budget=Budget(runs=RUNS),
        watchers=(StudyView(folder, space),),
    )


def forked(action) -> int:
    """The process id of a copy of this one that does something and ends with 0."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 2)
            action()
            code = 0
        os._exit(code)
    return pid


def killed_search(action, choose_victim, kills: int, generator: random.Random) -> int:
    """Start, kill at a random moment, again; at last let it finish. How often it was killed."""
    for count in range(kills):
        pid = forked(action)
        time.sleep(generator.uniform(0.0, 0.25))
        victim = choose_victim(pid)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        if victim == pid:
            os.waitpid(pid, 0)
        else:
            assert os.waitpid(pid, 0)[1] == 0, "the death of a worker does not end the search"
            return count + 1
    pid = forked(action)
    assert os.waitpid(pid, 0)[1] == 0
    return kills


def check_books(folder: Path, kills: int) -> None:
    folders = sorted((folder / "runs").iterdir())
    trials, foreign = plan_in(folder).store.read()
    assert foreign == []
    assert [trial.asked.number for trial in trials] == list(range(RUNS))
    assert len({trial.asked.config.id for trial in trials}) == RUNS
    assert len(folders) == RUNS, "a run was lost, or one was begun that nobody proposed"
    assert all(trial.is_complete for trial in trials)
    repeated = 0
    for each in folders:
        done = Counter((each / "ledger").read_text().split())
        assert set(done) == {str(epoch) for epoch in range(EPOCHS)}
        repeated += sum(done.values()) - EPOCHS
    assert repeated <= kills, "only the epoch that a kill interrupted is run again"
    study = optuna.load_study(study_name=STUDY, storage=open_journal(folder / "study.log"))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * RUNS


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_search_that_is_killed_again_and_again_loses_nothing(tmp_path):
    folder = tmp_path / "killed"
    results: dict[Path, tuple[int, int]] = {}

    def unchanged(pid: int) -> int:
        """Results that were there stay as they were."""
        for path in folder.glob("runs/*/result.json"):
            state = path.stat().st_ino, path.stat().st_mtime_ns
            assert results.setdefault(path, state) == state
        return pid

    def action() -> None:
        search(plan_in(folder), Trainer(folder / "runs"))

    kills = killed_search(action, unchanged, KILLS, random.Random(0))
    check_books(folder, kills)
    assert kills >= 50
    whole = search(plan_in(tmp_path / "whole"), Trainer(tmp_path / "whole/runs"))
    trials, _ = plan_in(folder).store.read()
    assert [t.asked for t in trials] == [t.asked for t in whole.trials]


def workers_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_neither_the_death_of_the_search_nor_of_a_worker_loses_a_run(tmp_path):
    generator = random.Random(1)
    seen: set[int] = set()

    def action() -> None:
        plan = plan_in(tmp_path)
        runner = ProcessRunner(
            source=TaskSource(model="pocket", data="nowhere"),
            root=tmp_path / "runs",
            workers=2,
            command=WORKER,
        )
        search(plan, runner)

    kills = 0
    while kills < 25:
        pid = forked(action)
        time.sleep(generator.uniform(0.0, 0.4))
        workers = workers_of(pid)
        seen |= set(workers)
        if workers and generator.random() < 0.4:
            # The search goes on without the worker, until it is killed itself.
            with suppress(ProcessLookupError):
                os.kill(generator.choice(workers), signal.SIGKILL)
            kills += 1
            time.sleep(generator.uniform(0.0, 0.2))
            seen |= set(workers_of(pid))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1
    pid = forked(action)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        seen |= set(workers_of(pid))
        time.sleep(0.02)
    check_books(tmp_path, kills)
    assert len(seen) > 4
    deadline = time.monotonic() + 5
    while any(_is_there(worker) for worker in seen) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_there(worker) for worker in seen), "workers die with their parent"


def _is_there(pid: int) -> bool:
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"light_worker" in command
    return False
