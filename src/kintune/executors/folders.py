"""Waiting for a run folder that a dying process still holds."""

import time
from pathlib import Path

from kintune.base.files import locked

PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.1


def wait_until_free(folder: Path, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until nobody holds the folder's lock, or patience ends.

    A worker whose parent was killed dies within moments; who comes after it must not be refused for
    that. A folder that stays held is refused by `fine_tune`, which says who holds it.
    """
    deadline = time.monotonic() + patience_seconds
    while _is_held(folder / "lock") and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    try:
        with locked(lock, wait=False) as mine:
            return mine is None
    except OSError:
        return False
