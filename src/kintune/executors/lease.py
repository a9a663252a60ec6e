"""Who may write a run folder, where a lock does not reach: one lease a folder.

Whoever hands a run out writes a new lease; a worker that finds another than its own ends at once,
in the middle of a step, as if it were killed. So a worker that outlives its node, or is cut off
from it, does not go on beside the one that took its place.
"""

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kintune.base.errors import OptionError
from kintune.base.records import Record
from kintune.runs import write_json

NAME = "lease.json"
LOOK_SECONDS = 0.5
"""Between two looks at the lease."""
LOST = 75
"""Exit code of a process that lost its lease."""


class Lease(Record):
    """`lease.json`: the worker with this token may write the folder."""

    token: str


def give_lease(folder: Path) -> str:
    """A new lease for a run folder, which ends the one before.

    Raises:
        OptionError: it cannot be written.
    """
    token = uuid.uuid4().hex
    write_json(folder / NAME, Lease(token=token).to_json())
    return token


@contextmanager
def under_lease(folder: Path, token: str) -> Iterator[None]:
    """Work as long as the folder's lease is this one.

    Raises:
        OptionError: the lease is not there: the folder is not the one that the lease was given in.
    """
    if not (folder / NAME).exists():
        raise OptionError(
            f"{folder}: the run's folder is not seen from {os.uname().nodename}. --output must lie "
            "on a path that all machines share."
        )
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(folder, token, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(folder: Path, token: str, done: threading.Event) -> None:
    while not done.is_set():
        if not holds_lease(folder, token):
            os._exit(LOST)
        done.wait(LOOK_SECONDS)


def holds_lease(folder: Path, token: str) -> bool:
    """Whether the folder's lease is this one; one that cannot be read just now changes nothing."""
    try:
        return Lease.read(folder / NAME).token == token
    except OptionError:
        return True
