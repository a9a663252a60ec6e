"""Odd flags and damaged files end in an answer or in one message: never in a traceback.

A failure names the case; `python -m tests.fuzz.worker` runs it again.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import mutations

ROOT = Path(__file__).parents[2]
SEED = 0
WORKERS = 2
SILENT_SECONDS = 300.0
"""Without an answer a worker is stuck where no signal reaches it."""


class Worker:
    """A process that tries cases, replaced by another where one kills it."""

    def __init__(self, base: Path, cases: Iterator[int]) -> None:
        self.base, self.cases = base, cases
        self.process = self._started()
        self.case: int | None = None
        self.unread = b""
        self.heard = time.monotonic()
        self.next()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            worker_command(self.base),
            cwd=ROOT,
            env=environment(self.base),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a selector knows nothing of lines that wait in a buffer of Python
        )

    def next(self) -> None:
        """Hand out the next case, or end the process."""
        self.case = next(self.cases, None)
        if self.case is None:
            self.process.communicate()
        else:
            self.process.stdin.write(f"{self.case}\n".encode())

    def listen(self) -> str | None:
        """Take what is there of an answer; what was wrong with a case."""
        part = self.process.stdout.read(2**16)
        self.heard = time.monotonic()
        if not part:
            wrong = f"case {self.case}: the process ended with {self.process.wait()}"
            self.process, self.unread = self._started(), b""
            self.next()
            return wrong
        *lines, self.unread = (self.unread + part).split(b"\n")
        for answer in map(json.loads, lines):
            if "end" in answer:  # the last line: there is one case at a time
                self.next()
                wrong = answer["wrong"]
                return wrong and f"case {answer['end']}, {answer['case']}\n{wrong}"
        return None


def worker_command(base: Path) -> list[str]:
    return [sys.executable, "-m", "tests.fuzz.worker", str(base), str(SEED)]


def environment(base: Path) -> dict[str, str]:
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "KINTUNE_CACHE": str(base / "cache")}
    return {**os.environ, **own, "KINTUNE_REFERENCES": str(base / "references.json")}


def failures(base: Path, cases: int) -> list[str]:
    """What went wrong in cases 0, 1, ... of `SEED`, in `WORKERS` processes."""
    numbers, found = iter(range(cases)), []
    workers = [Worker(base, numbers) for _ in range(min(WORKERS, cases))]
    while busy := [worker for worker in workers if worker.case is not None]:
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            for key, _ in selector.select(timeout=1):
                found += filter(None, [key.data.listen()])
        for worker in busy:
            if time.monotonic() - worker.heard > SILENT_SECONDS:
                worker.process.kill()
    return found


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_odd_flags_and_damaged_files_end_in_a_message(tmp_path, pytestconfig):
    build = [sys.executable, "-m", "tests.fuzz.worker", "--build", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env=environment(tmp_path), check=True, capture_output=True)

    found = failures(tmp_path, pytestconfig.getoption("fuzz_cases"))

    assert not found, f"{len(found)} cases\n\n" + "\n\n".join(found)


def test_damage_depends_on_the_generator_alone():
    content = bytes(range(256))
    ends = [mutations.damaged(content, Random(5)) for _ in range(2)]
    assert ends[0] == ends[1] != content


@pytest.mark.timeout(30)
def test_an_answer_that_comes_in_one_piece_is_heard(tmp_path, monkeypatch):
    answers = """
import json, sys
for number in map(int, sys.stdin):
    begin, end = {"begin": number}, {"end": number, "case": "one", "wrong": "all"}
    print(json.dumps(begin), json.dumps(end), sep=chr(10), flush=True)
"""
    command = [sys.executable, "-c", answers]
    monkeypatch.setitem(globals(), "worker_command", lambda _base: command)
    assert len(failures(tmp_path, 5)) == 5
