"""How this process uses the processor and its memory; nothing here changes a result."""

import ctypes
import os
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD."""
LARGEST_KEPT_BLOCK = 2**30
MAX_KEPT = 2**29
"""Bytes of free memory at the end of the heap that the process keeps."""


def prepare_processor() -> None:
    """Set the process up for torch on a CPU: call it before torch is imported.

    Threads that wait sleep, unless `OMP_WAIT_POLICY` says otherwise: a spinning thread takes the
    core from the process beside, and that one from it. Large blocks of memory are kept.
    `benchmarks/processor.py` measures both.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_large_blocks()


def keep_large_blocks() -> None:
    """Let freed activations stay with the process, where the C library is glibc.

    By default it takes every block above 32 MiB anew from the kernel, which clears each of its
    pages, in each layer of each step.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in musl
        if mallopt is not None:
            mallopt(MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
            mallopt(TRIM_THRESHOLD, MAX_KEPT)
