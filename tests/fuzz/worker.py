"""Runs fuzz cases one after another in this process and writes what is wrong with each.

    python -m tests.fuzz.worker BASE SEED NUMBER ...       one case again, from the top folder
    python -m tests.fuzz.worker --build BASE

On stdout, one JSON object a line: `{"begin": number}`, then `{"end": number, "wrong": text or
null}`. A process that dies between the two did so in that case.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch

from kintune.base.errors import KintuneError
from tests.fuzz import cases

CPU_SECONDS = 20.0
"""Processor time of a case; time on the clock would depend on what else the machine does."""
SPARE_BYTES = 4 * 2**30
"""What a case may take beyond the process as it is after its imports."""
UNEXPECTED = ("Traceback (most recent call last)", "error: an unexpected ")


class TimeUp(BaseException):
    """The case took too long. Not an Exception, so that nothing takes it for a bad file."""


def main() -> None:
    if sys.argv[1] == "--build":
        base = Path(sys.argv[2]).absolute()
        with contextlib.redirect_stdout(sys.stderr):
            cases.build(base)
        return
    base, seed, numbers = Path(sys.argv[1]).absolute(), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _time_is_up)
    answers = os.fdopen(os.dup(1), "w")
    for number in map(int, numbers or sys.stdin):
        print(json.dumps({"begin": number}), file=answers, flush=True)
        text, wrong = judged(number, seed, base)
        answer = {"end": number, "case": text, "wrong": wrong}
        print(json.dumps(answer), file=answers, flush=True)


def judged(number: int, seed: int, base: Path) -> tuple[str, str | None]:
    """Try a case in a folder of its own; what it is, and what is wrong with its outcome."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.chdir(scratch)
        os.environ["HOME"] = scratch
        os.environ["KINTUNE_REFERENCES"] = f"{scratch}/references.json"
        text = ""
        try:
            name, case = cases.draw(number, seed, base)
            text = f"{name}: {case.text}"
            return text, outcome(case)
        finally:
            os.chdir(home)
            shutil.rmtree(scratch, ignore_errors=True)


def outcome(case: cases.Case) -> str | None:
    """What is wrong with how a case ended, or None."""
    streams = io.StringIO(), io.StringIO()
    try:
        with (
            limits(),
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
        ):
            case.call()
    except SystemExit as end:
        code = end.code or 0
    except KintuneError:
        return None
    except TimeUp:
        return f"over {CPU_SECONDS:g} s\n{traceback.format_exc(limit=-6)}"
    except BaseException:  # noqa: BLE001 - whatever gets out is what is looked for
        return traceback.format_exc(limit=-6)
    else:
        return None
    output = "\n".join(stream.getvalue() for stream in streams)
    if code not in (0, 1, 2):
        return f"exit code {code!r}\n{output[-800:]}"
    if any(text in output for text in UNEXPECTED):
        return output[-3000:]
    if code and not output.strip():
        return f"exit code {code} and not a word"
    return None


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Processor time and memory of a case."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _time_is_up(_signal: int, _frame: FrameType | None) -> None:
    raise TimeUp


if __name__ == "__main__":
    main()
