"""How much of the machine decoding may take: threads, and memory over all of them.

Both belong to the process, as torch's number of threads does, and change no result but whether a
very large image is decoded.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from kintune.runs import defaults

GIGABYTE = 10**9


class _Budget:
    """Bytes that several threads share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are free (or nothing else is held) and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self.total)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


def usable_cores() -> int:
    """Processor cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_memory = _Budget(int(defaults.DECODE_GIGABYTES * GIGABYTE))
_threads: int | None = None


def limit_decoding(*, threads: int | None = None, gigabytes: float | None = None) -> None:
    """Set the limits of this process; what is None stays as it is.

    Args:
        threads: that decode at the same time, at least 1; more than there are cores are not used.
        gigabytes: of memory that decoding may take over all threads, in units of 10^9 bytes. An
            image that needs more is not decoded.
    """
    global _memory, _threads  # noqa: PLW0603 - of the process, as torch.set_num_threads is
    if threads is not None:
        _threads = threads
    if gigabytes is not None:
        _memory = _Budget(int(gigabytes * GIGABYTE))


def decoding_threads() -> int:
    """Threads that decode at the same time."""
    return min(_threads or usable_cores(), usable_cores())


def decoding_bytes() -> int:
    """Bytes that decoding may take over all threads."""
    return _memory.total


def held_bytes(size: int) -> AbstractContextManager[None]:
    """Hold `size` bytes of the memory for decoding; waits while other threads hold too many."""
    return _memory.held(size)
